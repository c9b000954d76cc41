"""Where stubs of services are registered, by the original's names.

`apiproxy` is the map that is in force.  The first one leads to the real service as long as it has no stub for "mail"; a map
that a test puts in its place leads nowhere but to its own stubs, so that a test that forgot its stub sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["APIProxyStubMap", "MakeSyncCall", "Stub", "UserRPC", "apiproxy", "stubbed_call"]


class Stub(Protocol):
    """What stands in for a service."""

    @property
    def keeps_everything(self) -> bool:
        """Whether mail that would go by the SMTP variables comes here, too."""
        ...

    def MakeSyncCall(self, service: str, call: str, request: Any, response: Any) -> None:
        """Do a call."""
        ...


class APIProxyStubMap:
    """Stubs by the name of their service.  default_stub: for services that have none."""

    def __init__(self, default_stub: Any = None) -> None:
        self._stubs: dict[str, Any] = {}
        self._default_stub = default_stub

    def RegisterStub(self, service: str, stub: Any) -> None:
        """Register a stub for a service that has none."""
        assert service not in self._stubs, repr(service)
        self.ReplaceStub(service, stub)

    def ReplaceStub(self, service: str, stub: Any) -> None:
        """Register a stub, in the place of another if there is one."""
        self._stubs[service] = stub

    def GetStub(self, service: str) -> Any:
        """The stub of a service; None where there is none."""
        return self._stubs.get(service, self._default_stub)

    def MakeSyncCall(self, service: str, call: str, request: Any, response: Any) -> None:
        """Have a stub do a call; what the first map has no stub for goes to the real service."""
        stub = self.GetStub(service)
        if stub is not None:
            stub.MakeSyncCall(service, call, request, response)
        elif self is _first and service == "mail":
            from .service import make_sync_call

            make_sync_call(service, call, request, response)
        else:
            raise AssertionError(f'No api proxy found for service "{service}"')


_first = apiproxy = APIProxyStubMap()


def MakeSyncCall(service: str, call: str, request: Any, response: Any, stubmap: APIProxyStubMap | None = None) -> None:
    """Do a call by the map that is in force, or another."""
    (stubmap or apiproxy).MakeSyncCall(service, call, request, response)


def stubbed_call(*, by_smtp: bool) -> Callable[[str, str, Any, Any], None] | None:
    """The call that goes to a stub instead of to the service; None where none is in force.

    by_smtp: for mail that the SMTP variables would send; as in the original, only a stub that keeps everything gets it.
    """
    stub = apiproxy.GetStub("mail")
    if by_smtp:
        return stub.MakeSyncCall if stub is not None and getattr(stub, "keeps_everything", False) else None
    return None if stub is None and apiproxy is _first else apiproxy.MakeSyncCall


class UserRPC:
    """A call that the application makes by itself: `UserRPC("mail").make_call("Send", message.ToProto(), VoidProto())`.

    The call is done when `make_call` returns; what it raised is raised where the result is asked for, as in the original.
    deadline: kept, and not used: `mail.configure(deadline_seconds=...)` says it.  callback: called once, when waited for.
    """

    def __init__(
        self,
        service: str,
        deadline: float | None = None,
        callback: Callable[[], object] | None = None,
        stubmap: APIProxyStubMap | None = None,
    ) -> None:
        self.service = service
        self.deadline = deadline
        self.callback = callback
        self.method = ""
        self.request: Any = None
        self.response: Any = None
        self.user_data: Any = None
        self._stubmap = stubmap
        self._error: Exception | None = None
        self._result_of: Callable[[UserRPC], Any] | None = None

    def make_call(
        self,
        method: str,
        request: Any,
        response: Any,
        get_result_hook: Callable[[UserRPC], Any] | None = None,
        user_data: Any = None,
    ) -> None:
        """Do the call.  get_result_hook: makes the result of `get_result`, and has to ask `check_success` itself."""
        self.method, self.request, self.response, self.user_data = method, request, response, user_data
        self._result_of = get_result_hook
        try:
            MakeSyncCall(self.service, method, request, response, self._stubmap)
        except Exception as error:
            self._error = error

    def wait(self) -> None:
        """Wait for nothing; the callback is called."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()

    def check_success(self) -> None:
        """Raise what the call raised."""
        self.wait()
        if self._error is not None:
            raise self._error

    def get_result(self) -> Any:
        """The result of the hook; without one, None.  Raises what the call raised."""
        if self._result_of is not None:
            return self._result_of(self)
        self.check_success()
        return None
