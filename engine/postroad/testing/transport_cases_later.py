"""Further cases of `check_transport`: cancellation, trouble, and the factory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ..errors import ConfigError, StoreError
from ..transport import Beginning, Transport
from ..verdict import Disposition, Verdict
from .transport_begun import deliver_begun
from .transport_bench import Bench, Mail, NotTried, Unmet, require
from .transport_cases import CLOSED, VERDICTS, enlist_case

__all__ = ["SHIELD_SECONDS", "cancel_at", "expect_no_end", "is_end"]

TEMPORARY, CANCEL, CAPABLE, SETTINGS, TWO_WAYS = "T4", "T9", "T12", "T15", "T18"

SHIELD_SECONDS = 21.0  # the contract's 20 s, and a little
_MOST_CANCELLATIONS = 100
_LARGE_BYTES = 700_000
_END_SECONDS = 31.0  # an engine gives a factory's end 30 s


# --- Cancellation ---


@enlist_case("cancelled at any of its steps it ends at once, and what was not announced was not handed over", CANCEL)
async def cancelled_at_every_step(bench: Bench) -> None:
    async with bench.open() as transport:
        for step in range(_MOST_CANCELLATIONS):
            mail = bench.mail(content={"at_hand": step % 2 == 0})
            if not await cancel_at(step, partial(bench.deliver, transport, mail)):
                break
            require(mail.content.opened == 0, f"cancelled at step {step}, it left the content open")
            unannounced = bench.copies(mail) > 0 and mail.commits == 0
            require(not unannounced, f"cancelled at step {step}, the peer has the mail without committing()")
        await bench.deliver_accepted(transport, bench.mail())


@enlist_case("ten mails begun at once are accepted, and `done` is called once for each", TWO_WAYS)
async def begun_together(bench: Bench) -> None:
    async with bench.open() as transport:
        if not isinstance(transport, Beginning):
            raise NotTried("it has no `begin_delivery`")
        mails = [bench.mail() for _ in range(10)]
        async with trio.open_nursery() as nursery:
            for mail in mails:
                nursery.start_soon(_expect_begun, bench, transport, mail)


async def _expect_begun(bench: Bench, transport: Transport, mail: Mail) -> None:
    for verdict in await deliver_begun(transport, mail.request, bench.misdeeds):
        require(verdict.disposition is Disposition.ACCEPTED, f"{verdict.disposition.value}: {verdict.reply}")
    bench.require_unharmed(mail)


async def cancel_at(step: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Cancel the work at its step of that number; whether it had one.  Raises Unmet where it does not end soon."""
    scope = trio.CancelScope()
    counter = _StepCounter(trio.lowlevel.current_task(), scope, step)
    trio.lowlevel.add_instrument(counter)
    try:
        with scope:
            await work()
    finally:
        trio.lowlevel.remove_instrument(counter)
    late = trio.current_time() - counter.cancelled_at > SHIELD_SECONDS if scope.cancel_called else False
    require(not late, f"cancelled at step {step}, it went on for over 20 s")
    return scope.cancel_called


class _StepCounter(trio.abc.Instrument):
    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._task = task
        self._scope = scope
        self._left = step
        self.cancelled_at = 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """The task waits now: cancelled here, it is cancelled in the midst of that wait."""
        if task is self._task:
            self._left -= 1
            if self._left < 0 and not self._scope.cancel_called:
                self.cancelled_at = trio.current_time()
                self._scope.cancel()


