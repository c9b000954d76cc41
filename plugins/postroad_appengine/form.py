"""Writes multipart/form-data (RFC 7578): the fields of a bounce, and the mail that came back.  Pure.

Every part says its charset.  The mail is a field and no file, because applications read it from their forms; where it holds
octets over 127 these are its characters in ISO 8859-1, so that no reader can harm them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from postroad.callbacks import Bounce

__all__ = ["write_form"]


def write_form(bounce: Bounce) -> tuple[str, bytes]:
    """The content type and the octets of the form."""
    parts = [_part(name, "utf-8", text.encode("utf-8", "replace")) for name, text in _fields(bounce).items()]
    parts.append(_part("raw-message", "us-ascii" if bounce.raw.isascii() else "iso-8859-1", bounce.raw))
    boundary = _free_boundary(bounce.id, parts)
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    return f"multipart/form-data; boundary={boundary.decode()}", body


def _fields(bounce: Bounce) -> Mapping[str, str]:
    return bounce.fields()


def _part(name: str, charset: str, value: bytes) -> bytes:
    """Names are ours: nothing in them needs quoting."""
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'
    return head.encode() + value


def _free_boundary(id: str, parts: list[bytes]) -> bytes:
    """A boundary that no part contains; ends, because the parts are finite."""
    candidates = (f"postroad.{id}.{number}".encode() for number in itertools.count())
    return next(candidate for candidate in candidates if not any(candidate in part for part in parts))
