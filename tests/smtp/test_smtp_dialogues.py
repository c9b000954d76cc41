"""Every text in `dialogues` is played with the transport: whole, octet by octet, with and without PIPELINING, and with one
reply too many behind each reply.

A text is a head in TOML, then `---`, then the steps of `postroad.testing.smtp_dialogue`; a further `---` begins the next
connection.  Of the head only `verdicts` is needed:

    verdicts    for each message a list: for each recipient the disposition, the status, and words of the reply
    to          for each message its recipients; all messages are given at once
    sender      of all of them
    contents    for each message its content; by default each is a little different
    pipelining  "on" or "off" where the text makes sense only so; "off" plays it without the line that offers PIPELINING
    settings    of the transport; by default one session, no TLS
    tls         whether the server has a certificate
    login       user name and password
    octets      false where the text depends on what comes in one piece
    one_by_one  each message waits for the verdicts of the one before
"""

from __future__ import annotations

import math
import re
import ssl
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

from postroad.testing import make_request
from postroad.testing.smtp_dialogue import Dialogue
from postroad.testing.smtp_peer import SmtpPeer
from postroad.verdict import Disposition, Verdict
from postroad_smtp.settings import SmtpSettings
from postroad_smtp.transport import SmtpTransport

FOLDER = Path(__file__).parent / "dialogues"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
_CONTENT = "From: a@example.com\r\nSubject: {}\r\n\r\nHello\r\n.\r\n..dots\r\n"
_SETTINGS = {"smarthost": "192.0.2.1", "helo": "client.example", "tls": "none", "sessions": 1}


class Head(msgspec.Struct, forbid_unknown_fields=True):
    verdicts: list[list[str]]
    to: tuple[tuple[str, ...], ...] = (("b@example.org",),)
    sender: str = "a@example.com"
    contents: tuple[str, ...] = ()
    pipelining: str = ""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    tls: bool = False
    login: tuple[str, str] | None = None
    one_by_one: bool = False
    octets: bool = True


@dataclass(frozen=True)
class Text:
    """A file.  steps: the text of each connection."""

    head: Head
    connections: tuple[str, ...]

    @property
    def contents(self) -> list[bytes]:
        given = self.head.contents or [_CONTENT.format(number) for number in range(len(self.head.to))]
        return [content.encode() for content in given]

    @property
    def modes(self) -> Sequence[str]:
        return [self.head.pipelining] if self.head.pipelining else ["on", "off"]

    def played(self, mode: str) -> list[str]:
        """The texts as they are played with PIPELINING on or off."""
        return [text if mode == "on" else _unoffered(text) for text in self.connections]


def read(name: str) -> Text:
    head, *connections = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n---\n")
    return Text(msgspec.convert(tomllib.loads(head), Head), tuple(connections))


def _unoffered(text: str) -> str:
    text = re.sub("(?im)^S: 250-PIPELINING\n", "", text)
    return re.sub("(?im)^S: 250 PIPELINING$", "S: 250 HELP", text)


TEXTS = {name: read(name) for name in NAMES}
MODES = [(name, mode) for name, text in TEXTS.items() for mode in text.modes]
PLAYS = [
    (name, mode, cut)
    for name, mode in MODES
    for cut in ("whole", "octets")
    if cut == "whole" or TEXTS[name].head.octets
]