@enlist_case("a call that is cancelled from the start hands nothing over", CANCEL)
async def cancelled_before_it_began(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    mail = bench.mail()
    async with bench.open() as transport:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bench.deliver(transport, mail)
        await bench.deliver_accepted(transport, bench.mail())
    require(mail.commits > 0 or bench.copies(mail) == 0, "the peer has the mail without committing()")


@enlist_case("with a peer that never answers it ends at the deadline, and accepts nothing", CANCEL, "silent")
async def silent_peer(bench: Bench) -> None:
    async with bench.open(bench.silent) as transport:
        deadline = trio.current_time() + 1.0
        verdicts: list[Verdict] = []
        with trio.CancelScope(deadline=deadline):
            verdicts = await bench.deliver(transport, bench.mail(deadline=deadline))
        require(trio.current_time() - deadline < SHIELD_SECONDS, "it went on for over 20 s after its deadline")
        for verdict in verdicts:
            require(not is_end(verdict), f"{verdict.disposition.value} by a peer that said nothing")


@enlist_case("cancelled as a whole, its context ends within 30 s", CLOSED)
async def cancelled_with_its_context(bench: Bench) -> None:
    begun = trio.current_time()
    with trio.CancelScope() as scope:
        async with bench.open() as transport, trio.open_nursery() as nursery:
            nursery.start_soon(bench.deliver, transport, bench.mail())
            await trio.lowlevel.checkpoint()
            scope.cancel()
    require(trio.current_time() - begun < _END_SECONDS, "it took over 30 s")


# --- Trouble ---


@enlist_case("content that cannot be read is not accepted, and harms no later mail", VERDICTS)
async def unreadable_content(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    async with bench.open() as transport:
        limit = transport.capabilities.message_bytes
        for body in (b"", b"x\r\n" * (200_000 if limit is None or limit > _LARGE_BYTES else 100)):
            mail = bench.mail(body=body, content={"fails": StoreError("the content cannot be read")})
            await expect_no_end(bench, transport, mail)
        await bench.deliver_accepted(transport, bench.mail())


async def expect_no_end(bench: Bench, transport: Transport, mail: Mail) -> None:
    """Neither accepted nor refused; an exception is as good as a deferral here."""
    await trio.lowlevel.checkpoint()
    try:
        verdicts = await bench.deliver(transport, mail)
    except Unmet:
        raise
    except Exception:
        verdicts = []
    for verdict in verdicts:
        require(not is_end(verdict), f"{verdict.disposition.value} without content")
    require(bench.copies(mail) == 0, "the peer got a mail without its content")


def is_end(verdict: Verdict) -> bool:
    return verdict.disposition in (Disposition.ACCEPTED, Disposition.REFUSED)


@enlist_case("where nothing can be reached every verdict is deferred or postponed", TEMPORARY, "broken")
async def broken_peer(bench: Bench) -> None:
    async with bench.open(bench.broken) as transport:
        number = min(2, transport.capabilities.recipients_per_call)
        verdicts = await bench.deliver(transport, bench.mail(*bench.addresses(number)))
    for verdict in verdicts:
        temporary = verdict.disposition in (Disposition.DEFERRED, Disposition.POSTPONED)
        require(temporary, f"{verdict.disposition.value} where nothing can be reached")


# --- The factory ---


@enlist_case("recipients_per_call is 1 to 100, message_bytes None or positive, and they stay the same", CAPABLE)
async def sound_capabilities(bench: Bench) -> None:
    async with bench.open() as transport:
        able = transport.capabilities
        require(1 <= able.recipients_per_call <= 100, f"recipients_per_call is {able.recipients_per_call}")
        require(able.message_bytes is None or able.message_bytes > 0, f"message_bytes is {able.message_bytes}")
        await bench.deliver(transport, bench.mail())
        require(transport.capabilities == able, "they changed after a delivery")


@enlist_case("opened and closed without a delivery it does nothing", CLOSED)
async def opened_for_nothing(bench: Bench) -> None:
    before = len(bench.handed_over()) if bench.handed_over else 0
    async with bench.open():
        await trio.lowlevel.checkpoint()
    require(before == (len(bench.handed_over()) if bench.handed_over else 0), "the peer got something")


@enlist_case("a misspelt setting is refused by its name", SETTINGS)
async def unknown_setting(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    try:
        async with bench.open({**bench.settings, "no_such_setting": 1}):
            await trio.lowlevel.checkpoint()
    except ConfigError as error:
        require("no_such_setting" in str(error), f"the error does not name it: {error}")
    else:
        raise Unmet("it was taken")
