"""Addresses: one strict grammar for the envelope and for the fields From, To, Cc, Bcc and Reply-To.

A local part is never re-split, mapped or lower-cased; a domain is kept as lower-case A-labels (IDNA2008, UTS 46
non-transitional).  Nothing here looks anything up.  Used at the door and by the composer.
RFC 5321 section 4.1.2, RFC 5322 section 3.4, RFC 6531 section 3.3.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn

import msgspec

from .encoded import UNSAFE_TEXT, decode_phrase
from .errors import SubmissionError
from .forking import no_fork

__all__ = ["Address", "Mailbox", "parse_address", "parse_mailboxes"]

_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
_ADDRESS_OCTETS = 254  # a path is 256 with its angle brackets, section 4.5.3.1.3; this bounds the domain below its 255
_LABEL_OCTETS = 63  # RFC 1035 section 2.3.4
_LIST_CHARS = 1_000_000  # bounds the work on one field: some 20,000 addresses

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PLAIN = re.compile(rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@({_LABEL}(?:\.{_LABEL})*)")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOT_STRING = re.compile(rf"[\x80-\U0010ffff{_ATEXT}]+(?:\.[\x80-\U0010ffff{_ATEXT}]+)*")
_QUOTED_STRING = re.compile(r'"((?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*)"')
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address in the form that goes on the wire; `str()` gives it whole.

    local: the local part, quoted only where it must be.
    domain: lower-case A-labels ("xn--bcher-kva.example"), or a literal ("[192.0.2.1]", "[IPv6:2001:db8::1]").
    """

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8."""
        return self.local.isascii()


class Mailbox(msgspec.Struct, frozen=True, gc=False):
    """A display name, "" where there is none, and an address."""

    name: str
    address: Address


def parse_address(text: str, field: str) -> Address:
    """Read one bare address, such as `user@example.com`, `"john doe"@example.com` or `root@localhost`.

    Domains of a single label are allowed: inside a site they are in use.  Raises SubmissionError with `field`.
    """
    try:
        plain, octets = _PLAIN.fullmatch(text), len(text)
        if plain is None or octets > _ADDRESS_OCTETS:
            return _parse_unusual(text)
        local, domain = plain.groups()
        if octets > _LOCAL_OCTETS and len(local) > _LOCAL_OCTETS:
            _refuse(f"the part before the @ has {len(local)} octets, {_LOCAL_OCTETS} are allowed")
        return Address(local, _domain(domain))
    except ValueError as error:
        raise SubmissionError(field, str(error)) from None
    except TypeError:
        raise SubmissionError(field, f"an address is a str, not {type(text).__name__}") from None


def _refuse(problem: str) -> NoReturn:
    raise ValueError(problem)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _parse_unusual(text: str) -> Address:
    if not text:
        _refuse("the address is empty; write user@domain")
    if len(text) > 4 * _ADDRESS_OCTETS:
        _refuse(f"the address has {len(text)} characters, {_ADDRESS_OCTETS} octets are allowed")
    if unsafe := UNSAFE_TEXT.search(text) or re.search(r"\t", text):
        _refuse(f"the address holds the control character U+{ord(unsafe[0]):04X}; remove it")
    local, at, domain = text.rpartition("@")
    if not at:
        _refuse(f"{_shown(text)} has no @; write user@domain")
    if text[0] == "<" or text[-1] == ">":
        _refuse(f"{_shown(text)} stands in angle brackets; write only the address")
    address = Address(_local_part(local), _domain(domain))
    octets = len(str(address).encode())
    if octets > _ADDRESS_OCTETS:
        _refuse(f"the address has {octets} octets, {_ADDRESS_OCTETS} are allowed")
    return address


def _local_part(local: str) -> str:
    """The local part, without needless quotes: `"abc"@x` and `abc@x` are one address (RFC 5321 section 4.1.2)."""
    if not local.isascii():
        _check_unicode(local)
    if quoted := _QUOTED_STRING.fullmatch(local):
        content = re.sub(r"\\(.)", r"\1", quoted[1])
        local = content if _DOT_STRING.fullmatch(content) else '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'
    elif not _DOT_STRING.fullmatch(local):
        _refuse(
            f"{_shown(local)} cannot stand before the @; check its dots, spaces and special characters, or quote it"
        )
    octets = len(local.encode())
    if octets > _LOCAL_OCTETS:
        _refuse(f"the part before the @ has {octets} octets, {_LOCAL_OCTETS} are allowed")
    return local


def _check_unicode(local: str) -> None:
    """Refuse what cannot be seen or told apart: format characters (such as U+202E), strange spaces, unassigned ones."""
    for char in local:
        if char > "\x7f" and unicodedata.category(char) in _UNSAFE_CATEGORIES:
            _refuse(f"the part before the @ holds the invisible character U+{ord(char):04X}; remove it")


@lru_cache(maxsize=8192)  # bounded: at most 8,192 domains of at most 1,016 characters
def _domain(domain: str) -> str:
    if domain.startswith("["):
        return _literal(domain)
    ascii_domain = domain.lower() if domain.isascii() else _to_ascii(domain)
    if not _DOMAIN.fullmatch(ascii_domain):
        _refuse(
            f"{_shown(domain)} is not a domain; write labels of letters, digits and hyphens, with single dots between"
        )
    labels = ascii_domain.split(".")
    if long := next((label for label in labels if len(label) > _LABEL_OCTETS), None):
        _refuse(f"the label {_shown(long)} of the domain is longer than {_LABEL_OCTETS} octets")
    if labels[-1].isdigit():
        _refuse(f"{_shown(domain)} ends in a number; write an IP address in brackets: user@[192.0.2.1]")
    for label in labels:
        if label.startswith("xn--"):
            _check_round_trip(label)
    return ascii_domain


def _to_ascii(domain: str) -> str:
    idna = _idna()
    try:
        encoded: bytes = idna.encode(domain, uts46=True, transitional=False)
        return encoded.decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        _refuse(f"{_shown(domain)} is not a valid international domain: {error}")


def _check_round_trip(label: str) -> None:
    """An A-label that does not come back the same would show people another name than the one that gets the mail."""
    idna = _idna()
    try:
        same = idna.alabel(idna.ulabel(label)) == label.encode("ascii")
    except (idna.IDNAError, UnicodeError):
        same = False
    if not same:
        _refuse(f"the label {_shown(label)} of the domain is not a valid A-label (IDNA2008)")


def _idna() -> Any:
    """Its tables are large, and most domains do without.  All of it, because it would import the rest at its first use."""
    with no_fork:
        import idna
        import idna.uts46data  # pyright: ignore[reportUnusedImport]  # for its effect

    return idna


def _literal(domain: str) -> str:
    with no_fork:
        import ipaddress

    inner = domain[1:-1] if domain.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:" and "%" not in inner:
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        _refuse(f"{_shown(domain)} is not an address literal; write [192.0.2.1] or [IPv6:2001:db8::1]")


# --- Lists of mailboxes (RFC 5322 section 3.4), without groups, routes and white space inside addresses ---

_PIECE = re.compile(
    r"""(?P<space>[ \t]+)
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | <(?P<angle>(?:[^"<>\\]|"(?:[^"\\]|\\.)*")*)>
    | (?P<comma>,)
    | (?P<comment>\()
    | (?P<group>[:;])
    | (?P<text>(?:[^ \t"<>(),:;\[\]]|\[[^\[\]]*\])+)
    """,
    re.VERBOSE | re.DOTALL,
)
_SIMPLE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~ -]*[A-Za-z0-9!#$%&'*+/^_`{|}~-] <([^<>\"()\\]*)>")


def parse_mailboxes(value: str | Iterable[str], field: str) -> tuple[Mailbox, ...]:
    """Read `a@b`, `Name <a@b>`, `"Doe, John" <j@example.com>, x@y`, or any number of such strings.

    An empty string means no mailbox.  Encoded words (RFC 2047) in a name are decoded.  Raises SubmissionError with
    `field`, or `field[1]` for the second of several strings.
    """
    if isinstance(value, str):
        return _read_list(value, field) if value else ()
    try:
        items = list(value)
    except TypeError:
        raise SubmissionError(field, f"give a str or several, not {type(value).__name__}") from None
    return tuple(mailbox for number, item in enumerate(items) for mailbox in _read_item(item, f"{field}[{number}]"))


def _read_item(item: str, field: str) -> tuple[Mailbox, ...]:
    if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers are not all typed
        raise SubmissionError(field, f"an address is a str, not {type(item).__name__}")
    if not item.strip(" \t"):
        raise SubmissionError(field, "the address is empty; write user@domain or leave it out")
    return _read_list(item, field)


def _read_list(value: str, field: str) -> tuple[Mailbox, ...]:
    if _PLAIN.fullmatch(value):
        return (Mailbox("", parse_address(value, field)),)
    if unsafe := UNSAFE_TEXT.search(value):
        raise SubmissionError(field, f"it holds the control character U+{ord(unsafe[0]):04X}; remove it")
    if (simple := _SIMPLE_NAME.fullmatch(value)) and "  " not in value:
        name = value[: simple.start(1) - 2].lstrip(" ")
        return (Mailbox(name, parse_address(simple[1], field)),)
    if not value.strip(" \t"):
        return ()
    if len(value) > _LIST_CHARS:
        raise SubmissionError(field, f"it has {len(value):,} characters, {_LIST_CHARS:,} are allowed; send several")
    return tuple(_mailbox(pieces, field) for pieces in _split(value, field))


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """A token of a list: its kind (a group of `_PIECE`), its meaning, and how it was written."""

    kind: str
    meaning: str
    written: str


def _split(value: str, field: str) -> Iterator[list[_Piece]]:
    """The pieces of each mailbox, comments left out, white space kept as pieces."""
    pieces: list[_Piece] = []
    at = 0
    while at < len(value):
        found = _PIECE.match(value, at)
        if found is None:
            raise SubmissionError(field, f"cannot read {value[at : at + 20]!r}; check its quotes and brackets")
        at = found.end()
        kind = found.lastgroup or ""
        if kind == "group":
            raise SubmissionError(field, f'groups and bare {found[0]!r} are not taken; quote the name: "Name: x" <a@b>')
        if kind == "comma":
            yield pieces
            pieces = []
        elif kind == "comment":
            at = _end_of_comment(value, at, field)
            pieces.append(_Piece("space", " ", " "))
        else:
            pieces.append(_Piece(kind, found[kind], found[0]))
    yield pieces


_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)


def _end_of_comment(value: str, at: int, field: str) -> int:
    depth = 1
    for mark in _COMMENT_MARK.finditer(value, at):
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end()
    raise SubmissionError(field, "a comment is not closed; write a ) or leave it out")


def _mailbox(pieces: list[_Piece], field: str) -> Mailbox:
    while pieces and pieces[-1].kind == "space":
        pieces.pop()
    if not any(piece.kind != "space" for piece in pieces):
        raise SubmissionError(field, "there is nothing between two commas or behind the last; remove the comma")
    last = pieces[-1]
    if last.kind != "angle":
        return Mailbox("", _bare_address(pieces, field))
    return Mailbox(_phrase(pieces[:-1], field), parse_address(last.meaning.strip(" \t"), field))


def _bare_address(pieces: list[_Piece], field: str) -> Address:
    text = "".join(piece.written for piece in pieces).strip(" \t")
    if "@" not in text:
        raise SubmissionError(
            field, f"{_shown(text)} has no @; write user@domain, and put quotes around a name with a comma"
        )
    return parse_address(text, field)


def _phrase(pieces: list[_Piece], field: str) -> str:
    words: list[tuple[str, bool]] = []
    for piece in pieces:
        if piece.kind == "angle" or (piece.kind == "text" and "@" in piece.meaning):
            raise SubmissionError(
                field, f"{_shown(piece.written)} cannot stand in a name; put the name in double quotes"
            )
        if piece.kind == "quoted":
            words.append((re.sub(r"\\(.)", r"\1", piece.meaning), False))
        else:
            words.append((" " if piece.kind == "space" else piece.meaning, True))
    name = decode_phrase(words).strip(" \t")
    if unsafe := UNSAFE_TEXT.search(name):
        raise SubmissionError(field, f"the name holds the control character U+{ord(unsafe[0]):04X}; remove it")
    return name
