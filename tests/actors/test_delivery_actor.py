"""Delivery: whatever a transport does becomes one verdict per recipient, of that message alone."""

from __future__ import annotations

import errno

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.events import MaybeDuplicate
from postroad.log import printable
from postroad.store.contract import LeasedRecipient
from postroad.testing.fakes import ACCEPTED, Hang, ScriptedTransport, Slow
from postroad.transport import Capabilities
from postroad.verdict import Disposition, Scope, Verdict


class Answering:
    """A transport that answers whatever it is told."""

    capabilities = Capabilities()

    def __init__(self, answer, *, commits=False):
        self.answer = answer
        self.commits = commits

    async def deliver(self, request):
        await trio.lowlevel.checkpoint()
        if self.commits:
            request.committing()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def test_the_transport_gets_what_it_needs_and_its_verdicts_come_back(autojump_clock, bay, parts):
    async with bay() as delivery:
        lease = parts.lease(17, to=("b@example.org", "c@example.org"))
        await delivery.send(lease)
        (note,) = delivery.back()
        assert note.lease is lease
        assert lease.verdicts == [ACCEPTED, ACCEPTED]
        (call,) = delivery.transport.calls
        assert (call.request.id, call.request.domain) == ("m17/11", "example.org")
        assert call.request.message is lease.message
        assert call.request.deadline == call.began + 60
        assert call.content == b"Hello"


async def test_many_attempts_run_at_once(autojump_clock, bay, parts):
    async with bay(ScriptedTransport(default=Slow(30, ACCEPTED))) as delivery:
        await delivery.send(*[parts.lease(token) for token in range(50)])
        assert delivery.transport.running == 50


class Never(float):
    """A hint that raises where it is compared."""

    def __lt__(self, other):
        raise ValueError("no")

    __gt__ = __lt__


class Passing:
    """Passes for a Verdict: another one at each look."""

    __class__ = Verdict  # type: ignore[assignment]

    def __init__(self):
        self._looks = 0

    def __repr__(self):
        return "Passing()"

    def __getattr__(self, name):
        self._looks += 1
        return getattr(ACCEPTED, name) if self._looks < 20 else None


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        ValueError("bug"),
        ExceptionGroup("several", [ValueError("bug")]),
        None,
        7,
        "ok",
        [],
        [ACCEPTED],
        [ACCEPTED] * 3,
        [ACCEPTED, None],
        [ACCEPTED, Verdict.accepted(b"250 bytes")],  # type: ignore[arg-type]
        [ACCEPTED, Verdict.accepted("250", status=None)],  # type: ignore[arg-type]
        [ACCEPTED, Verdict.accepted("250", site=7)],  # type: ignore[arg-type]
        [ACCEPTED, Verdict(disposition="accepted")],  # type: ignore[arg-type]
        [ACCEPTED, Verdict(disposition=Disposition.ACCEPTED, scope="site")],  # type: ignore[arg-type]
        [ACCEPTED, Verdict.deferred("451", retry_after_seconds=float("nan"))],
        [ACCEPTED, Verdict.deferred("451", retry_after_seconds="soon")],  # type: ignore[arg-type]
        [ACCEPTED, Verdict.deferred("451", retry_after_seconds=Never(1.0))],
        [ACCEPTED, Passing()],
    ],
    ids=repr,
)
async def test_trouble_and_nonsense_defer_that_message_alone(autojump_clock, bay, parts, answer, commits):
    async with bay(Answering(answer, commits=commits)) as delivery:
        lease = parts.lease(1, to=("b@example.org", "c@example.org"))
        with capture_logs() as logs:
            await delivery.send(lease)
        assert len(delivery.back()) == 1
        expected = Disposition.IN_DOUBT if commits else Disposition.DEFERRED
        assert [(verdict.disposition, verdict.scope) for verdict in lease.verdicts] == [(expected, Scope.LOCAL)] * 2
        assert [log["event"] for log in logs] == ["transport_failed"]
        delivery.transport.answer = [ACCEPTED]
        other = parts.lease(2)
        await delivery.send(other)
        assert other.verdicts == [ACCEPTED]


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "too many"), OSError(errno.ENOMEM, "none left"), MemoryError()]
)
async def test_local_trouble_costs_no_try_unless_the_hand_over_had_begun(autojump_clock, bay, parts, error):
    for commits, expected in ((False, Disposition.POSTPONED), (True, Disposition.IN_DOUBT)):
        async with bay(Answering(error, commits=commits)) as delivery:
            lease = parts.lease()
            await delivery.send(lease)
            assert lease.verdicts[0].disposition is expected


