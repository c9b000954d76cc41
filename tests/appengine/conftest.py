"""What the tests of the mail API put in the place of the service."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from recording_service import RecordingService


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> RecordingService:
    """The service that messages are given to unless they are handed another."""
    recording = RecordingService()
    ours, smtp = ModuleType("postroad.appengine.service"), ModuleType("postroad.appengine.smtp_service")
    ours.make_sync_call = recording  # type: ignore[attr-defined]  # a module made by hand
    smtp.is_wanted = lambda: False  # type: ignore[attr-defined]  # as above
    for module in (ours, smtp):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return recording


@pytest.fixture
def smtp_hand_overs(service: RecordingService, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that go by SMTP, once that is wanted."""
    smtp, messages = sys.modules["postroad.appengine.smtp_service"], list[Any]()
    monkeypatch.setattr(smtp, "is_wanted", lambda: True)
    monkeypatch.setattr(smtp, "hand_over", messages.append, raising=False)
    return messages
