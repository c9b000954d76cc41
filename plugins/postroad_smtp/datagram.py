"""The ordinary case of the DNS by hand: a question in a datagram, and an answer that says no more than what was asked.

A resolver for every case costs several times as much, and a queue for ten thousand domains asks thirty thousand questions.
Whatever is not ordinary (aliases, a cut answer, trouble, silence, odd names) gives None here, and is asked by dnspython, with all
its care: `lookup.py` sees to that.  No bytes of a server raise.  RFC 1035 section 4, RFC 2308 section 5.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import trio

from .domains import is_host_name
from .places import Place

__all__ = ["Quick", "Told", "make_questions", "read_answer"]

_KINDS = {"A": 1, "MX": 15, "AAAA": 28}
_SOA, _INTERNET = 6, 1
_HEADER, _END, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!2HIH")
_RECURSION_DESIRED, _RESPONSE = 0x0100, 0x8000
_ORDINARY = 0xFA0F  # QR, opcode, TC and RCODE: of an ordinary answer only QR is set, and perhaps RCODE
_NXDOMAIN = 3
_TO_QUESTION = bytes((0xC0, _HEADER.size))  # a pointer to the name that was asked for; RFC 1035 section 4.1.4
_NAME_OCTETS = 253  # as text; RFC 1035 section 2.3.4
_MOST_SECONDS = 0x7FFF_FFFF  # RFC 2181 section 8: a larger TTL is none
_ABSENT_SECONDS = 300  # what is not there, by an answer that does not say for how long; as dnspython
_STEPS = 128  # labels and pointers of a name: no name has more labels
_OCTETS = 4096  # without EDNS an answer has 512 at the most
_PATIENCE_SECONDS = 1.0
_SILENCES = 3  # in a row: the server is down, and waiting for it twice a look-up would be a waste
_REST_SECONDS = 60.0


class Told(NamedTuple):
    """An answer.  records: as `answers.Found` has them.  seconds: how long it holds.  exists: whether the name does.

    at: trio time when it came.
    """

    records: tuple[Any, ...]
    seconds: int
    exists: bool = True
    at: float = 0.0


class Quick:
    """Asks one server; where it keeps silent several times in a row, it is not asked in this way for a minute.

    patience: seconds that an answer may take; then the careful way begins, which asks again.
    """

    def __init__(self, server: Place, patience: float = _PATIENCE_SECONDS) -> None:
        self._server = server
        self._patience = min(patience, _PATIENCE_SECONDS)
        self._silences = 0
        self._silent_at = 0.0  # when one was counted last: those that were asked before it tell nothing new
        self._resting_until = 0.0

    async def ask(self, name: str, *kinds: str) -> Sequence[Told | None]:
        """The answer for each kind, where all of it is ordinary.  All are asked for at once, and share one patience."""
        questions = make_questions(name, kinds)
        began = trio.current_time()
        if not questions or began < self._resting_until:
            return [None] * len(kinds)
        told: dict[str, Told | None] = {}
        with trio.CancelScope(deadline=began + self._patience) as scope:
            await self._exchange(questions, name, told)
        if told or not scope.cancelled_caught:
            self._silences = 0
        elif began >= self._silent_at:
            self._note_silence(trio.current_time())
        return [told.get(kind) for kind in kinds]

    def _note_silence(self, now: float) -> None:
        self._silences, self._silent_at = self._silences + 1, now
        if self._silences >= _SILENCES:
            self._silences, self._resting_until = 0, now + _REST_SECONDS

    async def _exchange(self, questions: dict[int, Question], name: str, told: dict[str, Told | None]) -> None:
        """A socket of its own for each look-up: its port is as hard to guess as the id (RFC 5452 section 9.2).

        told: gets the answers as they come.
        """
        family = socket.AF_INET6 if ":" in self._server.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.connect((self._server.host, self._server.port))  # nobody else's datagrams
                for id, question in questions.items():
                    sock.send(_HEADER.pack(id, _RECURSION_DESIRED, 1, 0, 0, 0) + question.wire)
                while questions:
                    await trio.lowlevel.wait_readable(sock)
                    _take_all(sock, questions, name, told)
        except OSError:  # also of a datagram whose checksum is wrong: the careful way is next
            return


def _take_all(sock: socket.socket, questions: dict[int, Question], name: str, told: dict[str, Told | None]) -> None:
    """What is here: the answer to a second question mostly comes along with that to the first."""
    with suppress(BlockingIOError):
        for _ in range(len(questions)):  # and no more, whatever somebody sends
            _take(sock.recv(_OCTETS), questions, name, told)


def _take(wire: bytes, questions: dict[int, Question], name: str, told: dict[str, Told | None]) -> None:
    """Of a question that is answered by it, if one is."""
    id = int.from_bytes(wire[:2])
    question = questions.get(id)
    if question is not None and _is_answer(wire, question.wire):
        del questions[id]
        told[question.kind] = read_answer(wire, name, question.kind, trio.current_time())


class Question(NamedTuple):
    """One question.  wire: as it stands behind the header."""

    kind: str
    wire: bytes


def make_questions(name: str, kinds: Sequence[str]) -> dict[int, Question]:
    """The questions by their ids; none where the name is not as hosts' names are."""
    if len(name) > _NAME_OCTETS or not is_host_name(name):
        return {}
    labels = b"".join([bytes((len(label),)) + label.encode("ascii") for label in name.split(".")])
    questions: dict[int, Question] = {}
    for kind in kinds:
        id = secrets.randbits(16)
        while id in questions:
            id = secrets.randbits(16)
        questions[id] = Question(kind, labels + b"\0" + _END.pack(_KINDS[kind], _INTERNET))
    return questions


