"""Writes multipart/form-data (RFC 7578): the fields of a bounce, and the mail that came back.  Pure.

Every part says its charset.  The mail is a field and no file, because applications read it from their forms, as text: where its
octets are no UTF-8, its parts are written in 7 bits, with the same meaning, because few frameworks heed a field's charset.
"""

from __future__ import annotations

import email
import itertools

from postroad.callbacks import Bounce

__all__ = ["write_form"]

# Nested parts cost the library's parser 0.2 s at this size, and parameters the square of their number.
_REWRITTEN_BYTES, _PARAMETERS = 32_768, 1000


def write_form(bounce: Bounce) -> tuple[str, bytes]:
    """The content type and the octets of the form."""
    parts = [_part(name, text.encode("utf-8", "replace")) for name, text in bounce.fields().items()]
    parts.append(_part("raw-message", _as_text(bounce.raw).encode()))
    boundary = _free_boundary(bounce.id, parts)
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    return f"multipart/form-data; boundary={boundary.decode()}", body


def _part(name: str, value: bytes) -> bytes:
    """Names are ours: nothing in them needs quoting."""
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
    return head.encode() + value


def _as_text(mail: bytes) -> str:
    try:
        return mail.decode("utf-8")
    except UnicodeDecodeError:
        return _in_seven_bits(mail)


def _in_seven_bits(mail: bytes) -> str:
    """What says no charset, or a wrong one, is left as it is, one character an octet; so is what might take long."""
    if len(mail) > _REWRITTEN_BYTES or mail.count(b";") > _PARAMETERS:
        return mail.decode("latin-1")
    try:
        text = email.message_from_bytes(mail).as_string()
    except Exception:  # a stranger's mail: the library's parser recurses, its writer knows charsets that do not encode
        return mail.decode("latin-1")
    return text if text.isascii() else mail.decode("latin-1")


def _free_boundary(id: str, parts: list[bytes]) -> bytes:
    """A boundary that no part contains; ends, because the parts are finite."""
    candidates = (f"postroad.{id}.{number}".encode() for number in itertools.count())
    return next(candidate for candidate in candidates if not any(candidate in part for part in parts))
