"""Writes multipart/form-data (RFC 7578): the fields of a bounce, and the mail that came back.  Pure.

Every part says its charset.  The mail is a field and no file, because applications read it from their forms, as text
(`Bounce.raw_text`), and few frameworks heed a field's charset.
"""

from __future__ import annotations

import itertools

from postroad.callbacks import Bounce

__all__ = ["write_form"]


def write_form(bounce: Bounce) -> tuple[str, bytes]:
    """The content type and the octets of the form."""
    parts = [_part(name, text.encode("utf-8", "replace")) for name, text in bounce.fields().items()]
    parts.append(_part("raw-message", bounce.raw_text().encode()))
    boundary = _free_boundary(bounce.id, parts)
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    return f"multipart/form-data; boundary={boundary.decode()}", body


def _part(name: str, value: bytes) -> bytes:
    """Names are ours: nothing in them needs quoting."""
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
    return head.encode() + value


def _free_boundary(id: str, parts: list[bytes]) -> bytes:
    """A boundary that no part contains; ends, because the parts are finite."""
    candidates = (f"postroad.{id}.{number}".encode() for number in itertools.count())
    return next(candidate for candidate in candidates if not any(candidate in part for part in parts))