@pytest.mark.parametrize("committed", [False, True])
async def test_an_attempt_that_hangs_ends_at_its_deadline(mock_clock, bay, parts, committed):
    async with bay(ScriptedTransport([Hang(committed)])) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        mock_clock.jump(59)
        await wait_all_tasks_blocked()
        assert delivery.back() == []
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert len(delivery.back()) == 1
        (verdict,) = lease.verdicts
        assert verdict.disposition is (Disposition.IN_DOUBT if committed else Disposition.DEFERRED)
        assert (verdict.reply, verdict.status) == ("no answer within 60 s", "4.4.2")


async def test_the_name_of_what_a_transport_raises_is_made_printable(autojump_clock, bay, parts):
    strange = type("Red\x1b[31m", (Exception,), {})("no")
    async with bay(Answering(strange)) as delivery:
        await delivery.send(parts.lease())
        (note,) = delivery.back()
        (verdict,) = note.lease.verdicts
        assert verdict.reply.isprintable()
        assert "failed: Red" in verdict.reply


async def test_what_peers_say_is_made_printable(autojump_clock, bay, parts):
    evil = Verdict.refused("550 \x1b[2Jgone\r\nBcc: x", remote="mx\n", status="5.1.1\r\n", site="a\0b", tls="x" * 9999)
    async with bay(ScriptedTransport([evil])) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        (verdict,) = lease.verdicts
        for text in (verdict.reply, verdict.remote, verdict.status, verdict.site, verdict.tls):
            assert text.isprintable()
            assert len(text) <= 512
        assert verdict.disposition is Disposition.REFUSED


class Lying(str):
    """Says of itself that it is harmless, and something else when it is shown."""

    def isprintable(self):
        return True

    def __len__(self):
        return 3

    def __str__(self):
        return "x\r\nBcc: y"

    def __format__(self, spec):
        return str(self)


@pytest.mark.parametrize("text", ["550", "550 \x1b", "5" * 999], ids=["plain", "odd", "long"])
async def test_a_text_that_lies_of_itself_is_what_it_holds(autojump_clock, bay, parts, text):
    async with bay(ScriptedTransport([Verdict.refused(Lying(text))])) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        (verdict,) = lease.verdicts
        assert type(verdict.reply) is str
        assert verdict.reply == printable(text)


async def test_the_hand_over_is_marked_once_in_the_leases_slot(autojump_clock, bay, parts):
    class Eager(Answering):
        async def deliver(self, request):
            request.committing()
            request.committing()
            return await super().deliver(request)

    async with bay(Eager([ACCEPTED])) as delivery:
        leases = [parts.lease(99, slot=3), parts.lease(98, slot=2)]
        await delivery.send(*leases)
        assert all(lease.marked for lease in leases)
        assert delivery.ports.marks.tokens() == {99, 98}, "neither took the other's place"


async def test_a_possible_duplicate_is_announced_before_it_happens(autojump_clock, bay, parts):
    async with bay(ScriptedTransport([Hang()])) as delivery:
        lease = parts.lease(1)
        lease.recipients = (LeasedRecipient(0, "b@example.org", attempts=2, in_doubt=True),)
        with delivery.ports.observers.subscribed() as events, capture_logs() as logs:
            await delivery.send(lease)
            assert [(log["event"], log["id"]) for log in logs] == [("maybe_duplicate", "m1")]
            event = await anext(events)
        assert isinstance(event, MaybeDuplicate)
        assert (event.id, event.recipient, event.attempts) == ("m1", "b@example.org", 2)


