"""The engine's errors -> what App Engine's calls raised, in the terms that applications catch.

Pure.  The engine's own error is always the cause of what is raised; `service.py` raises it.
"""

from __future__ import annotations

from ..errors import (
    ConfigError,
    NotAuthorized,
    PostroadError,
    QueueFull,
    QuotaExceeded,
    SpoolInUse,
    StoreError,
    SubmissionError,
)
from . import apiproxy_errors
from .apiproxy_errors import ApplicationError
from .protocol import MailServiceError

__all__ = ["call_error", "too_large"]


def call_error(error: PostroadError, call: str, id: str) -> apiproxy_errors.Error:
    """The error of a call ("Send", "SendToAdmins") whose message has this id.

    Where the message may be in the spool nevertheless, the error's attribute `receipt` is the id.
    """
    match error:
        case NotAuthorized():
            return ApplicationError(MailServiceError.UNAUTHORIZED_SENDER, f"Unauthorized sender: {error.problem}")
        case SubmissionError():
            return ApplicationError(_code_of(error), str(error))
        case QueueFull() | QuotaExceeded():
            return _over_quota(call, str(error))
        case SpoolInUse():
            return _uncertain(
                apiproxy_errors.DeadlineExceededError(f"The API call mail.{call}() took too long: {error}"), id
            )
        case StoreError():
            return _uncertain(apiproxy_errors.RPCFailedError(f"The API call mail.{call}() failed: {error}"), id)
        case ConfigError():
            return apiproxy_errors.FeatureNotEnabledError(str(error))
        case _:
            return _uncertain(ApplicationError(MailServiceError.INTERNAL_ERROR, str(error)), id)


def _uncertain(error: apiproxy_errors.Error, id: str) -> apiproxy_errors.Error:
    error.receipt = id  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # ours
    return error


def _code_of(error: SubmissionError) -> int:
    field = error.field
    if field.startswith("attachments[") and field.endswith(".content_id"):
        return MailServiceError.INVALID_CONTENT_ID
    if field.startswith("attachments[") and field.endswith(".filename"):
        return MailServiceError.INVALID_ATTACHMENT_TYPE
    is_name = error.problem.startswith("a header name") or "is written by the composer" in error.problem
    if field.startswith("headers[") and is_name:
        return MailServiceError.INVALID_HEADER_NAME
    return MailServiceError.BAD_REQUEST


def _over_quota(call: str, detail: str) -> apiproxy_errors.OverQuotaError:
    """The text is the original's, word for word; which quota it is, and when there is more, a traceback shows below it."""
    error = apiproxy_errors.OverQuotaError(f"The API call mail.{call}() required more quota than is available.")
    error.detail = detail
    error.add_note(detail)
    return error


def too_large(call: str) -> apiproxy_errors.RequestTooLargeError:
    return apiproxy_errors.RequestTooLargeError(f"The request to API call mail.{call}() was too large.")
