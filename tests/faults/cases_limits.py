"""Where the phases of `cases_phases` are not enough: connecting, TLS, content, and replies without end.  Rows 30 to 33."""

from __future__ import annotations

import itertools
import socket
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

import trio
from fault_case import DELIVERED, Case, Expected, Seen, told
from fault_scene import HUGE, Scene, play, send

from postroad.testing.smtp_line import Line
from postroad.testing.smtp_peer import ACCEPT, Raw
from postroad_smtp import smtp_transport

__all__ = ["cases"]

LOST, GARBAGE = "deferred 4.4.2 (site)", "deferred 4.5.0 (site)"
_GIB, _MIB = 2**30, 2**20


def cases() -> Iterator[Case]:
    yield Case(
        row="31",
        what="silence",
        where="at the TCP connection",
        meet=_meet_nobody,
        expected=Expected(outcomes=("deferred 4.4.1 (site)",), seconds=(29, 31), is_next_delivered=None),
    )
    yield from _handshakes()
    yield from _contents()
    yield from _floods()


# --- No connection ---


@contextmanager
def _full_backlog() -> Iterator[int]:
    """A port of 127.0.0.1 where no connection is ever made."""
    with closing(socket.socket()) as listener, closing(socket.socket()) as first, closing(socket.socket()) as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def _meet_nobody() -> Seen:
    with _full_backlog() as port:
        async with smtp_transport({"smarthost": f"127.0.0.1:{port}"}) as transport:
            verdicts = await send(transport, "b@example.org")
            return Seen(outcomes=tuple(map(told, verdicts)), seconds=trio.current_time())


# --- The TLS handshake: its bytes are told by a dialogue, for they are no replies ---

_TO_TLS = """
    S: 220 peer.example ESMTP
    C: EHLO *
    S: 250-peer.example
    S: 250 STARTTLS
    C: STARTTLS
"""
_PLAIN = """
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<*
    S: 250 Ok
    C: DATA
    S: 354 Go on
    !content
    S: 250 Ok
"""
_TLS = f"{_TO_TLS}\nS: 220 Go\n!tls\nC: EHLO *\nS: 250 peer.example\n{_PLAIN}\nC: QUIT\nS: 221 Bye"
_WITHOUT = f"S: 220 peer.example ESMTP\nC: EHLO *\nS: 250-peer.example\nS: 250 STARTTLS\n{_PLAIN}\n{_PLAIN}\nC: QUIT\nS: 221 Bye"
_RECORD = "\x16\x03\x03\x3f\x7f" + "x" * 200  # the head of a TLS record of 16,255 octets, and its beginning


def _handshakes() -> Iterator[Case]:
    ends = {
        ("31", "silence", "at the TLS handshake"): ("S: 220 Go\n!silence", "deferred 4.4.2 (site)", 60),
        ("32", "an octet every 5 s", "at the TLS handshake"): (
            f"S: 220 Go\n!delay 1\n!drip 5 {_RECORD}",
            "deferred 4.4.2 (site)",
            60,
        ),
        ("33", "FIN", "at STARTTLS"): ("!cut", LOST, 0),
        ("33", "RST", "at STARTTLS"): ("!reset", LOST, 0),
        ("33", "FIN", "at the TLS handshake"): ("S: 220 Go\n!delay 1\n!cut", "deferred 4.7.5 (site)", 1),
        ("33", "RST", "at the TLS handshake"): ("S: 220 Go\n!delay 1\n!reset", "deferred 4.7.5 (site)", 1),
        ("31", "silence", "at STARTTLS"): ("!silence", LOST, 300),
        ("32", "an octet every 20 s", "at STARTTLS"): (f"!drip 20 220 {'x' * 100}", LOST, 300),
    }
    for (row, what, where), (end, outcome, limit) in ends.items():
        seconds = (limit * 0.98, limit + 3.0)
        scene = Scene(dialogues=(f"{_TO_TLS}\n{end}", _TLS), is_tls=True, may_complain=True)
        expected = Expected(outcomes=(outcome,), seconds=seconds)
        yield Case(
            row=row, what=what, where=where, variant="required", meet=lambda scene=scene: play(scene), expected=expected
        )
        if where == "at the TLS handshake":
            scene = Scene(dialogues=(f"{_TO_TLS}\n{end}", _WITHOUT), offers_tls=True, may_complain=True)
            expected = Expected(outcomes=(DELIVERED,), seconds=seconds)
            yield Case(
                row=row,
                what=what,
                where=where,
                variant="opportunistic: in plain text",
                meet=lambda scene=scene: play(scene),
                expected=expected,
            )


