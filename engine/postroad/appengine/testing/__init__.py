"""For the tests of applications: mail is kept in memory and can be searched; nothing is sent, and no spool is needed.

`catch_mail()` for a block, `postroad.appengine.testing.pytest_plugin` for the fixture `mail_stub`; `MailServiceStub` and
`testbed` for suites written for App Engine.  docs/appengine.md.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from .. import apiproxy_stub_map
from .stub import MailServiceStub

__all__ = ["MailServiceStub", "catch_mail"]


@contextmanager
def catch_mail(config: Any = None, *, show_mail_body: bool = False) -> Generator[MailServiceStub]:
    """As long as the block lasts, whatever any thread of this process sends is kept by the stub that it gets.

    That includes mail that the APPENGINE_SMTP_ variables would send.  The arguments are those of `MailServiceStub`.
    """
    stub = MailServiceStub(config=config, show_mail_body=show_mail_body)
    stub.keeps_everything = True
    before, stubs = apiproxy_stub_map.apiproxy, apiproxy_stub_map.APIProxyStubMap()
    stubs.RegisterStub("mail", stub)
    apiproxy_stub_map.apiproxy = stubs
    try:
        yield stub
    finally:
        apiproxy_stub_map.apiproxy = before
