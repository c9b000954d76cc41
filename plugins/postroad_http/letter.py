"""Reads canonical content back into the fields that APIs take: addresses, subject, texts, files, other header fields.

Pure, on the standard library's parser.  Nothing is left out silently: what no field can hold (a signed or encrypted message, a
text that is not what it says) is `Unfit`.  Signatures and traces of the way so far are left out, because the provider
writes a new message.  RFC 5322, RFC 2045 to 2049, RFC 2387.
"""

from __future__ import annotations

import email.parser
import email.policy
import email.utils
import mimetypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from typing import NamedTuple, cast

import msgspec

from postroad.bounded_mail import BeyondBounds, BoundedMessage
from postroad.charsets import decode_octets

__all__ = ["Box", "Letter", "Part", "Unfit", "read_letter"]

_KINDS = mimetypes.MimeTypes()  # without what the machine adds to them
_POLICY = email.policy.compat32
_USUAL_BOX = re.compile(r"([A-Za-z0-9]+(?: [A-Za-z0-9]+)*) <([A-Za-z0-9_+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)>")
_TEXTS = {"text/plain": "text", "text/html": "html", "text/x-amp-html": "amp"}
_SEALED = frozenset({"multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
_FIELDS = frozenset({"from", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version"})
_MADE_ANEW = frozenset(
    {"return-path", "received", "dkim-signature", "domainkey-signature", "authentication-results", "delivered-to"}
)


class _Node(BoundedMessage):
    """A node of the tree.  A message within the message is a leaf, so that its octets stay what they were."""

    def get_content_type(self) -> str:
        kind = super().get_content_type()
        return f"x-{kind}" if kind.startswith("message/") else kind

    @property
    def kind(self) -> str:
        return super().get_content_type()

    @property
    def octets(self) -> bytes:
        found = self.get_payload(decode=True)
        return found if isinstance(found, bytes) else b""


class Unfit(Exception):
    """What an API cannot carry.

    status: the enhanced status of the refusal (RFC 3463).  field: the argument of `Engine.send_mail` that is at fault.
    """

    def __init__(self, said: str, status: str = "5.6.1", *, field: str = "content") -> None:
        super().__init__(said)
        self.status = status
        self.field = field


class Box(msgspec.Struct, frozen=True):
    """A display name, "" where there is none, and an address."""

    name: str
    address: str

    def is_at(self, address: str) -> bool:
        """Whether it is that address: case counts in local parts only."""
        return _comparable(self.address) == _comparable(address)


class Part(msgspec.Struct, frozen=True):
    """A file.  kind: as "image/png".  parameters: of the kind, without its name.  cid: without angle brackets, "" for none.

    inline: shown within the html, which names its cid.
    """

    kind: str
    parameters: tuple[tuple[str, str], ...]
    name: str
    data: bytes
    cid: str = ""
    inline: bool = False

    @property
    def kind_and_parameters(self) -> str:
        return "; ".join([self.kind, *(f'{key}="{value}"' for key, value in self.parameters)])


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as fields.  headers: all others, in order, unfolded and as they are (encoded words stay encoded)."""

    author: Box
    to: tuple[Box, ...]
    cc: tuple[Box, ...]
    reply_to: tuple[Box, ...]
    subject: str
    date: str
    message_id: str
    text: str | None
    html: str | None
    amp: str | None
    parts: tuple[Part, ...]
    headers: tuple[tuple[str, str], ...]


def read_letter(content: bytes) -> Letter:
    """Raises Unfit."""
    try:
        tree = _tree_of(content)
        body = _Body()
        _read_node(tree, body, is_related=False)
    except BeyondBounds as error:
        raise Unfit(str(error)) from None
    except TypeError:  # the library stumbles over some parameters, such as `x*0*=; x*=`
        raise Unfit("the parameters of a part cannot be read", "5.6.0") from None
    fields = _fields_of(tree)
    authors = _boxes(fields, "from")
    if len(authors) != 1:
        raise Unfit(f"the API takes one author in From, there are {len(authors)}", field="sender")
    return Letter(
        author=authors[0],
        to=_boxes(fields, "to"),
        cc=_boxes(fields, "cc"),
        reply_to=_boxes(fields, "reply-to"),
        subject=_decoded(_first(fields, "subject")),
        date=_first(fields, "date"),
        message_id=_first(fields, "message-id"),
        text=body.texts.get("text"),
        html=body.texts.get("html"),
        amp=body.texts.get("amp"),
        parts=tuple(body.parts),
        headers=tuple(_other_headers(fields)),
    )


def _tree_of(content: bytes) -> _Node:
    """The parser looks at each line: of a body that is one part, for nothing."""
    head, _, body = content.partition(b"\r\n\r\n")
    tree = _parsed(head + b"\r\n\r\n")
    if tree.kind.startswith("multipart/"):
        return _parsed(content)
    tree.set_payload(body.decode("ascii", "surrogateescape"))
    return tree


def _parsed(content: bytes) -> _Node:
    return cast("_Node", email.parser.BytesParser(_Node, policy=_POLICY).parsebytes(content))


# --- The header ---


class _Field(NamedTuple):
    """key: the name in lower case."""

    name: str
    key: str
    value: str


def _fields_of(tree: _Node) -> list[_Field]:
    found: list[_Field] = []
    for name, value in tree.raw_items():
        text = "".join(str(value).splitlines())
        if not text.isascii():
            raise Unfit(f"the header field {name} holds octets over 127", "5.6.7", field="headers")
        found.append(_Field(name, name.lower(), text.strip(" \t")))
    return found


def _first(fields: Sequence[_Field], wanted: str) -> str:
    return next((field.value for field in fields if field.key == wanted), "")


def _other_headers(fields: Sequence[_Field]) -> Iterator[tuple[str, str]]:
    for name, key, value in fields:
        if key not in _FIELDS and key not in _MADE_ANEW and not key.startswith(("content-", "arc-")):
            yield name, value


def _boxes(fields: Sequence[_Field], name: str) -> tuple[Box, ...]:
    """All mailboxes of a field, however often it is there; those of a group too, without the group's name."""
    found: list[Box] = []
    for each in fields:
        if each.key == name and each.value:
            pairs = _pairs_of(each.value)
            if any("@" not in address for _, address in pairs) or (not pairs and "@" in each.value):
                raise Unfit(f"the header field {each.name} holds what is no address", "5.6.0")
            found.extend(Box(_decoded(display), address) for display, address in pairs)
    return tuple(found)


def _pairs_of(value: str) -> list[tuple[str, str]]:
    """Names and addresses.  The usual, a name of plain words and an address, needs no parser."""
    if (usual := _USUAL_BOX.fullmatch(value)) is not None:
        return [(usual[1], usual[2])]
    return [pair for pair in email.utils.getaddresses([value]) if pair != ("", "")]


def _decoded(text: str) -> str:
    """With its encoded words read (RFC 2047); what is none is left as it is."""
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError):  # UnicodeError and binascii.Error are ValueErrors
        return text


def _comparable(address: str) -> tuple[str, str]:
    local, _, domain = address.rpartition("@")
    return local, domain.lower()


# --- The body ---


@dataclass(slots=True)
class _Body:
    """texts: the first of each kind.  parts: everything else."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    parts: list[Part] = field(default_factory=list[Part])


def _read_node(node: _Node, body: _Body, *, is_related: bool) -> None:
    """is_related: it belongs to a html beside it (RFC 2387)."""
    kind = node.kind
    if kind in _SEALED:
        raise Unfit(f"the API takes fields, and {kind} would not survive that")
    if kind.startswith("multipart/") and node.is_multipart():
        for place, child in enumerate(node.get_payload()):
            assert isinstance(child, _Node)
            _read_node(child, body, is_related=kind == "multipart/related" and place > 0)
        return
    slot = _TEXTS.get(kind, "")
    if slot and slot not in body.texts and not is_related and not _is_file(node):
        body.texts[slot] = _text_of(node)
    else:
        body.parts.append(_part_of(node, len(body.parts) + 1, is_related=is_related))


def _is_file(node: _Node) -> bool:
    return node.get_content_disposition() == "attachment" or node.get_filename() is not None


def _text_of(node: _Node) -> str:
    charset = node.get_content_charset("us-ascii")
    try:
        return decode_octets(node.octets, charset)
    except (LookupError, UnicodeError):
        raise Unfit(f"a text says that it is {charset}, and is not", "5.6.3") from None


def _part_of(node: _Node, number: int, *, is_related: bool) -> Part:
    kind = node.kind
    cid = str(node.get("content-id") or "").strip().strip("<>")
    parameters = tuple(
        (key, value) for key, value in _parameters_of(node) if key not in ("name", "boundary") and '"' not in value
    )
    inline = bool(cid) and (is_related or node.get_content_disposition() == "inline")
    return Part(kind, parameters, _name_of(node, kind, number), node.octets, cid, inline)


def _parameters_of(node: _Node) -> Iterator[tuple[str, str]]:
    for key, value in (node.get_params(failobj=[]) or [])[1:]:
        text = email.utils.collapse_rfc2231_value(value)
        if text.isascii() and text.isprintable():
            yield key.lower(), text


def _name_of(node: _Node, kind: str, number: int) -> str:
    """The file's name; APIs want one, so one is made up where there is none."""
    name = node.get_filename()
    if name is None:
        return f"part-{number}{_KINDS.guess_extension(kind) or '.bin'}"
    return _decoded(name)