# --- Content ---


def _contents() -> Iterator[Case]:
    """The server ends, or no longer reads, in the middle of a content of 16 MB."""
    go = b"354 Go on\r\n"
    cut = [Raw(go, then_cut=True), ACCEPT]
    for is_tls in (False, True):
        scene = Scene(replies={"DATA": cut}, content=HUGE, extensions=("PIPELINING",), is_tls=is_tls)
        yield _content("33", "FIN", scene, 0)
    for is_tls in (False, True):
        to_data = (_TLS if is_tls else f"S: 220 peer.example\nC: EHLO *\nS: 250 peer.example\n{_PLAIN}").partition(
            "!content"
        )[0]
        willing = (
            _TLS if is_tls else f"S: 220 peer.example\nC: EHLO *\nS: 250 peer.example\n{_PLAIN}\nC: QUIT\nS: 221 Bye"
        )
        for (row, what), (end, limit) in {
            ("31", "no more reading"): ("!silence", 180),
            ("33", "RST"): ("!delay 1\n!reset", 1),
        }.items():
            scene = Scene(dialogues=(f"{to_data}\n{end}", willing), content=HUGE, is_tls=is_tls)
            yield _content(row, what, scene, limit)


def _content(row: str, what: str, scene: Scene, limit: float) -> Case:
    return Case(
        row=row,
        what=what,
        where="in the content",
        variant="inside TLS" if scene.is_tls else "plain",
        meet=lambda: play(scene),
        expected=Expected(outcomes=(LOST,), seconds=(limit * 0.98, limit + 3.0)),
    )


# --- Replies without end ---


class _Flood:
    """A server that is willing until a phase, and there writes up to 1 GiB.  written: how much of it went out."""

    def __init__(self, phase: str, piece: bytes) -> None:
        self._phase = phase
        self._piece = piece
        self.written = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, self._serve, [listener])
            yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        line = Line(stream, [], [])
        try:
            await self._talk(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(line.stream)

    async def _talk(self, line: Line) -> None:
        command = "CONNECT"
        while command != self._phase:
            await line.say({"CONNECT": "220 hi", "DATA": "354 go"}.get(command, "250 Ok"))
            if command == "DATA":
                await line.read_content()
                command = "."
            else:
                command = (await line.read_command()).partition(" ")[0]
        while self.written < _GIB:
            await line.send(self._piece)
            self.written += len(self._piece)


def _floods() -> Iterator[Case]:
    pieces = {"1 GiB of lines": b"250-x\r\n" * 5000, "1 GiB in one line": b"250 " + b"x" * 50_000}
    phases = {"the greeting": "CONNECT", "EHLO": "EHLO", "RCPT": "RCPT", "the final dot": "."}
    for (what, piece), (where, phase) in itertools.product(pieces.items(), phases.items()):
        yield Case(
            row="30",
            what=what,
            where=f"at {where}",
            meet=lambda piece=piece, phase=phase: _meet_flood(phase, piece),
            expected=Expected(
                outcomes=("in doubt 4.4.2 (site)" if phase == "." else GARBAGE,),
                facts=("under 1 MiB of memory",),
                is_next_delivered=None,
            ),
        )


async def _meet_flood(phase: str, piece: bytes) -> Seen:
    flood = _Flood(phase, piece)
    async with flood.listening() as smarthost, smtp_transport({"smarthost": smarthost}) as transport:
        tracemalloc.start()
        try:
            verdicts = await send(transport, "b@example.org")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert flood.written < 64 * _MIB, "the client read on"
    return Seen(
        outcomes=tuple(map(told, verdicts)),
        facts=("under 1 MiB of memory" if peak < _MIB else f"{peak} octets of memory",),
    )