@pytest.mark.parametrize("committed", [False, True])
async def test_the_end_of_a_shutdowns_grace_brings_every_lease_home(mock_clock, bay, parts, committed):
    async with bay(ScriptedTransport(default=Hang(committed))) as delivery:
        leases = [parts.lease(token) for token in range(5)]
        await delivery.send(*leases)
        delivery.delivery.end_attempts()
        await wait_all_tasks_blocked()
        late = parts.lease(5)
        await delivery.send(late)
        assert len(delivery.back()) == 6
        expected = Disposition.IN_DOUBT if committed else Disposition.POSTPONED
        assert {lease.verdicts[0].disposition for lease in leases} == {expected}
        assert late.verdicts[0].disposition is Disposition.POSTPONED


async def test_a_transport_that_finds_out_the_answer_while_it_is_cancelled_is_believed(mock_clock, bay, parts):
    class Shielded(Answering):
        async def deliver(self, request):
            request.committing()
            with trio.CancelScope(shield=True):
                await trio.sleep(15)
            return self.answer

    async with bay(Shielded([ACCEPTED])) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        delivery.delivery.end_attempts()
        mock_clock.jump(15)
        await wait_all_tasks_blocked()
        assert lease.verdicts == [ACCEPTED]


BIG = b"x" * 40_000


async def test_attempts_hold_a_bounded_number_of_octets(mock_clock, bay, parts):
    async with bay(ScriptedTransport(default=Slow(10, ACCEPTED)), content_bytes=100_000) as delivery:
        await delivery.send(*[parts.lease(token, content=BIG) for token in range(6)])
        for round_ in range(3):
            assert delivery.transport.running == 2
            assert len(delivery.transport.calls) == 2 * (round_ + 1)
            mock_clock.jump(10)
            await wait_all_tasks_blocked()
        assert len(delivery.back()) == 6


async def test_a_content_above_the_limit_goes_alone(mock_clock, bay, parts):
    async with bay(ScriptedTransport(default=Slow(10, ACCEPTED)), content_bytes=70_000) as delivery:
        await delivery.send(parts.lease(1, content=BIG * 4))
        await delivery.send(parts.lease(2))
        assert delivery.transport.running == 1
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        assert delivery.transport.running == 1


async def test_a_large_content_is_not_overtaken_for_ever(mock_clock, bay, parts):
    async with bay(ScriptedTransport(default=Slow(10, ACCEPTED)), content_bytes=70_000) as delivery:
        await delivery.send(parts.lease(1))
        await delivery.send(parts.lease(2, content=BIG * 4))
        for token in range(3, 10):
            await delivery.send(parts.lease(token))
        assert len(delivery.transport.calls) == 1
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        assert [call.request.message.id for call in delivery.transport.calls] == ["m1", "m2"]
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        assert len(delivery.transport.calls) == 9


async def test_waiting_for_octets_takes_nothing_from_the_deadline(mock_clock, bay, parts):
    async with bay(ScriptedTransport(default=Slow(50, ACCEPTED)), content_bytes=70_000) as delivery:
        leases = [parts.lease(token, content=BIG) for token in (1, 2, 3)]
        await delivery.send(*leases)
        for _ in leases:
            mock_clock.jump(50)
            await wait_all_tasks_blocked()
        assert [lease.verdicts for lease in leases] == [[ACCEPTED]] * 3


async def test_waiting_for_octets_is_no_try(mock_clock, bay, parts):
    async with bay(ScriptedTransport(default=Hang(committed=True)), content_bytes=70_000) as delivery:
        first, second = leases = [parts.lease(token, content=BIG) for token in (1, 2)]
        await delivery.send(first)
        await delivery.send(second)
        delivery.delivery.end_attempts()
        await wait_all_tasks_blocked()
        assert [lease.verdicts[0].disposition for lease in leases] == [Disposition.IN_DOUBT, Disposition.POSTPONED]
        assert len(delivery.transport.calls) == 1
