"""What the providers share that take fields: who is shown, which header fields and texts go along, how JSON is written."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from .letter import Box, Letter, Part, Unfit
from .provider import Call, Parcel
from .settings import FieldTable

__all__ = [
    "addressed",
    "check_name_denies_no_kind",
    "check_name_says_kind",
    "check_no_amp",
    "check_no_marks",
    "check_one_reply",
    "check_others",
    "check_tags",
    "formatted",
    "has_texts",
    "json_call",
    "unique_headers",
]

_NEEDS_QUOTES = re.compile(r"[^\w !#$%&'*+/=?^`{|}~-]")
_KINDS = mimetypes.MimeTypes()  # without what the machine adds to them
_MARKS = re.compile(r"\{\{|\{%|\{\$")


def addressed(parcel: Parcel, settings: FieldTable) -> Box:
    """The one recipient as the message names it, else by its address alone.  Raises Unfit as `check_others`."""
    address, letter = parcel.recipients[0], parcel.letter
    check_others(letter, address, settings)
    return next((box for box in (*letter.to, *letter.cc) if box.is_at(address)), Box("", address))


def check_others(letter: Letter, address: str, settings: FieldTable) -> None:
    """Raises Unfit where To and Cc name others, who would get the message too if they were shown, unless they may be hidden."""
    if settings.others == "refuse" and any(not box.is_at(address) for box in (*letter.to, *letter.cc)):
        said = 'To and Cc name others, and the API sends to whom it shows (others = "hide" lets each see itself alone)'
        raise Unfit(said, field="to")


def formatted(box: Box) -> str:
    """As in a header field, but with Unicode in the name."""
    if not box.name:
        return box.address
    if not _NEEDS_QUOTES.search(box.name):
        return f"{box.name} <{box.address}>"
    quoted = box.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{box.address}>'


def has_texts(letter: Letter) -> None:
    """Raises Unfit for a message without a text: these APIs want one."""
    if not letter.text and not letter.html:
        raise Unfit("the API wants a text, the message has none", field="body")


def check_no_amp(letter: Letter) -> None:
    if letter.amp is not None:
        raise Unfit("the API has no place for AMP", field="amp_html")


def check_no_marks(*texts: str | None) -> None:
    """Raises Unfit for what a provider takes for its template language, whose result would be another text."""
    for text in texts:
        if text and (found := _MARKS.search(text)):
            raise Unfit(f"it holds {found[0]}, which the API would replace", field="body")


def check_one_reply(letter: Letter) -> None:
    """Raises Unfit for more addresses to answer to than the API has place for."""
    if len(letter.reply_to) > 1:
        said = f"the API takes one address in Reply-To, there are {len(letter.reply_to)}"
        raise Unfit(said, field="reply_to")


def check_tags(tags: Sequence[str], pattern: str, most: int) -> None:
    """Raises Unfit, which names the tag, where the provider cannot have it."""
    if len(tags) > most:
        raise Unfit(f"{len(tags)} tags, at most {most} can go along (tags = false leaves them out)", field="tags")
    for tag in tags:
        if not re.fullmatch(pattern, tag):
            raise Unfit(f"the tag {tag!r} cannot be one there (tags = false leaves them out)", field="tags")


def check_name_says_kind(part: Part) -> None:
    """Raises Unfit where an API that takes a file's content type from its name would take it for something else."""
    ending = part.name.rpartition(".")[2]
    if _KINDS.guess_type(f"file.{ending}")[0] != part.kind:
        raise Unfit(
            f"the API takes the kind of a file from its name, and {part.name} does not say {part.kind}",
            field="attachments",
        )


def check_name_denies_no_kind(part: Part) -> None:
    """The same, but a name that says nothing known is good."""
    if _KINDS.guess_type(f"file.{part.name.rpartition('.')[2]}")[0] is not None:
        check_name_says_kind(part)


def unique_headers(letter: Letter, forbidden: Collection[str] = (), *, message_id: bool = False) -> dict[str, str]:
    """The other header fields.  Raises Unfit, which names it, for one that is there twice or that the API forbids.

    forbidden: in lower case.  message_id: whether Message-ID goes along.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in letter.headers:
        key = name.lower()
        if key in forbidden:
            raise Unfit(f"the API forbids the header field {name}", field="headers")
        if key in seen:
            raise Unfit(f"the header field {name} is there twice, the API takes one", field="headers")
        seen.add(key)
        found[name] = value
    if message_id and letter.message_id:
        found["Message-ID"] = letter.message_id
    return found


def json_call(url: str, headers: Sequence[tuple[str, str]], table: dict[str, Any]) -> Call:
    """Keys without a value are left out; octets go as base64."""
    body = {key: value for key, value in table.items() if value not in (None, "", [], {}, ())}
    try:
        octets = msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise Unfit("it holds what is no Unicode", "5.6.7") from None
    return Call(url, (("Content-Type", "application/json"), *headers), octets)
