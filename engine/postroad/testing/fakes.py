"""Stand-ins for tests: requests without an engine, content in memory, and a transport that follows a script.

A plugin author hands `make_request(...)` to a transport; an application puts `ScriptedTransport` behind an engine and says
what each recipient, or each call, meets.  No network, no disk, no clock of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import trio

from ..hookspecs import hookimpl
from ..message import Message
from ..store.contract import LeasedRecipient
from ..transport import Capabilities, DeliveryRequest
from ..verdict import Disposition, Verdict

if TYPE_CHECKING:
    from ..transport import Transport, TransportFactory

__all__ = ["ACCEPTED", "Call", "Hang", "MemoryContent", "ScriptedTransport", "Slow", "Step", "make_request"]

_PIECE_BYTES = 65_536  # the contract's limit of one chunk
_SAMPLE = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


class MemoryContent:
    """Content that lies in memory.  at_hand: whether `read_nowait` gives it; opened: how many `chunks` are open now.

    damage: never found, as it is not looked for; a test may set it.
    """

    def __init__(self, data: bytes, *, at_hand: bool = True, piece_bytes: int = _PIECE_BYTES) -> None:
        self._data = data
        self._at_hand = at_hand
        self._piece_bytes = piece_bytes
        self.opened = 0
        self.damage = ""

    @property
    def size(self) -> int:
        return len(self._data)

    def whole(self) -> bytes:
        """All of it, for the test itself, at hand or not."""
        return self._data

    def read_nowait(self) -> bytes | None:
        return self._data if self._at_hand else None

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._data

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        self.opened += 1
        try:
            yield _Pieces(self._data, self._piece_bytes)
        finally:
            self.opened -= 1


class _Pieces:
    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._data = data
        self._starts = iter(range(0, len(data), piece_bytes))
        self._piece_bytes = piece_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        start = next(self._starts, None)
        if start is None:
            raise StopAsyncIteration
        return self._data[start : start + self._piece_bytes]


def make_request(
    recipients: Sequence[str | LeasedRecipient] = ("b@example.org",),
    *,
    content: bytes | MemoryContent = _SAMPLE,
    sender: str = "a@example.com",
    message: Message | None = None,
    id: str = "01k0000000aaaaaaaaaa",
    token: int = 1,
    domain: str | None = None,
    deadline: float | None = None,
    doubt_seconds: float = 20.0,
    commit: Callable[[], None] = lambda: None,
) -> DeliveryRequest:
    """One call to a transport as an engine would make it.

    Plain addresses become recipients numbered from 0; `message` replaces the one made of `id`, `sender` and the content's
    properties.  deadline: trio time, by default 60 s from now.  commit: called by `request.committing()`.
    """
    holder = MemoryContent(content) if isinstance(content, bytes) else content
    message = message or _message_of(holder, id=id, sender=sender)
    return DeliveryRequest(
        id=f"{message.id}/{token}",
        message=message,
        recipients=tuple(_recipients_of(recipients)),
        content=holder,
        domain=domain,
        deadline=trio.current_time() + 60.0 if deadline is None else deadline,
        commit=commit,
        doubt_seconds=doubt_seconds,
    )


def _message_of(content: MemoryContent, *, id: str, sender: str) -> Message:
    head, _, _ = (data := content.whole()).partition(b"\r\n\r\n")
    return Message(
        id=id,
        sender=sender,
        accepted_at=1_750_000_000.0,
        size=content.size,
        eight_bit=not data.isascii(),
        smtputf8=not head.isascii(),
        message_id=f"{id}@example.com",
    )


def _recipients_of(recipients: Sequence[str | LeasedRecipient]) -> Iterator[LeasedRecipient]:
    for number, recipient in enumerate(recipients):
        yield LeasedRecipient(number, recipient) if isinstance(recipient, str) else recipient


# --- The scripted transport ---


class Hang(msgspec.Struct, frozen=True):
    """A step: never answer.  committed: say `committing()` first, so that the end is in doubt."""

    committed: bool = False


class Slow(msgspec.Struct, frozen=True):
    """A step: answer after some seconds (of trio's clock)."""

    seconds: float
    verdict: Verdict


Step: TypeAlias = Verdict | Slow | Hang | BaseException | Callable[[DeliveryRequest, LeasedRecipient], Verdict]

ACCEPTED = Verdict.accepted("250 2.0.0 Ok, as scripted", remote="scripted.example [192.0.2.1]:25")


@dataclass(slots=True, eq=False)
class Call:
    """One call of `deliver`, as it went.  verdicts stays None where it was cancelled or raised."""

    request: DeliveryRequest
    began: float  # trio time
    content: bytes = b""
    committed: bool = False
    ended: float | None = None
    verdicts: tuple[Verdict, ...] | None = None
    error: BaseException | None = field(default=None, repr=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(recipient.address for recipient in self.request.recipients)


class ScriptedTransport:
    """A transport that does what its script says, and remembers every call.

    script: a sequence (one step per recipient asked for, in the order of the calls) or, by address, a sequence of steps
    for its attempts.  Where a script has ended or an address has none, `default` is the step.  A step is a Verdict, a
    Slow one, a Hang, an exception to raise, or a function of request and recipient.
    keep_content: whether calls keep what was carried (switch it off for very many).
    """

    def __init__(
        self,
        script: Sequence[Step] | Mapping[str, Sequence[Step]] = (),
        *,
        default: Step = ACCEPTED,
        capabilities: Capabilities | None = None,
        keep_content: bool = True,
    ) -> None:
        self._by_address = (
            {address: iter(steps) for address, steps in script.items()} if isinstance(script, Mapping) else {}
        )
        self._in_order = iter(()) if isinstance(script, Mapping) else iter(script)
        self._default = default
        self._capabilities = capabilities or Capabilities()
        self._keep_content = keep_content
        self._changed = trio.Event()
        self.calls: list[Call] = []
        self.running = 0
        self.most_running = 0
        self.opened = 0  # how often the factory's context was entered, and left
        self.closed = 0

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def accepted(self) -> list[tuple[str, str]]:
        """(message id, address) of every acceptance, in order: duplicates show here."""
        return [
            (call.request.message.id, recipient.address)
            for call in self.calls
            for recipient, verdict in zip(call.request.recipients, call.verdicts or (), strict=False)
            if verdict.disposition is Disposition.ACCEPTED
        ]

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        call = Call(request, trio.current_time())
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self._tell()
        try:
            call.verdicts = await self._follow_script(call)
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.ended = trio.current_time()
            self.running -= 1
            self._tell()
        return call.verdicts

    async def wait_calls(self, count: int) -> list[Call]:
        """Wait until `count` calls have begun; gives those calls."""
        await trio.lowlevel.checkpoint()
        while len(self.calls) < count:
            await self._changed.wait()
        return self.calls[:count]

    async def wait_ended(self, count: int) -> list[Call]:
        """Wait until `count` calls have ended; gives those that did, in the order of their beginnings."""
        await trio.lowlevel.checkpoint()
        while len(ended := [call for call in self.calls if call.ended is not None]) < count:
            await self._changed.wait()
        return ended

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _follow_script(self, call: Call) -> tuple[Verdict, ...]:
        data = await _read(call.request)
        if self._keep_content:
            call.content = data
        verdicts = [await self._take_step(call, recipient) for recipient in call.request.recipients]
        return tuple(verdicts)

    async def _take_step(self, call: Call, recipient: LeasedRecipient) -> Verdict:
        await trio.lowlevel.checkpoint()
        step = next(self._by_address.get(recipient.address, self._in_order), self._default)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Hang):
            _commit(call, needed=step.committed)
            await trio.sleep_forever()
        if isinstance(step, Slow):
            await trio.sleep(step.seconds)
            step = step.verdict
        verdict = step if isinstance(step, Verdict) else step(call.request, recipient)
        _commit(call, needed=verdict.disposition in (Disposition.ACCEPTED, Disposition.IN_DOUBT))
        return verdict

    @asynccontextmanager
    async def factory(self, _settings: Mapping[str, Any]) -> AsyncGenerator[Transport]:
        """A TransportFactory that always gives this very transport."""
        self.opened += 1
        try:
            yield self
        finally:
            self.closed += 1

    def plugin(self, name: str = "scripted") -> object:
        """A plugin object that registers this transport under a name, for an engine's plugin manager."""
        return _ScriptedPlugin(name, self.factory)


def _commit(call: Call, *, needed: bool) -> None:
    if needed:
        call.committed = True
        call.request.committing()


async def _read(request: DeliveryRequest) -> bytes:
    data = request.content.read_nowait()
    if data is None:
        return await request.content.read()
    await trio.lowlevel.checkpoint()
    return data


class _ScriptedPlugin:
    def __init__(self, name: str, factory: TransportFactory) -> None:
        self._name = name
        self._factory = factory

    @hookimpl
    def postroad_register_transports(self, register: Callable[[str, Any], None]) -> None:
        register(self._name, self._factory)
