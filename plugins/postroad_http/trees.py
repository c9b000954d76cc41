"""The exact octets of a leaf of a MIME tree, as the standard library's parser holds it."""

from __future__ import annotations

import email.generator
import email.policy
import io
from email.message import Message as Node
from typing import cast

__all__ = ["octets_of"]

_AS_IT_WAS = email.policy.compat32.clone(linesep="\r\n", max_line_length=0)


def octets_of(node: Node) -> bytes:
    """The decoded octets of a part; of a message within the message, the message."""
    if not node.is_multipart():
        found = node.get_payload(decode=True)
        return found if isinstance(found, bytes) else b""
    return b"\r\n".join(_flat(child) for child in cast("list[Node]", node.get_payload()))


def _flat(node: Node) -> bytes:
    into = io.BytesIO()
    email.generator.BytesGenerator(into, mangle_from_=False, policy=_AS_IT_WAS).flatten(node)
    return into.getvalue()
