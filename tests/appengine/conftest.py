"""What the tests of the mail API put in the place of the service, and the service with a spool of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mail_site import Site
from recording_service import RecordingService

from postroad.appengine import service as real_service
from postroad.appengine import smtp_service


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> RecordingService:
    """The service that messages are given to unless they are handed another."""
    recording = RecordingService()
    monkeypatch.setattr(real_service, "make_sync_call", recording)
    monkeypatch.setattr(smtp_service, "is_wanted", lambda: False)
    return recording


@pytest.fixture
def smtp_hand_overs(service: RecordingService, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that go by SMTP, once that is wanted."""
    messages = list[Any]()
    monkeypatch.setattr(smtp_service, "is_wanted", lambda: True)
    monkeypatch.setattr(smtp_service, "hand_over", messages.append)
    return messages


@pytest.fixture
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody said where mail is kept, in this process or its environment."""
    for name in list(os.environ):
        if name.startswith(("POSTROAD_", "APPENGINE_")):
            monkeypatch.delenv(name)
    real_service.configure()
    real_service._sent.id = None
    yield
    real_service.configure()


@pytest.fixture
def site(tmp_path: Path, nothing_said: None) -> Site:
    """A spool that the service sends into."""
    return Site(tmp_path)
