"""What a call to App Engine's services raises, by the names of `google.appengine.runtime.apiproxy_errors`.

`postroad.appengine.mail` turns the ApplicationErrors that its ERROR_MAP lists into errors of `mail_errors`; the rest of them,
and all other classes here, reach the application as they are.
"""

from __future__ import annotations


class Error(Exception):
    """Base of every error of a call."""


class RPCFailedError(Error):
    """The call failed for a reason that the service did not state."""


class CallNotFoundError(Error):
    """The service has no such call."""


class ArgumentError(Error):
    """The request could not be read."""


class DeadlineExceededError(Error):
    """The call took too long."""


class CancelledError(Error):
    """The call was cancelled."""


class ApplicationError(Error):
    """The service answered with an error of its own: a code (`protocol.MailServiceError` for mail) and a text."""

    def __init__(self, application_error: int, error_detail: str = "") -> None:
        super().__init__(application_error)
        self.application_error = application_error
        self.error_detail = error_detail

    def __reduce__(self) -> tuple[type[ApplicationError], tuple[int, str]]:
        """Pickled with its text, so that it passes between processes whole."""
        return type(self), (self.application_error, self.error_detail)

    def __str__(self) -> str:
        return f"ApplicationError: {self.application_error} {self.error_detail}"


class OverQuotaError(Error):
    """The call required more quota than is available.

    detail (ours): which quota, how much of it is used, and when there is more; "" where the service did not say.
    """

    detail: str = ""


class RequestTooLargeError(Error):
    """The request was too large for the service."""


class ResponseTooLargeError(Error):
    """The response was too large."""


class CapabilityDisabledError(Error):
    """The service is switched off."""


class FeatureNotEnabledError(Error):
    """The application has not enabled what it asks for."""


class InterruptedError(Error):  # the contract's name, though Python has one of its own
    """Waiting for a call was interrupted by another call's error."""

    def __init__(self, exception: BaseException, rpc: object) -> None:
        super().__init__("The Wait() request was interrupted by an exception from another callback:", exception)
        self._exception = exception
        self._rpc = rpc

    @property
    def exception(self) -> BaseException:
        """What interrupted."""
        return self._exception

    @property
    def rpc(self) -> object:
        """The call whose callback raised it."""
        return self._rpc


class RpcAuthorityError(Error):
    """The call was made with the credentials of another application."""
