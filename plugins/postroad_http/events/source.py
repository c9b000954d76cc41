"""What a provider's module must offer: pure functions from a POST to what it says, or to why it is not believed.

`application.py` does everything else.  A source neither waits nor reads a clock.  First `check`, over the octets as they came;
`read` only of what passed.  Both raise for whatever a stranger may send, and never anything but `Forged` and `Malformed`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from postroad.log import printable
from postroad.remote import NoticeKind, RemoteNotice

__all__ = [
    "Batch",
    "Forged",
    "GuardedSource",
    "Keys",
    "Malformed",
    "Posted",
    "Source",
    "batch_of",
    "check_password",
    "check_recent",
    "dug",
    "items_of",
    "json_of",
    "loads",
    "notice_of",
    "unbase64",
    "word",
]

USER = "postroad"  # of Basic authentication, where the provider signs nothing
_LATER_SECONDS = 300.0  # how far a provider's clock may be ahead of ours
_STATUS = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")  # RFC 3463


class Forged(Exception):
    """Not proven to be the provider's, or too old.  The text names what is wrong, and shows nothing of a secret."""


class Malformed(Exception):
    """The provider's, and not what it documents."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request.  headers: names in small letters; of several of one name all.  body: as it came."""

    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Raises Forged where it is not there just once."""
        found = [value for key, value in self.headers if key == name]
        if len(found) != 1:
            raise Forged(f"there are {len(found)} header fields {name}")
        return found[0]


@dataclass(frozen=True, slots=True)
class Keys:
    """What is needed to believe a request.

    secret: of the transport's settings, "" for none.  now: Unix seconds.  url: the address as the provider has it.
    topics: ARNs of Amazon SNS.  certificate: PEM, of the URL that `certificate_url` named.
    """

    secret: str = ""
    now: float = 0.0
    url: str = ""
    topics: tuple[str, ...] = ()
    certificate: bytes = b""

    def __repr__(self) -> str:
        return "Keys()"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a request says.

    ignored: how many events of kinds that are none of ours.  token: to be used once, "" where the whole body is signed.
    confirm: an URL to get once, which confirms a subscription.
    """

    notices: tuple[RemoteNotice, ...] = ()
    ignored: int = 0
    token: str = ""
    confirm: str = ""


class Source:
    """One provider.

    documentation, read_on: what this was written from, and when.  proof: how a request is proven, for people.
    window_seconds: how old a signature may be, None where it has no time; as long as the provider repeats a request, unless each
    repetition is signed anew.  is_form: the body is a form and not JSON.  challenge: it has to be asked for its password.
    """

    name: str
    title: str
    documentation: str
    read_on: str = "2026-11-27"
    proof: str
    window_seconds: float | None = None
    is_form: bool = False
    challenge: bool = False

    def check_before(self, posted: Posted, keys: Keys) -> None:
        """What can be refused by the header alone, before a body is read.  Raises Forged."""

    def certificate_url(self, posted: Posted, keys: Keys) -> str:
        """Where the certificate is that `check` needs, "" for none.  Raises Forged."""
        return ""

    def check(self, posted: Posted, keys: Keys) -> None:
        """Raises Forged."""
        raise NotImplementedError

    def read(self, posted: Posted) -> Batch:
        """Raises Malformed."""
        raise NotImplementedError


class GuardedSource(Source):
    """One that signs nothing: who knows the password is believed.  Looked at before any of the body is read."""

    proof = "basic"
    challenge = True

    def check_before(self, posted: Posted, keys: Keys) -> None:
        check_password(posted, keys.secret)

    def check(self, posted: Posted, keys: Keys) -> None:
        check_password(posted, keys.secret)


# --- Proofs ---


def check_password(posted: Posted, secret: str) -> None:
    """Basic authentication as `postroad`, or a bearer token (RFC 7617, RFC 6750).  Raises Forged."""
    scheme, _, given = posted.header("authorization").partition(" ")
    kinds: Mapping[str, Callable[[str], bytes]] = {
        "basic": lambda text: unbase64(text.strip()),
        "bearer": lambda text: f"{USER}:{text.strip()}".encode(),
    }
    if scheme.lower() not in kinds:
        raise Forged("neither Basic nor Bearer")
    if not secret or not hmac.compare_digest(kinds[scheme.lower()](given), f"{USER}:{secret}".encode()):
        raise Forged("a wrong user or password")


def check_recent(moment: str, now: float, window_seconds: float) -> None:
    """moment: Unix seconds, as text.  Raises Forged."""
    if not re.fullmatch(r"\d{1,11}(\.\d{1,9})?", moment):
        raise Forged("its time is none")
    if not -_LATER_SECONDS <= now - float(moment) <= window_seconds:
        raise Forged("it is outdated, or this machine's clock is wrong")


def unbase64(text: str) -> bytes:
    """Raises Forged."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Forged("what should be base64 is none") from None


# --- Reading ---


def loads(text: bytes | str) -> Any:
    """Raises Malformed."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Malformed("the body is no JSON") from None


def json_of(posted: Posted) -> Any:
    """Raises Malformed."""
    return loads(posted.body)


def items_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, or the one object.  Raises Malformed."""
    for item in value if isinstance(value, list) else [value]:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(item, dict):
            raise Malformed("an event is no object")
        yield item


def dug(value: Any, *path: str) -> Any:
    """What lies at the end of these keys, None where nothing does."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return value  # pyright: ignore[reportUnknownVariableType]


def word(value: Any, *path: str) -> str:
    """The text or number at the end of these keys, "" where there is none."""
    found = dug(value, *path)
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        return ""
    return str(found)[:1000]


def notice_of(
    kind: NoticeKind, *, id: str, recipient: str, key: str, status: str = "", said: str = ""
) -> RemoteNotice | None:
    """None where it does not say whom it means.  status: "" to look for one in what was said."""
    if not id or not recipient:
        return None
    found = _STATUS.search(status) or _STATUS.search(said)
    return RemoteNotice(
        kind=kind,
        id=printable(id, 500),
        recipient=printable(recipient, 500),
        key=printable(key, 500),
        status=found[0] if found else "",
        said=printable(said),
    )


def batch_of(notices: Sequence[RemoteNotice | None], *, token: str = "") -> Batch:
    """Of the notices of all events, None for those of no interest."""
    found = tuple([notice for notice in notices if notice is not None])
    return Batch(found, len(notices) - len(found), token)
