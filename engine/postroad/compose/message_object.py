"""A message object of the standard library -> bytes, with the holes of its serialiser closed.

No header value may hold a line break, written or hidden in an encoded word (CVE-2024-6923), and the names on the wire
must be those of the object.  `canonical.py` and the door use it; apart, because the email package is slow to import.
"""

from __future__ import annotations

import re
from email import policy
from email.errors import MessageError
from email.generator import BytesGenerator
from email.message import Message
from io import BytesIO
from typing import NoReturn

from ..errors import SubmissionError
from .downgrade import split_header

__all__ = ["serialise_message"]

_NAMES = re.compile(rb"(?m)^([!-9;-~]+)[ \t]*:")
_SIGNATURES = frozenset({"dkim-signature", "domainkey-signature", "arc-message-signature", "arc-seal"})


def _refuse(problem: str) -> NoReturn:
    raise SubmissionError("content", problem)


def serialise_message(message: Message) -> bytes:
    """Bytes of a message object.  Raw UTF-8 headers here: the standard library's encoded words are not used."""
    for part in message.walk():
        _check_values(part)
    try:
        octets = _flatten(message)
    except (MessageError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SubmissionError("content", f"the message object cannot be written: {error}") from error
    names = [name.strip().lower().encode("ascii", "replace") for name in message]
    found = [name.lower() for name in _NAMES.findall(split_header(octets)[0])]
    if [name for name in found if name != b"mime-version"] != [name for name in names if name != b"mime-version"]:
        _refuse("its header would hold other fields than were given; remove line breaks from its values")
    return octets


def _flatten(message: Message) -> bytes:
    own = message.policy
    if isinstance(own, policy.EmailPolicy):
        own = own.clone(linesep="\r\n", utf8=True, refold_source="none", cte_type="8bit", mangle_from_=False)
    elif _SIGNATURES.isdisjoint(name.lower() for name in message):
        own = own.clone(linesep="\r\n", cte_type="8bit")
    else:  # fold nothing anew that may be signed
        own = own.clone(linesep="\r\n", cte_type="8bit", max_line_length=None)
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=own).flatten(message)
    return buffer.getvalue()


_FOLDS = re.compile(r"\r?\n(?=[ \t]+[^ \t\r\n])")


def _check_values(part: Message) -> None:
    """Values hold no line breaks but folds, also behind their encoded words (CVE-2024-6923)."""
    for name, value in part.items():
        text = _FOLDS.sub("", str(value))
        if unsafe := re.search(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]", text):
            _refuse(f"its {name!r} field holds the character U+{ord(unsafe[0]):04X}; remove it")
        if not re.fullmatch(r"[!-9;-~]+", name):
            _refuse(f"{name!r} is not the name of a header field")