class _Octets(trio.abc.Stream):
    """A stream that brings one octet at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(1)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.fixture(scope="module")
def certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("peer.example", "192.0.2.1").configure_cert(context)
    return context


@dataclass
class Played:
    """What became of it.  verdicts: by message, in the order given."""

    peer: SmtpPeer
    verdicts: list[Sequence[Verdict]]


async def play(
    text: Text, texts: Sequence[str], folder: Path, certificate: ssl.SSLContext, *, by_octets: bool = False
) -> Played:
    """Give the messages to a transport whose server follows these texts."""
    peer = SmtpPeer(dialogue=texts, tls=certificate if text.head.tls else None)
    got: dict[int, Sequence[Verdict]] = {}
    async with trio.open_nursery() as serving:

        async def dial(address: str, port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            stream = peer.connect(serving)
            return _Octets(stream) if by_octets else stream

        async with trio.open_nursery() as nursery:
            transport = SmtpTransport(_settings(text, folder), nursery, dial=dial)
            await _send_all(text, transport, got)
            await trio.testing.wait_all_tasks_blocked()  # what nobody waits for is said too
            transport.close()
        await trio.testing.wait_all_tasks_blocked()
        serving.cancel_scope.cancel()  # whoever is silent
    return Played(peer, [got[number] for number in sorted(got)])


async def _send_all(text: Text, transport: SmtpTransport, got: dict[int, Sequence[Verdict]]) -> None:
    async def send(number: int) -> None:
        request = make_request(
            text.head.to[number], content=text.contents[number], sender=text.head.sender, deadline=math.inf
        )
        got[number] = await transport.deliver(request)

    async with trio.open_nursery() as nursery:
        for number in range(len(text.head.to)):
            if text.head.one_by_one:
                await send(number)
            else:
                nursery.start_soon(send, number)
                await trio.lowlevel.checkpoint()  # trio starts tasks of one batch in random order


def _settings(text: Text, folder: Path) -> SmtpSettings:
    settings = {**_SETTINGS, **text.head.settings}
    if text.head.login is not None:
        settings["username"], password = text.head.login
        settings["password_file"] = str(folder / "password")
        Path(settings["password_file"]).write_text(password)
    return msgspec.convert(settings, SmtpSettings, strict=False)


def _agrees(verdict: Verdict, expected: str) -> bool:
    disposition, status, *words = expected.split(" ", 2)
    return (verdict.disposition.value, verdict.status) == (disposition, status) and " ".join(words) in verdict.reply


@pytest.mark.parametrize(("name", "mode", "cut"), PLAYS)
async def test_the_dialogue_goes_as_written(
    name: str, mode: str, cut: str, tmp_path: Path, certificate: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    text = TEXTS[name]
    texts = text.played(mode)
    played = await play(text, texts, tmp_path, certificate, by_octets=cut == "octets")
    assert played.peer.faults == []
    shown = [[f"{one.disposition.value} {one.status} {one.reply}" for one in each] for each in played.verdicts]
    assert len(played.verdicts) == len(text.head.verdicts)
    for verdicts, expected in zip(played.verdicts, text.head.verdicts, strict=True):
        assert len(verdicts) == len(expected), shown
        assert all(_agrees(*pair) for pair in zip(verdicts, expected, strict=True)), shown
    wanted = [len(Dialogue(one).steps) for one in texts]
    assert [connection.steps for connection in played.peer.connections] == wanted, "the text was not played to its end"
    sent = [content for connection in played.peer.connections for content in connection.contents]
    assert set(sent) <= {*text.contents, b""}, "what was sent is not what was given"


# --- One reply too many ---

_EXTRA = "250 2.0.0 unasked"


def _with_extra(texts: Sequence[str]) -> Iterator[tuple[list[str], int, int, int]]:
    """The texts with a reply too many behind each reply in turn: (texts, connection, commands and contents before it)."""
    for number, text in enumerate(texts):
        lines = text.splitlines()
        for index, line in enumerate(lines):
            is_reply = line.startswith("S:") and line[6:7] != "-" and line[3:4].isdigit()
            if is_reply and not line.startswith(("S: 221", "S: 421")):
                commands = sum(each.startswith("C:") for each in lines[:index])
                contents = sum(each.startswith("!content") for each in lines[:index])
                longer = "\n".join([*lines[: index + 1], f"S: {_EXTRA}", *lines[index + 1 :]])
                yield [*texts[:number], longer, *texts[number + 1 :]], number, commands, contents


@pytest.mark.parametrize(("name", "mode"), MODES)
async def test_a_reply_too_many_ends_the_connection_and_answers_nothing(
    name: str, mode: str, tmp_path: Path, certificate: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    text = TEXTS[name]
    for texts, number, commands, contents in _with_extra(text.played(mode)):
        played = await play(text, texts, tmp_path, certificate)
        connection = played.peer.connections[number]
        assert len(connection.contents) <= contents, f"content behind the extra reply: {texts[number]}"
        for verdict in (one for each in played.verdicts for one in each):
            assert not (verdict.disposition is Disposition.ACCEPTED and _EXTRA in verdict.reply), texts[number]
            if verdict.disposition is Disposition.ACCEPTED:
                assert any(one.contents for one in played.peer.connections), texts[number]
        if mode == "off":
            assert connection.commands[commands:] in ([], ["QUIT"]), f"it went on: {texts[number]}"
