"""Where a recipient's mail goes: pure functions from addresses and ids to paths.

An address never enters a path unescaped, and the name of a file depends on message and recipient alone: the same mail
delivered again takes the same name, which is why this transport makes no duplicates.
"""

from __future__ import annotations

import hashlib
import os.path
from typing import Literal
from urllib.parse import quote

import msgspec

__all__ = ["Place", "Settings", "body_place", "place_of", "safe_name"]

_MAX_NAME = 200  # file systems take 255 octets; temporary names add some


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] of a file transport.

    folder: made where it is missing; a relative one counts from the configuration file's folder.
    format: `eml` (one file, CRLF line ends) or `maildir` (tmp, new, cur; LF line ends).
    layout: all mail in `folder`, or in a subfolder per domain or per recipient.
    """

    folder: str
    format: Literal["eml", "maildir"] = "eml"
    layout: Literal["one", "by_domain", "by_recipient"] = "one"


class Place(msgspec.Struct, frozen=True):
    """Paths of one recipient's file.

    seen: the folder to which mail readers move it and the name it begins with there, or None.
    """

    temporary: str
    final: str
    seen: tuple[str, str] | None


def place_of(settings: Settings, id: str, number: int, address: str) -> Place:
    """The paths for recipient `number` of the message `id`."""
    box = _box(settings, address)
    name = f"{safe_name(id)}.{number}"
    if settings.format == "eml":
        return Place(os.path.join(box, f".{name}.tmp"), os.path.join(box, f"{name}.eml"), None)
    name += ".postroad"
    return Place(os.path.join(box, "tmp", name), os.path.join(box, "new", name), (os.path.join(box, "cur"), name))


def body_place(settings: Settings, id: str, number: int) -> str:
    """Where a large content is gathered before it is copied for each recipient; `number` is the first one's."""
    return os.path.join(settings.folder, f".{safe_name(id)}.{number}.body")


def _box(settings: Settings, address: str) -> str:
    if settings.layout == "one":
        return settings.folder
    local, _, domain = address.rpartition("@")
    name = domain.lower() if settings.layout == "by_domain" else f"{local}@{domain.lower()}"
    return os.path.join(settings.folder, safe_name(name))


def safe_name(name: str) -> str:
    """A name that is no path: all but letters, digits and a few signs percent-encoded, never hidden, bounded."""
    safe = quote(name, safe="@+=", errors="surrogatepass") or "%"
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) <= _MAX_NAME:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{safe[: _MAX_NAME - 33]}~{digest}"
