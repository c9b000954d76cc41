"""Simulations: the same seed is the same trace, five days are soon over, and what the engine does wrong is found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from typing import Any

import pytest
import structlog
import trio

from postroad import Submission, hookimpl
from postroad.decide.admission import Refusal
from postroad.errors import ConfigError
from postroad.store.states import State
from postroad.testing import DAY, HOUR, MINUTE, BrokenPromise, World, open_simulation, simulate
from postroad.testing.deterministic import deterministic
from postroad.testing.dns_peer import Lie
from postroad.testing.smtp_peer import ACCEPT, Cut, Delay, Raw
from postroad_smtp.transport import SmtpTransport

SENDER, ALBERT = "support@example.com", "albert@example.org"
SHORT: dict[str, Any] = {"reports": {"delay_notice_seconds": 2 * HOUR}, "retry": {"give_up_seconds": 12 * HOUR}}
NOTICE = {"delay_notice_seconds": 4 * HOUR}
SAME = b"From: support@example.com\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nHello\r\n"
DELAYED, FAILED = "Your message is delayed", "Your message could not be delivered"


async def send(world: World, *to: str, **more: Any) -> Any:
    return await world.engine.send_mail(
        sender=SENDER, to=to or ALBERT, subject="Approved", body="Dear Albert: ...", **more
    )


async def troubled(world: World) -> None:
    """Greylisting, an outage, a name that does not exist, servers of equal preference, a restart: all that draws lots."""
    world.server("example.com")
    server, _ = world.server("example.org"), world.server("example.org")
    server.greylist(3)
    server.down(8 * HOUR, after=HOUR)
    for other in range(3):
        world.server(f"d{other}.example", {"RCPT": "450 4.2.0 Busy"} if other % 2 else {".": [Cut(), ACCEPT]})
    await send(
        world, ALBERT, "berta@example.org", "nobody@nowhere.example", *(f"x@d{other}.example" for other in range(5))
    )
    await world.engine.submit_many(
        [Submission(sender=SENDER, recipients=[f"{n}@example.org"], content=SAME) for n in range(9)]
    )
    await trio.sleep(4 * HOUR)
    await world.restart(after=HOUR)
    await world.wait_finished()


def test_after_three_greylistings_and_a_two_day_outage_the_mail_arrives_and_one_notice_is_sent() -> None:
    async def story(world: World) -> None:
        world.server("example.com")
        server = world.server("example.org")
        server.greylist(3)
        server.down(2 * DAY, after=15 * MINUTE)
        receipt = await send(world)
        outcome = await receipt.settled()
        assert outcome.is_delivered
        assert 2 * DAY + 15 * MINUTE <= world.now <= 2 * DAY + 2 * HOUR
        await world.wait_finished()

    world = simulate(story, seed=7, reports=NOTICE)
    assert [mail.subject for mail in world.mailbox(SENDER)] == [DELAYED]
    (mail,) = world.mailbox(ALBERT)
    assert mail.message["To"] == ALBERT
    assert mail.host == "mx1.example.org"


def test_an_outage_of_more_than_five_days_brings_one_delay_notice_and_one_bounce() -> None:
    async def story(world: World) -> None:
        world.server("example.com")
        server = world.server("example.org")
        server.greylist(3)
        server.down(6 * DAY, after=2 * MINUTE)
        await send(world)
        await world.wait_finished()

    world = simulate(story, seed=7, reports=NOTICE)
    assert [mail.subject for mail in world.mailbox(SENDER)] == [DELAYED, FAILED]
    assert [mail.sender for mail in world.mailbox(SENDER)] == ["", ""]
    assert 5 * DAY <= world.mailbox(SENDER)[1].at <= 5 * DAY + 2 * HOUR
    assert len(world.trace.splitlines()) < 2000, "five days of one message are little work"
    assert simulate(story, seed=7, reports=NOTICE).trace == world.trace


def test_the_trace_is_the_same_in_another_process_whatever_its_hash_seed() -> None:
    program = "import test_simulation as t; print(t.simulate(t.troubled, seed=7, **t.SHORT).trace, end='')"
    traces = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=os.path.dirname(__file__),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout.decode()
        for seed in ("1", "2")
    ]
    assert traces[0] == traces[1] != ""
    for kind in ("log", "event", "smtp", "dns"):
        assert f" {kind:<5} " in traces[0]


def test_another_seed_is_another_trace() -> None:
    assert len({simulate(troubled, seed=seed, **SHORT).trace.partition("\n")[2] for seed in (1, 2, 3)}) == 3


def test_what_a_simulation_changes_is_as_before_when_it_is_over() -> None:
    state, config = random.getstate(), structlog.get_config()
    simulate(troubled, **SHORT)
    assert random.getstate() == state
    assert structlog.get_config() == config


def test_without_the_switch_of_trio_a_seed_is_refused_and_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.testing.deterministic._SWITCH", "_GONE")
    with pytest.raises(RuntimeError, match=r"trio [0-9.]+ has no switch for deterministic scheduling.*seed=None"):
        simulate(troubled)
    assert simulate(troubled, seed=None, **SHORT).mail


def test_the_order_of_tasks_follows_from_the_seed() -> None:
    def order(seed: int) -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                ran.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(note, number)

        with deterministic(seed):
            trio.run(main)
        return ran

    assert order(1) == order(1)
    assert order(1) != order(2)


async def test_the_clock_must_be_a_virtual_one() -> None:
    with pytest.raises(RuntimeError, match="autojump_clock"):
        async with open_simulation():
            raise AssertionError("it must not begin")


# --- what the servers and the DNS do ---


@pytest.mark.parametrize(
    "script",
    [
        lambda world, server: server.down(3 * HOUR),
        lambda world, server: server.silent(3 * HOUR),
        lambda world, server: server.reply({"MAIL": "421 4.7.0 Too many"}, seconds=3 * HOUR),
        lambda world, server: server.reply({f"RCPT {ALBERT}": "450 4.2.1 Full"}, seconds=3 * HOUR),
        lambda world, server: server.reply({".": Delay(2000, "451 4.3.0 Slow, and no")}, seconds=3 * HOUR),
        lambda world, server: world.offline(3 * HOUR),
        lambda world, server: world.dns_down(3 * HOUR),
        lambda world, server: world.dns_down(3 * HOUR, lie=Lie.SERVFAIL),
    ],
)
def test_what_is_out_of_order_for_three_hours_delays_the_mail_that_long(script: Any) -> None:
    async def story(world: World) -> None:
        script(world, world.server("example.org"))
        receipt = await send(world)
        await trio.sleep(3 * HOUR - 1)
        assert not world.mail
        assert (await receipt.settled()).is_delivered

    world = simulate(story)
    assert [mail.recipient for mail in world.mail] == [ALBERT]
    assert 3 * HOUR <= world.mail[0].at <= 5 * HOUR


def test_what_begins_later_leaves_alone_what_comes_before() -> None:
    async def story(world: World) -> None:
        server = world.server("example.org")
        server.down(DAY, after=HOUR)
        await send(world)
        await world.wait_finished()
        await trio.sleep(HOUR)
        await send(world)
        await world.wait_finished()
        assert server.connects[0] == 0
        assert len(server.connects) > 10
        assert server.faults == []

    first, second = simulate(story).mail
    assert first.at == 0
    assert DAY + HOUR < second.at < DAY + 3 * HOUR


def test_a_message_in_doubt_arrives_twice_and_breaks_no_promise() -> None:
    async def story(world: World) -> None:
        world.server("example.org", {".": [Raw(b"2", then_cut=True), ACCEPT]})
        await send(world)
        await world.wait_finished()

    world = simulate(story)
    assert len(world.mailbox(ALBERT)) == 2
    assert "maybe_duplicate" in [line["event"] for line in world.log]


def test_a_worse_server_stands_in_for_a_better_one() -> None:
    async def story(world: World) -> None:
        world.server("example.org").down(DAY)
        world.server("example.org", preference=20)
        await send(world)
        await world.wait_finished()

    assert [(mail.host, mail.at) for mail in simulate(story).mail] == [("mx2.example.org", 0)]


def test_a_smarthost_is_found_by_the_scripted_names_and_takes_all() -> None:
    async def story(world: World) -> None:
        world.server("smtp.example.net")
        await send(world, ALBERT, "x@anywhere.example")
        await world.wait_finished()

    config = {
        "senders": {"authorized": [SENDER]},
        "transports": {"relay": {"plugin": "smtp", "smarthost": "smtp.example.net:587"}},
        "routes": [{"transport": "relay"}],
    }
    assert len(simulate(story, config=config).mail) == 2


# --- the world ---


def test_the_wall_is_what_it_was_told_to_be_and_a_story_may_move_it() -> None:
    async def story(world: World) -> None:
        assert world.wall == 2_000_000_000
        world.server("example.org")
        await send(world, send_at=world.wall + DAY)
        world.move_wall(DAY)
        await world.wait_finished()
        assert world.now <= 60

    world = simulate(story, start=2_000_000_000, follows_wall=True)
    assert "Date: Wed, 18 May 2033 03:33:20 +0000" in world.mail[0].content.decode()


def test_the_applications_plugins_are_asked_and_its_own_log_is_in_the_trace() -> None:
    class Door:
        @hookimpl
        def postroad_admit(self, submission: Submission) -> Refusal | None:
            return Refusal(field="to", problem="not him") if ALBERT in submission.recipients else None

    async def story(world: World) -> None:
        with pytest.raises(ValueError, match="not him"):
            await send(world)
        structlog.get_logger().debug("my_application", answer=42)

    world = simulate(story, plugins={"door": Door()})
    assert "0d 00:00:00.000 log   my_application level=debug answer=42" in world.trace


def test_other_transports_than_smtp_are_refused_by_name() -> None:
    transports = {"archive": {"plugin": "file", "path": "x"}}
    with pytest.raises(ConfigError, match=r"transports\.archive\.plugin.*SMTP only"):
        simulate(troubled, transports=transports, routes=[{"transport": "archive"}])
    with pytest.raises(ConfigError, match="either config, or sections"):
        simulate(troubled, config={}, retry={})


def test_a_story_that_never_ends_is_ended() -> None:
    async def story(world: World) -> None:
        await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError, match="86400 virtual seconds"):
        simulate(story, within=DAY)


def test_a_failing_story_fails_as_it_did_with_the_end_of_the_trace() -> None:
    async def story(world: World) -> None:
        await send(world)
        pytest.fail("not as expected")

    with pytest.raises(pytest.fail.Exception, match="not as expected") as caught:
        simulate(story)
    assert "MessageAccepted" in caught.value.__notes__[0]


# --- promises ---


def test_what_is_left_in_the_queue_is_no_loss() -> None:
    async def story(world: World) -> None:
        world.server("example.org").down(DAY)
        await send(world, ALBERT, "berta@example.org")

    assert simulate(story).evidence().spool[0].recipients[0].state is State.WAITING


def test_a_mail_that_is_settled_as_delivered_and_never_arrived_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lie(self: Any, request: Any) -> Any:
        return [verdict_of() for _ in request.recipients]

    def verdict_of() -> Any:
        from postroad import Verdict

        return Verdict.accepted("250 never sent")

    monkeypatch.setattr(SmtpTransport, "deliver", lie)

    async def story(world: World) -> None:
        await send(world)
        await world.wait_finished()

    with pytest.raises(
        BrokenPromise, match=f"I1: [0-9a-z]{{20}} to {ALBERT} is settled as delivered and never arrived"
    ):
        simulate(story)


def test_a_mail_that_is_sent_twice_without_a_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = SmtpTransport.deliver

    async def twice(self: SmtpTransport, request: Any) -> Any:
        await deliver(self, request)
        return await deliver(self, request)

    monkeypatch.setattr(SmtpTransport, "deliver", twice)

    async def story(world: World) -> None:
        world.server("example.org")
        await send(world)
        await world.wait_finished()

    with pytest.raises(BrokenPromise, match=r"I2: .* arrived 2 times"):
        simulate(story)


def test_the_world_tells_its_last_moment_when_it_is_over() -> None:
    async def story(world: World) -> None:
        await trio.sleep(100)

    world = simulate(story)
    assert 100 <= world.now < 101
    assert world.wall == pytest.approx(1_767_225_600 + world.now)


def test_mistakes_of_a_script_are_refused() -> None:
    async def story(world: World) -> None:
        server = world.server("example.org")
        with pytest.raises(ValueError, match="RCTP"):
            server.reply({"RCTP": "450 4.2.0 Busy"})
        with pytest.raises(ValueError, match="RCTP"):
            world.server("example.net", {"RCTP b@example.net": "450 4.2.0 Busy"})
        with pytest.raises(ValueError, match="seconds"):
            server.down(-5)
        with pytest.raises(ValueError, match="follows_wall"):
            world.move_wall(DAY)

    simulate(story)


def test_a_mailbox_is_found_whatever_the_case_of_its_domain() -> None:
    async def story(world: World) -> None:
        world.server("example.org")
        receipt = await world.engine.send_mail(sender="a@example.com", to="Albert@Example.ORG", subject="x", body="y")
        await receipt.settled()
        assert len(world.mailbox("Albert@Example.ORG")) == len(world.mailbox("Albert@example.org")) == 1

    simulate(story)


def test_a_second_simulation_at_the_same_time_is_refused() -> None:
    async def story(world: World) -> None:
        with pytest.raises(RuntimeError, match="another simulation"):
            async with open_simulation():
                pass

    async def short(world: World) -> None:
        await trio.sleep(1)

    simulate(story)
    simulate(short)


def test_a_thread_of_the_application_may_log_meanwhile() -> None:
    async def story(world: World) -> None:
        thread = threading.Thread(target=lambda: structlog.get_logger().info("from a thread"))
        thread.start()
        thread.join()
        structlog.get_logger().info("from the story")

    assert "from the story" in (trace := simulate(story).trace)
    assert "from a thread" not in trace
