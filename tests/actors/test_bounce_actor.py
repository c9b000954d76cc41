"""Bounce: reports in one transaction with their marks, each failure once, and nothing that comes back stops it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.actors import bounce as module
from postroad.actors import reporting
from postroad.actors.bounce import Bounce
from postroad.actors.inbox import Inbox
from postroad.actors.notes import FailuresWaiting, Returned
from postroad.errors import StoreError
from postroad.events import RemoteBounce, ReportQueued
from postroad.message import DsnOptions, Kind
from postroad.store.contract import Accept, DelayReport, NewRecipient, Outcome, Report, Settle
from postroad.store.states import State, Step

CONTENT = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


class Desk:
    """A bounce actor at work, with somebody who commits what waits at the intake."""

    def __init__(self, parts, **sections):
        self.parts = parts
        self.ports = parts.ports(**sections)
        self.store = self.ports.executor.store
        self.inbox = Inbox(50)
        self.bounce = Bounce(self.ports, self.inbox)
        self.committed = []
        self.tokens = 100

    async def commit_all(self):
        bell = trio.lowlevel.ParkingLot()
        self.ports.intake.ring_bell = bell.unpark_all
        while True:
            taken = self.ports.intake.take(100, 10**9)
            self.ports.intake.put_back(())
            for entry in taken:
                try:
                    (answer,) = self.store.apply([entry.operation])
                except StoreError as error:
                    entry.fail(error)
                else:
                    self.committed.append(entry.operation)
                    entry.finish(answer)
            await bell.park()

    def failed(self, id="m1", step=Step.FAIL, notice=False, to=("b@example.org",), content=CONTENT, **fields):
        """Mail in the spool whose attempt came to nothing."""
        message = self.parts.message(id, **{"size": len(content), **fields})
        self.tokens += 1
        accept = Accept(
            message, tuple(NewRecipient(address, "out/x", 0.0, lease=self.tokens) for address in to), content
        )
        (answer,) = self.store.apply([accept])
        outcomes = [
            Outcome(self.tokens, answer.handle, number, step, status="5.1.1", reply="550 no", delay_notice=notice)
            for number in range(len(to))
        ]
        self.store.apply([Settle(tuple(outcomes), self.parts.START)])
        return answer.handle

    async def wake(self):
        self.inbox.put_latest(FailuresWaiting, FailuresWaiting())
        await wait_all_tasks_blocked()

    def reports(self):
        return [operation.accept for operation in self.committed if getattr(operation, "accept", None)]


@pytest.fixture
def desk(parts):
    @asynccontextmanager
    async def open_desk(**sections):
        desk = Desk(parts, **sections)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.commit_all)
            nursery.start_soon(desk.bounce.run)
            await wait_all_tasks_blocked()
            yield desk
            nursery.cancel_scope.cancel()

    return open_desk


async def test_a_failure_is_reported_to_the_sender_in_one_transaction(mock_clock, desk):
    async with desk() as bounce:
        handle = bounce.failed()
        with bounce.ports.observers.subscribed() as events:
            await bounce.wake()
            event = await anext(events)
        ((report),) = bounce.committed
        assert isinstance(report, Report)
        assert (report.handle, report.numbers) == (handle, (0,))
        message = report.accept.message
        assert (message.sender, message.kind) == ("", Kind.REPORT)
        assert [to.address for to in report.accept.recipients] == ["a@example.com"]
        assert b"550 no" in report.accept.content
        assert b"Subject: Hello" in report.accept.content
        assert isinstance(event, ReportQueued)
        assert (event.id, event.report_id, event.kind, event.recipients) == (
            "m1",
            message.id,
            "failed",
            ("b@example.org",),
        )


async def test_each_failure_is_reported_once(mock_clock, desk):
    async with desk() as bounce:
        for number in range(120):
            bounce.failed(f"m{number}")
        await bounce.wake()
        await bounce.wake()
        assert len(bounce.reports()) == 120
        assert bounce.store.failures(10) == []


async def test_a_report_names_at_most_a_hundred_recipients(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed(to=tuple(f"{number}@example.org" for number in range(230)))
        await bounce.wake()
        assert [len(operation.numbers) for operation in bounce.committed] == [100, 100, 30]


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": ""},
        {"kind": Kind.REPORT},
        {"dsn": DsnOptions(notify=("never",))},
        {"dsn": DsnOptions(notify=("delay",))},
    ],
)
async def test_nobody_gets_a_report_that_nobody_wants(mock_clock, desk, fields):
    async with desk() as bounce:
        bounce.failed(**fields)
        await bounce.wake()
        assert bounce.reports() == []
        assert bounce.store.counts()[State.UNREPORTED] == 1


async def test_administrators_get_the_reports_on_mail_to_them(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed(report_to=("ops@example.com", "root@example.com"))
        await bounce.wake()
        (accept,) = bounce.reports()
        assert [to.address for to in accept.recipients] == ["ops@example.com", "root@example.com"]


async def test_a_report_without_a_route_is_held_and_not_lost(mock_clock, desk):
    async with desk(routes=[{"transport": "out", "recipients": "*@example.org"}]) as bounce:
        bounce.failed()
        await bounce.wake()
        (accept,) = bounce.reports()
        assert [(to.state, to.lane) for to in accept.recipients] == [(State.HELD, "?")]


async def test_a_notice_of_delay_is_written_once(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed(step=Step.DEFER, notice=True)
        await bounce.wake()
        await bounce.wake()
        (operation,) = bounce.committed
        assert isinstance(operation, DelayReport)
        assert b"Action: delayed" in operation.accept.content
        assert b"Will-Retry-Until: Fri, 20 Jun 2025 15:06:40 +0000" in operation.accept.content  # five days


async def test_a_notice_of_delay_names_only_who_was_tried(mock_clock, desk, parts):
    """Others may wait for their send_at, or stand on another lane."""
    async with desk() as bounce:
        late = NewRecipient("late@example.org", "out/x", 0.0, lease=1)
        other = NewRecipient("other@example.org", "out/y", 9e9)
        (answer,) = bounce.store.apply([Accept(parts.message(), (late, other), CONTENT)])
        deferred = Outcome(1, answer.handle, 0, Step.DEFER, reply="451 later", delay_notice=True)
        bounce.store.apply([Settle((deferred,), parts.START)])
        await bounce.wake()
        (report,) = bounce.reports()
        assert b"late@example.org" in report.content
        assert b"other@example.org" not in report.content


async def test_no_delay_is_told_to_the_null_sender(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed(step=Step.DEFER, notice=True, sender="")
        await bounce.wake()
        assert [type(operation) for operation in bounce.committed] == [DelayReport]
        assert bounce.reports() == []
        assert bounce.store.delays(9) == []


async def test_a_notice_of_delay_that_came_too_late_is_not_announced(mock_clock, desk, monkeypatch):
    async with desk() as bounce:
        handle = bounce.failed(step=Step.DEFER, notice=True)
        stored = bounce.store.delays(1)
        bounce.store.apply([DelayReport(handle, None, bounce.parts.START)])
        answers = [stored, []]
        monkeypatch.setattr(bounce.store, "delays", lambda limit: answers.pop(0))
        with capture_logs() as logs:
            await bounce.wake()
        assert "reported" not in [log["event"] for log in logs]


async def test_a_store_that_fails_is_tried_again_after_a_minute(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed()
        bounce.store.fault = lambda operations: StoreError("disk full")
        await bounce.wake()
        assert bounce.reports() == []
        bounce.store.fault = lambda operations: None
        mock_clock.jump(59)
        await wait_all_tasks_blocked()
        assert bounce.reports() == []
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 1


def poisoned(write, ids):
    def picky(request):
        if request.message.id in ids:
            raise RecursionError(f"the report on {request.message.id}")
        return write(request)

    return picky


@pytest.mark.parametrize("kind", ["failed", "delayed"])
async def test_a_report_that_cannot_be_written_stops_no_other_and_is_tried_again_after_a_minute(
    mock_clock, desk, monkeypatch, kind
):
    fields = {"step": Step.DEFER, "notice": True} if kind == "delayed" else {}
    ids = {"m0", "m3"}
    monkeypatch.setattr(reporting, "write_report", poisoned(reporting.write_report, ids))
    async with desk() as bounce:
        handles = [bounce.failed(f"m{number}", **fields) for number in range(60)]
        with capture_logs() as logs:
            await bounce.wake()
            await bounce.wake()
        named = [(log["id"], log["kind"], log["log_level"]) for log in logs if log["event"] == "report_failed"]
        assert named == [("m0", kind, "error"), ("m3", kind, "error")]
        reported = [operation.handle for operation in bounce.committed]
        assert reported == [handle for handle in handles if handle not in (handles[0], handles[3])]
        ids.remove("m3")
        mock_clock.jump(59)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 58
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert [operation.handle for operation in bounce.committed[58:]] == [handles[3]]
        ids.clear()
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 60


async def test_a_failure_that_cannot_be_reported_does_not_hold_up_the_notices_of_delay(mock_clock, desk, monkeypatch):
    monkeypatch.setattr(reporting, "write_report", poisoned(reporting.write_report, {"m1"}))
    async with desk() as bounce:
        bounce.failed("m1")
        bounce.failed("m2", step=Step.DEFER, notice=True)
        await bounce.wake()
        assert [type(operation) for operation in bounce.committed] == [DelayReport]


async def test_a_report_that_the_store_refuses_stops_no_other(mock_clock, desk):
    def refuse(operations):
        return StoreError("a bad row") if getattr(operations[0], "handle", 0) in bad else None

    async with desk() as bounce:
        bad = {bounce.failed("m1"), bounce.failed("m2")}
        bounce.failed("m3")
        bounce.store.fault = refuse
        await bounce.wake()
        assert len(bounce.reports()) == 1
        bad.clear()
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 3


async def test_a_store_that_refuses_everything_is_not_asked_for_each_report(mock_clock, desk):
    asked = []

    def refuse(operations):
        if isinstance(operations[0], Report):
            asked.append(operations[0].handle)
            return StoreError("disk full")
        return None

    async with desk() as bounce:
        for number in range(30):
            bounce.failed(f"m{number}")
        bounce.store.fault = refuse
        await bounce.wake()
        assert len(asked) == 3
        bounce.store.fault = lambda operations: None
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 30


async def test_what_is_set_aside_is_bounded_and_comes_round_again(mock_clock, desk, monkeypatch):
    monkeypatch.setattr(module, "_ASIDE_AT_MOST", 5)
    tried = []
    ids = {f"m{number}" for number in range(12)}
    write = poisoned(reporting.write_report, ids)
    monkeypatch.setattr(reporting, "write_report", lambda request: tried.append(request.message.id) or write(request))
    async with desk() as bounce:
        for number in range(13):
            bounce.failed(f"m{number}")
        with capture_logs() as logs:
            await bounce.wake()
        assert [log["event"] for log in logs][-1] == "reports_wait"
        assert len(set(tried)) == 6
        assert all(len(chore.aside) <= 5 for chore in bounce.bounce._chores)
        ids.clear()
        for _ in range(5):
            mock_clock.jump(60)
            await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 13


async def test_failures_that_cannot_be_asked_for_are_asked_for_again_after_a_minute(mock_clock, desk, monkeypatch):
    async with desk() as bounce:
        bounce.failed()
        with monkeypatch.context() as broken:
            broken.setattr(bounce.store, "failures", lambda limit: [][1])
            await bounce.wake()
        assert bounce.reports() == []
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert len(bounce.reports()) == 1


async def test_a_report_on_mail_whose_content_is_lost_is_better_than_none(mock_clock, desk, monkeypatch):
    def lose(handle):
        raise StoreError("the content is damaged")

    async with desk() as bounce:
        bounce.failed()
        monkeypatch.setattr(bounce.store, "content", lose)
        await bounce.wake()
        (accept,) = bounce.reports()
        assert b"550 no" in accept.content
        assert b"Subject: Hello" not in accept.content


async def test_mail_too_strange_to_be_returned_does_not_stop_the_others(mock_clock, desk, monkeypatch):
    write = reporting.write_report

    def picky(request):
        if b"poison" in request.returned:
            raise RecursionError
        return write(request)

    monkeypatch.setattr(reporting, "write_report", picky)
    async with desk() as bounce:
        bounce.failed("m1", content=CONTENT + b"poison\r\n")
        bounce.failed("m2")
        with capture_logs() as logs:
            await bounce.wake()
        assert len(bounce.reports()) == 2
        assert [log["id"] for log in logs if log["event"] == "report_without_mail"] == ["m1"]


async def test_only_the_beginning_of_large_mail_is_read_for_its_report(mock_clock, desk, monkeypatch):
    seen = []
    write = reporting.write_report
    monkeypatch.setattr(reporting, "write_report", lambda request: seen.append(len(request.returned)) or write(request))
    async with desk() as bounce:
        bounce.failed(content=CONTENT + b"x" * 76 * 50_000)
        await bounce.wake()
        assert len(bounce.reports()) == 1
        assert 100_000 < seen[0] < 200_000


RETURNED = (
    b"From: mailer-daemon@example.net\r\nTo: a@example.com\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="=="\r\n\r\n'
    b"--==\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; mx.example.net\r\n\r\n"
    b"Final-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    b"Diagnostic-Code: smtp; 550 no such user\r\n\r\n--==--\r\n"
)


async def test_what_comes_back_is_told_as_an_event_and_changes_nothing(mock_clock, desk):
    async with desk() as bounce:
        with bounce.ports.observers.subscribed() as events:
            note = Returned(RETURNED, trio.Event())
            bounce.inbox.put(note)
            await wait_all_tasks_blocked()
            assert note.done.is_set()
            event = await anext(events)
        assert isinstance(event, RemoteBounce)
        assert (event.recipient, event.action, event.status) == ("b@example.org", "failed", "5.1.1")
        assert bounce.committed == []


@pytest.mark.parametrize("raw", [b"", b"\0\xff" * 1000, b"Hello", RETURNED[:200]])
async def test_returned_mail_that_nobody_can_read_is_noted(mock_clock, desk, raw):
    async with desk() as bounce:
        note = Returned(raw, trio.Event())
        bounce.inbox.put(note)
        await wait_all_tasks_blocked()
        assert note.done.is_set()


async def test_returned_mail_that_breaks_the_reader_does_not_stop_the_actor(mock_clock, desk, monkeypatch):
    def fail(raw):
        raise RecursionError

    async with desk() as bounce:
        note = Returned(RETURNED, trio.Event())
        with monkeypatch.context() as broken, capture_logs() as logs:
            broken.setattr(module, "read_report", fail)
            bounce.inbox.put(note)
            await wait_all_tasks_blocked()
        assert note.done.is_set()
        assert [log["event"] for log in logs] == ["returned_mail_unreadable"]
        bounce.failed()
        await bounce.wake()
        assert len(bounce.reports()) == 1


async def test_a_shutdown_before_a_report_is_written_is_no_error(mock_clock, desk):
    async with desk() as bounce:
        bounce.failed()
        bounce.ports.intake.close()
        with capture_logs() as logs:
            await bounce.wake()
            mock_clock.jump(600)
            await wait_all_tasks_blocked()
        assert logs == []
        assert [stored.message.id for stored in bounce.store.failures(9)] == ["m1"]
