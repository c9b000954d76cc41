"""Time and traffic in a simulated world: clocks that jump; sites, names and networks that are away.

Rows 37, 45, 46, 59, 60, 63 and 64.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import trio
from fault_case import Case, Expected, Seen

from postroad import Submission
from postroad.testing import DAY, HOUR, MINUTE, World, open_simulation
from postroad.testing.dns_peer import Lie
from postroad.testing.smtp_peer import ACCEPT, Delay

__all__ = ["cases"]

YEAR = 365 * DAY
SENDER, ALBERT = "support@example.com", "albert@example.org"
MANY, FEWER = 2000, 500  # fewer show the same where each message costs several tries
OTHERS = 200


def cases() -> Iterator[Case]:
    for make in (_expiry, _jumps, _dates, _dead_domain, _rate_limit, _names, _network):
        yield from make()


def _case(
    row: str,
    what: str,
    meet: Callable[[World], Awaitable[Seen]],
    *outcomes: str,
    facts: tuple[str, ...],
    **options: Any,
) -> Case:
    async def met() -> Seen:
        async with open_simulation(**options) as world:
            seen = await meet(world)
            assert [fault for server in world.servers for fault in server.faults] == []
        return seen

    expected = Expected(outcomes=outcomes, seconds=(0, 0), is_next_delivered=None, facts=facts)
    return Case(row=row, what=what, variant="simulated world", meet=met, expected=expected)


async def _send(world: World, to: str = ALBERT, **more: Any) -> Any:
    return await world.engine.send_mail(sender=SENDER, to=to, subject="Hello", body="Hello.", **more)


async def _send_many(world: World, domain: str, count: int = MANY) -> list[Any]:
    content = b"From: support@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n"
    to = [f"u{number}@{domain}" for number in range(count)]
    return await world.engine.submit_many(
        [Submission(sender=SENDER, recipients=[each], content=content) for each in to]
    )


async def _outcome(receipt: Any) -> str:
    (one,) = (await receipt.settled()).recipients.values()
    return "delivered" if one.state == "accepted" else f"{one.state} {one.status}"


async def _outcomes(receipts: list[Any]) -> tuple[str, ...]:
    """Each different outcome, with how many messages had it."""
    told = [await _outcome(receipt) for receipt in receipts]
    return tuple(f"{told.count(each):,} {each}" for each in sorted(set(told)))


def _fact(holds: bool, fact: str) -> str:  # what is true or not
    return fact if holds else f"NOT: {fact}"


# --- Row 37 ---


def _expiry() -> Iterator[Case]:
    yield _case(
        "37",
        "three greylistings, then an outage of six days",
        _meet_expiry,
        "failed 4.4.7",
        facts=("after 5 days", "one notice of delay", "one report"),
        reports={"delay_notice_seconds": 4 * HOUR},
    )


async def _meet_expiry(world: World) -> Seen:
    world.server("example.com")
    server = world.server("example.org")
    server.greylist(3)
    server.down(6 * DAY, after=2 * MINUTE)
    outcome = await _outcome(await _send(world))
    seconds = world.now
    await world.wait_finished()
    subjects = [mail.subject for mail in world.mailbox(SENDER)]
    notices, reports = (sum(word in subject for subject in subjects) for word in ("delayed", "not be delivered"))
    return Seen(
        outcomes=(outcome,),
        facts=(
            _fact(5 * DAY <= seconds <= 5 * DAY + 2 * HOUR, "after 5 days"),
            _fact(notices == 1, "one notice of delay"),
            _fact(reports == 1, "one report"),
        ),
    )


# --- Row 45 ---

JUMPS = {
    "the wall goes a year forward": YEAR,
    "the wall goes an hour back": -HOUR,
    "the wall goes a year back": -YEAR,
    "NTP steps the wall by 30 s forward": 30.0,
    "NTP steps the wall by 30 s back": -30.0,
    "the machine sleeps for 8 hours, its monotonic clock too": 8 * HOUR,
}
_IN_TIME = "tried within the longest pause"


def _jumps() -> Iterator[Case]:
    facts = (_IN_TIME, "send_at holds")
    for what, seconds in JUMPS.items():
        for restart in (None, 60.0):
            name = what if restart is None else f"{what}, while no engine runs"
            held = facts if _decides(seconds, restart) else facts[:1]
            meet = partial(_meet_jump, seconds, restart)
            yield _case("45", name, meet, *["delivered"] * len(held), facts=held, follows_wall=True)
    yield _case(
        "45", "the machine sleeps for 8 hours, its monotonic clock does not", _meet_sleep, "delivered", "delivered", facts=facts,
        follows_wall=True,
    )  # fmt: skip


def _decides(seconds: float, restart: float | None) -> bool:
    """Whether the wall says when a message leaves that was given a moment before: a running engine goes on by its own clock when
    the wall is set back, and a year is too long to wait for."""
    return seconds > 0 or (restart is not None and seconds > -DAY)


async def _meet_jump(seconds: float, restart: float | None, world: World) -> Seen:
    """One message is being retried when the wall is set, another one waits for its moment, two hours later by the wall."""
    world.server("example.com")
    world.server("example.org").reply({"RCPT albert@example.org": "450 4.2.0 Busy"}, seconds=HOUR)
    receipt = await _send(world)
    moment = world.wall + max(seconds, 0.0) + 2 * HOUR
    later = await _send(world, "later@example.org", send_at=moment)
    await trio.sleep(HOUR)
    if restart is not None:
        await world.stop()
    world.move_wall(seconds)
    if restart is not None:
        await trio.sleep(restart)
        await world.start()
    outcome = await _outcome(await world.engine.receipt(receipt.id))
    in_time = _fact(world.now - HOUR <= 1.1 * 4000 + 120, _IN_TIME)
    if not _decides(seconds, restart):
        return Seen(outcomes=(outcome,), facts=(in_time,))
    outcome_later = await _outcome(await world.engine.receipt(later.id))
    holds = _fact(0 <= world.wall - moment <= 90, "send_at holds")
    return Seen(outcomes=(outcome, outcome_later), facts=(in_time, holds))


async def _meet_sleep(world: World) -> Seen:
    world.server("example.org").reply({"RCPT albert@example.org": "450 4.2.0 Busy"}, seconds=HOUR)
    receipt = await _send(world)
    moment = world.wall + 9 * HOUR
    later = await _send(world, "later@example.org", send_at=moment)
    await trio.sleep(HOUR)
    clock: Any = trio.lowlevel.current_clock()
    clock.jump(8 * HOUR)
    outcome, at = await _outcome(receipt), world.now
    outcome_later = await _outcome(later)
    return Seen(
        outcomes=(outcome, outcome_later),
        facts=(_fact(at <= 9 * HOUR + 60, _IN_TIME), _fact(0 <= world.wall - moment <= 90, "send_at holds")),
    )


# --- Row 46 ---

_LEAP, _2038, _2040 = (
    1_483_228_799.0,
    2_147_483_640.0,
    2_208_988_800.0,
)  # 31 December 2016, 19 January 2038, 1 January 2040


def _dates() -> Iterator[Case]:
    for what, start, date in (
        ("from before the end of 32 bits to after it", _2038, "Tue, 19 Jan 2038 03:14:00 +0000"),
        ("through the leap second of 2016", _LEAP, "Sat, 31 Dec 2016 23:59:59 +0000"),
        ("through the beginning of summer time in Europe", 1_774_746_000.0 - 60, "Sun, 29 Mar 2026 00:59:00 +0000"),
    ):
        facts = ("Date is right", "tried again after 5 minutes")
        yield _case("46", what, partial(_meet_date, date), "delivered", facts=facts, start=start)
    in_2040 = ("sent in the second that was asked for",)
    yield _case("46", "send_at in 2040", _meet_2040, "delivered", facts=in_2040, start=_2040 - DAY)


async def _meet_date(date: str, world: World) -> Seen:
    world.server("example.org").greylist(1)
    outcome = await _outcome(await _send(world))
    (mail,) = world.mail
    return Seen(
        outcomes=(outcome,),
        facts=(
            _fact(f"Date: {date}\r\n".encode() in mail.content, "Date is right"),
            _fact(270 <= mail.at <= 330, "tried again after 5 minutes"),
        ),
    )


async def _meet_2040(world: World) -> Seen:
    world.server("example.org")
    receipt = await _send(world, send_at=_2040)
    outcome = await _outcome(receipt)
    return Seen(
        outcomes=(outcome,), facts=(_fact(0 <= world.wall - _2040 < 1, "sent in the second that was asked for"),)
    )


# --- Rows 59 and 60 ---


def _dead_domain() -> Iterator[Case]:
    for what, script in {
        "refuses connections": lambda server: server.down(DAY),
        "never answers": lambda server: server.silent(DAY),
    }.items():
        yield _case(
            "59",
            f"{MANY:,} messages for a domain that {what}, {OTHERS} for others behind them",
            partial(_meet_dead_domain, script),
            f"{OTHERS} delivered",
            facts=("others at once", f"at most {_PROBES} connections to the dead one in an hour"),
        )


_PROBES = 60


async def _meet_dead_domain(script: Callable[[Any], None], world: World) -> Seen:
    dead = world.server("dead.example")
    script(dead)
    for number in range(20):
        world.server(f"d{number}.example")
    await _send_many(world, "dead.example")
    begun = world.now
    receipts = [await _send(world, f"u{number}@d{number % 20}.example") for number in range(OTHERS)]
    outcomes = await _outcomes(receipts)
    slowest = max(mail.at for mail in world.mail) - begun
    await trio.sleep(begun + HOUR - world.now)
    return Seen(
        outcomes=outcomes,
        facts=(
            _fact(slowest <= 1, "others at once"),
            _fact(len(dead.connects) <= _PROBES, f"at most {_PROBES} connections to the dead one in an hour"),
        ),
    )


def _rate_limit() -> Iterator[Case]:
    for reply, count in (
        ("421 4.7.0 Too many messages, slow down", FEWER),
        ("450 4.7.1 Too many messages, slow down", 200),
    ):
        yield _case(
            "60",
            f"'{reply}' to each MAIL for three hours, {count:,} messages",
            partial(_meet_rate_limit, reply, count),
            f"{count:,} delivered",
            facts=(_SELDOM,),
        )


_TRIES = 100
_SELDOM = f"at most {_TRIES} transactions in any of the hours"


async def _meet_rate_limit(reply: str, count: int, world: World) -> Seen:
    server = world.server("example.org")
    server.reply({"MAIL": reply}, seconds=3 * HOUR)
    outcomes = await _outcomes(await _send_many(world, "example.org", count))
    hours = [sum(hour * HOUR <= at < (hour + 1) * HOUR for at in server.transactions) for hour in range(3)]
    return Seen(outcomes=outcomes, facts=(_fact(max(hours) <= _TRIES, _SELDOM),))


# --- Rows 63 and 64 ---


def _names() -> Iterator[Case]:
    for what, lie in {"says nothing": Lie.SILENCE, "says SERVFAIL": Lie.SERVFAIL}.items():
        yield _case(
            "63",
            f"the DNS {what} for an hour, 200 messages for 50 domains",
            partial(_meet_dead_names, lie),
            "200 delivered",
            facts=(
                "no failure told",
                "within two hours of its return",
                "each server asked at most 5 times for a connection",
            ),
        )


async def _meet_dead_names(lie: Lie, world: World) -> Seen:
    servers = [world.server(f"d{number}.example") for number in range(50)]
    world.dns_down(HOUR, lie=lie)
    receipts = [await _send(world, f"u{number}@d{number % 50}.example") for number in range(200)]
    outcomes = await _outcomes(receipts)
    failures = [event for event in world.events if type(event).__name__ == "RecipientFailed"]
    return Seen(
        outcomes=outcomes,
        facts=(
            _fact(not failures, "no failure told"),
            _fact(world.now <= 3 * HOUR, "within two hours of its return"),
            _fact(
                max(len(server.connects) for server in servers) <= 5,
                "each server asked at most 5 times for a connection",
            ),
        ),
    )


def _network() -> Iterator[Case]:
    yield _case(
        "64",
        f"no network for an hour, {FEWER:,} messages for two domains, one second each",
        _meet_network,
        f"{FEWER:,} delivered",
        facts=("nothing failed", "at most 20 at once at each site", "all within two hours of the network's return"),
    )


async def _meet_network(world: World) -> Seen:
    servers = [world.server(domain, {".": Delay(1, ACCEPT)}) for domain in ("a.example", "b.example")]
    world.offline(HOUR)
    receipts = [each for domain in ("a.example", "b.example") for each in await _send_many(world, domain, FEWER // 2)]
    outcomes = await _outcomes(receipts)
    at_once = max(_most_within(sorted(mail.at for mail in server.mail), 1.0) for server in servers)
    failures = [event for event in world.events if type(event).__name__ == "RecipientFailed"]
    return Seen(
        outcomes=outcomes,
        facts=(
            _fact(not failures, "nothing failed"),
            _fact(at_once <= 20, "at most 20 at once at each site"),
            _fact(world.now <= 3 * HOUR, "all within two hours of the network's return"),
        ),
    )


def _most_within(moments: list[float], seconds: float) -> int:
    return max(sum(moment <= each < moment + seconds - 0.001 for each in moments) for moment in moments)
