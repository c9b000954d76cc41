"""What a provider tells later of mail that it took: the value that carries it, and whom of our recipients it means.

Pure; imports no trio.  Read from requests by `postroad_http.events`, brought in by `Engine.receive_notices` or
`Handover.receive_notices`, and acted on by `remote_notices.py`.  docs/provider-events.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from .errors import SubmissionError
from .log import printable
from .store.contract import StoredMessage, StoredRecipient

__all__ = [
    "NOTICES_AT_ONCE",
    "Noted",
    "NoticeKind",
    "RemoteNotice",
    "Seen",
    "check_notices",
    "digest_of",
    "recipient_of",
]

NoticeKind: TypeAlias = Literal["delivered", "deferred", "bounced", "complained", "unsubscribed"]

NOTICES_AT_ONCE = 20_000  # of one request: 8 MiB of the shortest that a provider writes
_SEGMENTS, _IN_SEGMENT, _OCTETS = 64, 1024, 8  # what is remembered, 8 KiB a fact: a commit writes one or two of them
_Word = Annotated[str, Meta(max_length=1000)]


class RemoteNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of one recipient.

    kind: "bounced" where it has given up, "deferred" where it tries again.  id: our message's, as the provider gives it back.
    status: enhanced (RFC 3463) or "".  said: the words of a server.
    key: what the provider calls this event; with id, recipient and kind it is told once.
    """

    kind: NoticeKind
    id: _Word
    recipient: _Word
    key: _Word
    status: _Word = ""
    said: _Word = ""


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of notices.

    told: of ours, and new.  known: taken before.  unmatched: not of a recipient that this transport carried.
    unsettled: not taken, because the answer to the mail itself is not settled yet; bring these again.
    """

    told: int = 0
    known: int = 0
    unmatched: int = 0
    unsettled: int = 0

    def plus(self, other: Noted) -> Noted:
        """Of these and those together."""
        return Noted(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


def check_notices(notices: Iterable[RemoteNotice]) -> tuple[RemoteNotice, ...]:
    """What was said made printable.  Raises SubmissionError (field "notices")."""
    found = tuple(notices)
    if len(found) > NOTICES_AT_ONCE:
        raise SubmissionError("notices", f"there are {len(found):,}, {NOTICES_AT_ONCE:,} are taken at once")
    return tuple([replace(notice, said=printable(notice.said)) for notice in found])


def recipient_of(notice: RemoteNotice, stored: StoredMessage) -> StoredRecipient | None:
    """Whom it means, None where the message has no such recipient.  Providers may write addresses in small letters."""
    exact = [recipient for recipient in stored.recipients if recipient.address == notice.recipient]
    if exact:
        return exact[0]
    wanted = notice.recipient.lower()
    alike = [recipient for recipient in stored.recipients if recipient.address.lower() == wanted]
    return alike[0] if len(alike) == 1 else None


def digest_of(*words: str) -> bytes:
    """Names an event in the memory of what was taken."""
    whole = "\0".join(words).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=_OCTETS).digest()


class Seen:
    """The events that were taken, the last 65,536 of them: a ring of facts, each beginning with its number.

    names: of the facts that keep it.  kept: these as the spool has them, None or damaged for none.
    """

    names: Sequence[str] = tuple(f"remote/{place}" for place in range(_SEGMENTS))

    def __init__(self, kept: Sequence[bytes | None]) -> None:
        sound = [fact for fact in kept if fact and len(fact) % _OCTETS == 0]
        self._segments = sorted(sound, key=lambda fact: fact[:_OCTETS])[-_SEGMENTS:] or [bytes(_OCTETS)]
        self._known = {digest for segment in self._segments for digest in _digests(segment)}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def add(self, digests: Iterable[bytes]) -> dict[str, bytes]:
        """Remember them; return the facts that changed by that.  The oldest are forgotten."""
        changed: dict[str, bytes] = {}
        for digest in dict.fromkeys(digests):
            if len(self._segments[-1]) > _IN_SEGMENT * _OCTETS:
                self._begin_segment()
            self._segments[-1] += digest
            self._known.add(digest)
            number = int.from_bytes(self._segments[-1][:_OCTETS], "big")
            changed[self.names[number % _SEGMENTS]] = self._segments[-1]
        return changed

    def _begin_segment(self) -> None:
        number = int.from_bytes(self._segments[-1][:_OCTETS], "big") + 1
        self._segments.append(number.to_bytes(_OCTETS, "big"))
        if len(self._segments) > _SEGMENTS:
            self._known.difference_update(_digests(self._segments.pop(0)))


def _digests(segment: bytes) -> list[bytes]:
    return [segment[start : start + _OCTETS] for start in range(_OCTETS, len(segment), _OCTETS)]
