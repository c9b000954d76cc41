"""The further headers that a message may carry: which names, which values.

The contract allows nine names, case and all.  Here case does not matter (RFC 5322, 1.2.2) and List-Unsubscribe-Post (RFC 8058) is
allowed too, unless `settings.strict_headers` is on.  The texts of the reasons are the contract's.
"""

from __future__ import annotations

from typing import Any

from . import settings
from .mail_errors import InvalidEmailError

__all__ = ["HEADER_WHITELIST", "check_headers_valid", "invalid_headers_reason", "is_ascii"]

HEADER_WHITELIST = frozenset(
    [
        "Auto-Submitted",
        "In-Reply-To",
        "List-Id",
        "List-Unsubscribe",
        "On-Behalf-Of",
        "References",
        "Resent-Date",
        "Resent-From",
        "Resent-To",
    ]
)
FURTHER_HEADERS = frozenset(["List-Unsubscribe-Post"])


def is_ascii(string: str) -> bool:
    """Whether a text has only characters of ASCII."""
    return all(ord(character) < 128 for character in string)


def invalid_headers_reason(headers: Any) -> str | None:
    """Why a value is not acceptable as further headers, or None.  Values are not looked into."""
    given = headers
    if headers is None:
        return "Headers dictionary was None."
    if not isinstance(headers, dict):
        return "Invalid type for headers. Should be a dictionary."
    reasons = (_invalid_header_reason(name, value) for name, value in given.items())
    return next((reason for reason in reasons if reason), None)


def check_headers_valid(headers: Any) -> None:
    """Raise InvalidEmailError unless the value is acceptable as further headers."""
    reason = invalid_headers_reason(headers)
    if reason is not None:
        raise InvalidEmailError(reason)


def _invalid_header_reason(name: Any, value: Any) -> str | None:
    if not isinstance(name, str):
        return "Header names should be strings."
    if not isinstance(value, str):
        return "Header values should be strings."
    if not is_ascii(name):
        return "Header name should be an ASCII string."
    name = name.strip()
    return None if _is_allowed(name) else f'Header "{name}" is not allowed.'


def _is_allowed(name: str) -> bool:
    if settings.strict_headers:
        return name in HEADER_WHITELIST
    return name.lower() in {allowed.lower() for allowed in HEADER_WHITELIST | FURTHER_HEADERS}
