"""Further cases of `check_transport`: peers that defer, refuse us, talk nonsense, or take a mail and do not say so."""

from __future__ import annotations

import trio

from ..errors import StoreError
from ..transport import Transport
from ..verdict import Disposition, Scope, Verdict
from .transport_bench import Bench, Mail, Unmet, require
from .transport_cases import AT_ONCE, ONCE, VERDICTS, enlist_case
from .transport_cases_later import CANCEL, SHIELD_SECONDS, TEMPORARY, expect_no_end, is_end

__all__: list[str] = []  # imported for its cases

SOUND, DOUBT, HINTS = "T2", "T6", "T13"
_SLACK_SECONDS = 1.0
_SHORT_DOUBT = 2.0


# --- A peer that cannot be reached, or says "not now" ---


@enlist_case("where nothing can be reached the verdict says what was tried", SOUND, "broken")
async def broken_says_why(bench: Bench) -> None:
    async with bench.open(bench.broken) as transport:
        for verdict in await bench.deliver(transport, bench.mail()):
            require(bool(verdict.reply.strip()), "the reply is empty")


@enlist_case("ten calls at once where nothing can be reached are all answered alike", VERDICTS, "broken")
async def broken_at_once(bench: Bench) -> None:
    async with bench.open(bench.broken) as transport, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(_expect_temporary, bench, transport, bench.mail())


@enlist_case("mail of any kind is deferred by a peer that says not now", TEMPORARY, "deferring")
async def deferring_peer(bench: Bench) -> None:
    async with bench.open(bench.deferring) as transport:
        number = min(3, transport.capabilities.recipients_per_call)
        for mail in (bench.mail(*bench.addresses(number)), bench.mail(sender="")):
            for verdict in await _expect_temporary(bench, transport, mail):
                require(verdict.disposition is Disposition.DEFERRED, f"{verdict.disposition.value} after a try")


@enlist_case("a deferred mail went to the peer once", ONCE, "deferring", "handed_over")
async def deferred_once(bench: Bench) -> None:
    mail = bench.mail()
    async with bench.open(bench.deferring) as transport:
        await bench.deliver(transport, mail)
    require(bench.copies(mail) <= 1, f"the peer got it {bench.copies(mail)} times in one call")


@enlist_case("the peer's hint is the verdict's, within a second", HINTS, "deferring", "retry_after_seconds")
async def retry_hint(bench: Bench) -> None:
    hint = bench.retry_after_seconds or 0.0
    async with bench.open(bench.deferring) as transport:
        for verdict in await bench.deliver(transport, bench.mail()):
            said = verdict.retry_after_seconds
            require(said is not None and abs(said - hint) <= 1, f"the peer said {hint:g} s, the verdict says {said}")


@enlist_case("refused credentials defer with Scope.TRANSPORT", TEMPORARY, "forbidden")
async def refused_credentials(bench: Bench) -> None:
    mail = bench.mail()
    async with bench.open(bench.forbidden) as transport:
        for verdict in await _expect_temporary(bench, transport, mail):
            require(verdict.scope is Scope.TRANSPORT, f"scope {verdict.scope.value} instead of transport")


@enlist_case("a peer whose answers mean nothing gives no end, and no exception", VERDICTS, "babbling")
async def babbling_peer(bench: Bench) -> None:
    async with bench.open(bench.babbling) as transport:
        for _ in range(2):
            for verdict in await bench.deliver(transport, bench.mail()):
                require(not is_end(verdict), f"{verdict.disposition.value} by an answer that means nothing")


async def _expect_temporary(bench: Bench, transport: Transport, mail: Mail) -> list[Verdict]:
    verdicts = await bench.deliver(transport, mail)
    for verdict in verdicts:
        temporary = verdict.disposition in (Disposition.DEFERRED, Disposition.POSTPONED)
        require(temporary, f"{verdict.disposition.value} by a peer that did not refuse it")
    return verdicts


@enlist_case("a content that cannot be read harms none of those beside it", AT_ONCE)
async def neighbours_of_the_unreadable(bench: Bench) -> None:
    async with bench.open() as transport, trio.open_nursery() as nursery:
        for number in range(6):
            if number % 2:
                bad = bench.mail(content={"fails": StoreError("the content cannot be read")})
                nursery.start_soon(expect_no_end, bench, transport, bad)
            else:
                nursery.start_soon(bench.deliver_accepted, transport, bench.mail())


# --- A peer that does not answer ---


@enlist_case("an answer lost after the hand-over leaves every recipient in doubt", DOUBT, "lost")
async def lost_answer(bench: Bench) -> None:
    async with bench.open(bench.lost) as transport:
        number = min(2, transport.capabilities.recipients_per_call)
        for verdict in await bench.deliver(transport, bench.mail(*bench.addresses(number))):
            require(verdict.disposition is Disposition.IN_DOUBT, f"{verdict.disposition.value} instead of in doubt")


@enlist_case("an answer lost is not asked for by sending the mail again", ONCE, "lost", "handed_over")
async def lost_once(bench: Bench) -> None:
    mail = bench.mail()
    async with bench.open(bench.lost) as transport:
        await bench.deliver(transport, mail)
    require(bench.copies(mail) <= 1, f"the peer got it {bench.copies(mail)} times in one call")


@enlist_case("where the answer does not come it ends within `doubt_seconds` of its deadline", DOUBT, "mute")
async def mute_peer(bench: Bench) -> None:
    async with bench.open(bench.mute) as transport:
        mail, verdicts, late = await _until_deadline(bench, transport)
    require(
        late < _SHORT_DOUBT + _SLACK_SECONDS, f"it ended {late:.1f} s after its deadline, {_SHORT_DOUBT:g} were given"
    )
    require(mail.commits > 0, "it did not call committing()")
    for verdict in verdicts:
        require(verdict.disposition is Disposition.IN_DOUBT, f"{verdict.disposition.value} instead of in doubt")


@enlist_case("while nothing is handed over it ends at its deadline, to the second", CANCEL, "silent")
async def deadline_to_the_second(bench: Bench) -> None:
    async with bench.open(bench.silent) as transport:
        mail, _, late = await _until_deadline(bench, transport)
    allowed = _SLACK_SECONDS + (_SHORT_DOUBT if mail.commits else 0.0)
    require(late < allowed, f"it ended {late:.1f} s after its deadline")


@enlist_case("ten calls to a peer that never answers end together at their deadline", AT_ONCE, "silent")
async def ten_silent_at_once(bench: Bench) -> None:
    async with bench.open(bench.silent) as transport:
        deadline = trio.current_time() + 1.0
        with trio.CancelScope(deadline=deadline):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    mail = bench.mail(deadline=deadline, doubt_seconds=_SHORT_DOUBT)
                    nursery.start_soon(bench.deliver, transport, mail)
        late = trio.current_time() - deadline
        require(late < _SHORT_DOUBT + _SLACK_SECONDS, f"the last ended {late:.1f} s after the deadline of all")


async def _until_deadline(bench: Bench, transport: Transport) -> tuple[Mail, list[Verdict], float]:
    """The mail, its verdicts if there were any, and how many seconds after its deadline the call ended."""
    deadline = trio.current_time() + 1.0
    mail = bench.mail(deadline=deadline, doubt_seconds=_SHORT_DOUBT)
    verdicts: list[Verdict] = []
    with trio.move_on_after(1.0 + SHIELD_SECONDS) as outer, trio.CancelScope(deadline=deadline):
        verdicts = await bench.deliver(transport, mail)
    if outer.cancelled_caught:
        raise Unmet("it did not end at its deadline")
    return mail, verdicts, trio.current_time() - deadline
