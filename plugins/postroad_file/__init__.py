"""The file transport: mail written as `.eml` files or into Maildirs, for archives, development and local mailboxes.

    [transports.archive]
    plugin = "file"
    folder = "/var/mail/archive"
    format = "maildir"              # or "eml" (the default)
    layout = "by_recipient"         # or "one" (the default), "by_domain"

docs/file-transport.md tells what is written and how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from postroad.hookspecs import hookimpl

from .transport import open_file_transport

if TYPE_CHECKING:
    from postroad.transport import TransportFactory

__all__ = ["open_file_transport", "postroad_register_transports"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("file", open_file_transport)
