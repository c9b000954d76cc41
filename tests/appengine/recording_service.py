"""A service that records what it is called with, in place of the real one."""

from __future__ import annotations

from postroad.appengine.protocol import MailMessage, VoidProto


class RecordingService:
    """Keeps every request; raises `error`, if it is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, MailMessage]] = []
        self.error: Exception | None = None

    def __call__(self, service: str, call: str, request: MailMessage, response: VoidProto) -> None:
        assert response == VoidProto()
        self.calls.append((service, call, request))
        if self.error is not None:
            raise self.error