def _is_answer(wire: bytes, question: bytes) -> bool:
    """Whether it answers that very question; servers may change the case of the name."""
    start = _HEADER.size
    is_whole = len(wire) >= start + len(question) and _HEADER.unpack_from(wire)[2] == 1
    return is_whole and wire[2] >= 0x80 and wire[start : start + len(question)].lower() == question.lower()


def read_answer(wire: bytes, name: str, kind: str, at: float = 0.0) -> Told | None:
    """What an answer to the one question says of a name; None where it is not ordinary.  at: trio time when it came."""
    try:
        return _Reader(wire, at).read(name, kind)
    except (IndexError, ValueError, struct.error):
        return None


class _Reader:
    """Reads an answer from its beginning to the end of what is needed.  Every method may raise what `read_answer` catches."""

    def __init__(self, wire: bytes, came_at: float) -> None:
        self._wire = wire
        self._came_at = came_at
        self._at = _HEADER.size
        self._asked: str | None = None  # the name in the question, once it was read

    def read(self, name: str, kind: str) -> Told | None:
        _, flags, _, answers, authorities, _ = _HEADER.unpack_from(self._wire)
        code = flags & _ORDINARY ^ _RESPONSE
        if self._name() != name or code not in (0, _NXDOMAIN) or (answers and code):
            return None
        self._asked = name
        self._at += _END.size
        if not answers:
            return Told((), self._absent_seconds(name, authorities), exists=not code, at=self._came_at)
        seconds, records = _MOST_SECONDS, dict[Any, None]()
        for _ in range(answers):
            owner, owned, ttl, end = self._record()
            if owner != name or owned != _KINDS[kind]:
                return None
            seconds = min(seconds, ttl)
            records[self._data(kind, end)] = None
        return Told(tuple(records), seconds, at=self._came_at)

    def _absent_seconds(self, name: str, authorities: int) -> int:
        """RFC 2308 section 5: the SOA's own TTL or its last field, whichever is less."""
        for _ in range(authorities):
            owner, kind, ttl, end = self._record()
            if kind == _SOA and f".{name}".endswith(f".{owner}" if owner else ""):
                return min(ttl, int.from_bytes(self._wire[end - 4 : end]))
            self._at = end
        return _ABSENT_SECONDS

    def _record(self) -> tuple[str, int, int, int]:
        """The owner, kind and TTL of the next record, and where its data ends; they are read next."""
        owner = self._name()
        kind, network, ttl, octets = _RECORD.unpack_from(self._wire, self._at)
        self._at += _RECORD.size
        end = self._at + octets
        if network != _INTERNET or end > len(self._wire):
            raise ValueError
        return owner, kind, ttl if ttl <= _MOST_SECONDS else 0, end

    def _data(self, kind: str, end: int) -> Any:
        if kind != "MX":
            start, self._at = self._at, end
            return socket.inet_ntop(socket.AF_INET if kind == "A" else socket.AF_INET6, self._wire[start:end])
        preference = int.from_bytes(self._wire[self._at : self._at + 2])
        self._at += 2
        host = self._name() or "."
        if self._at != end:
            raise ValueError
        return preference, host

    def _name(self) -> str:
        """A name in lower case, "" for the root.  Pointers lead backwards only, so that they come to an end."""
        wire, at, bound, end = self._wire, self._at, self._at, 0
        if self._asked is not None and wire.startswith(_TO_QUESTION, at):
            self._at += len(_TO_QUESTION)
            return self._asked  # as nearly every record begins
        labels: list[bytes] = []
        for _ in range(_STEPS):
            length = wire[at]
            if not length:
                break
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | wire[at + 1]
                if target >= bound:
                    raise ValueError
                end = end or at + 2
                at = bound = target
            else:
                labels.append(wire[at + 1 : at + 1 + length])
                at += 1 + length
        else:
            raise ValueError
        self._at = end or at + 1
        name = b".".join(labels).decode("ascii").lower()
        if name and (len(name) > _NAME_OCTETS or not is_host_name(name)):
            raise ValueError
        return name
