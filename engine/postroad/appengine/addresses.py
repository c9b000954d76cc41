"""Addresses as applications give them: which are acceptable, and which recipients a value names.

An address is any text that is not blank: it is the service that reads it.  The texts of the reasons are the contract's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .mail_errors import InvalidEmailError

__all__ = [
    "address_of",
    "addresses_of",
    "check_email_valid",
    "invalid_email_reason",
    "is_email_valid",
    "kept",
    "split_recipients",
]

CLOSERS = {'"': '"', "(": ")", "<": ">"}


def address_of(value: Any) -> Any:
    """The address of a `users.User` (whatever has the methods `email` and `nickname`); anything else as it is."""
    if isinstance(value, str):
        return value
    email = getattr(value, "email", None)
    return email() if callable(email) and callable(getattr(value, "nickname", None)) else value


def is_user(value: Any) -> bool:
    """Whether a value is a `users.User`."""
    return address_of(value) is not value


def invalid_email_reason(email_address: Any, field: str) -> str | None:
    """Why a value is not acceptable as the address in a field, or None.  No check of syntax: any text will do but a blank one."""
    if email_address is None:
        return f"None email address for {field}."
    address = address_of(email_address)
    if not isinstance(address, str):
        return f"Invalid email address type for {field}."
    return None if address.strip() else f"Empty email address for {field}."


def is_email_valid(email_address: Any) -> bool:
    """Whether a value is acceptable as an address."""
    return invalid_email_reason(email_address, "") is None


def check_email_valid(email_address: Any, field: str) -> None:
    """Raise InvalidEmailError unless the value is acceptable as the address in a field."""
    reason = invalid_email_reason(email_address, field)
    if reason is not None:
        raise InvalidEmailError(reason)


def kept(value: Any) -> Any:
    """What a message keeps of a value: what can be gone through only once, such as a generator, becomes a list."""
    if not hasattr(value, "__next__"):
        return value
    iterator: Iterator[Any] = iter(value)
    return list(iterator)


def addresses_of(value: Any) -> Iterable[Any]:
    """The items of a list of recipients; one text or one user is one item.  TypeError for what has no items."""
    if isinstance(value, str) or is_user(value):
        return (value,)
    items: Iterable[Any] = iter(value)
    return items


def split_recipients(value: Any) -> list[str]:
    """The recipients that a value names: of a text those between its commas, of anything else its items as they are."""
    if isinstance(value, str):
        return [part for part in map(str.strip, _parts(value)) if part]
    return [address_of(item) for item in addresses_of(value)]


def _parts(text: str) -> list[str]:
    """A text at its commas, but for those within quotes, comments and angle brackets (RFC 5322, 3.2.2, 3.2.4 and 3.4)."""
    parts, start, open_ones, is_escaped = list[str](), 0, list[str](), False
    for place, character in enumerate(text):
        within = open_ones[-1] if open_ones else ""
        if is_escaped or (character == "\\" and within in ('"', ")")):
            is_escaped = not is_escaped
        elif character == within:
            open_ones.pop()
        elif _opens(character, within):
            open_ones.append(CLOSERS[character])
        elif character == "," and not within:
            parts.append(text[start:place])
            start = place + 1
    if open_ones:  # what is not closed was not meant to be opened
        return text.split(",")
    return [*parts, text[start:]]


def _opens(character: str, within: str) -> bool:
    """Whether a character opens something, within what ends with another: quotes hold nothing, comments hold comments."""
    holds = {"": '"(<', ">": '"(', ")": "("}
    return character in holds.get(within, "")
