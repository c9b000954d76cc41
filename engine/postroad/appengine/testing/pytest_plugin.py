"""A fixture for pytest: `mail_stub`, to which everything goes that a test sends.

Name it in a conftest.py: `pytest_plugins = ["postroad.appengine.testing.pytest_plugin"]`.  It needs pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import MailServiceStub, catch_mail

__all__ = ["mail_stub", "mail_stub_options"]


@pytest.fixture
def mail_stub_options() -> dict[str, Any]:
    """Arguments of `catch_mail` for the fixture `mail_stub`; override it to give some."""
    return {}


@pytest.fixture
def mail_stub(mail_stub_options: dict[str, Any]) -> Iterator[MailServiceStub]:
    """A stub in the place of the mail service, for one test."""
    with catch_mail(**mail_stub_options) as stub:
        yield stub
