"""The original's testbed, as far as mail goes: `from postroad.appengine import testbed`.

An application whose tests need other services, too, keeps the original's testbed: its mail stub is honoured by `mail` as well.
While a testbed is active nothing leads to the real service, whether or not there is a stub.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from . import apiproxy_stub_map
from .testing.stub import MailServiceStub

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "INIT_STUB_METHOD_NAMES",
    "MAIL_SERVICE_NAME",
    "Error",
    "NotActivatedError",
    "StubNotSupportedError",
    "Testbed",
]

MAIL_SERVICE_NAME = "mail"
INIT_STUB_METHOD_NAMES = {MAIL_SERVICE_NAME: "init_mail_stub"}
DEFAULT_ENVIRONMENT = {
    "GAE_APPLICATION": "testbed-test",
    "GOOGLE_CLOUD_PROJECT": "testbed-test",
    "AUTH_DOMAIN": "gmail.com",
    "HTTP_HOST": "testbed.example.com",
    "CURRENT_MODULE_ID": "default",
    "CURRENT_VERSION_ID": "testbed-version",
    "GAE_RUNTIME": f"python3{sys.version_info.minor}",
    "REQUEST_ID_HASH": "testbed-request-id-hash",
    "REQUEST_LOG_ID": "7357B3D7091D",
    "SERVER_NAME": "testbed.example.com",
    "SERVER_SOFTWARE": "Development/1.0 (testbed)",
    "SERVER_PORT": "80",
    "USER_EMAIL": "",
    "USER_ID": "",
}


class Error(Exception):
    """What is wrong with the use of a testbed."""


class NotActivatedError(Error):
    """The testbed is not active."""


class StubNotSupportedError(Error):
    """There is no stub for this service here."""


class Testbed:
    """A place for stubs, from `activate` to `deactivate`; the environment is put back at the end."""

    __test__ = False  # pytest collects classes by their names

    def __init__(self) -> None:
        self._before: tuple[Any, dict[str, str]] | None = None

    def activate(self, use_datastore_emulator: bool = False) -> None:
        """Begin: set the variables that applications look for, and lead calls to the stubs of this testbed."""
        if use_datastore_emulator:
            raise StubNotSupportedError(_only_mail("datastore"))
        self._before = apiproxy_stub_map.apiproxy, dict(os.environ)
        apiproxy_stub_map.apiproxy = apiproxy_stub_map.APIProxyStubMap()
        self.setup_env()

    def deactivate(self) -> None:
        """End.  Raises NotActivatedError."""
        before, environ = self._activated()
        apiproxy_stub_map.apiproxy, self._before = before, None
        os.environ.clear()
        os.environ.update(environ)

    def setup_env(self, overwrite: bool = False, **kwargs: Any) -> None:
        """Set variables: those given, in capital letters, and the default ones.

        overwrite: set those that are set already, too, and no default ones.  app_id: the application and its project.
        """
        given = {name.upper(): str(value) for name, value in kwargs.items()}
        if (application := given.pop("APP_ID", None)) is not None:
            given = {"GAE_APPLICATION": application, "GOOGLE_CLOUD_PROJECT": application.split("~")[-1]} | given
        for name, value in (given if overwrite else DEFAULT_ENVIRONMENT | given).items():
            if overwrite or name not in os.environ:
                os.environ[name] = value

    def init_mail_stub(self, enable: bool = True, **stub_kw_args: Any) -> None:
        """Have a stub for mail, made with these arguments of MailServiceStub; or none, so that sending fails."""
        self._activated()
        stub = MailServiceStub(**stub_kw_args) if enable else None
        apiproxy_stub_map.apiproxy.ReplaceStub(MAIL_SERVICE_NAME, stub)

    def init_all_stubs(self, enable: bool = True, excluded_stubs: Any = None) -> None:
        """As `init_mail_stub`, unless that is excluded."""
        if MAIL_SERVICE_NAME not in (excluded_stubs or ()):
            self.init_mail_stub(enable)

    def get_stub(self, service_name: str) -> Any:
        """The stub of a service; None where there is none.  Raises NotActivatedError."""
        self._activated()
        return apiproxy_stub_map.apiproxy.GetStub(service_name)

    def _activated(self) -> tuple[Any, dict[str, str]]:
        if self._before is None:
            raise NotActivatedError("The testbed is not activated.")
        return self._before

    def __getattr__(self, name: str) -> Any:
        if name.startswith("init_") and name.endswith("_stub"):
            raise StubNotSupportedError(_only_mail(name.removeprefix("init_").removesuffix("_stub")))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _only_mail(service: str) -> str:
    return (
        f"there is a stub for mail only, none for {service}; keep google.appengine.ext.testbed in this test: "
        "postroad.appengine.mail sends to its mail stub"
    )
