"""The rules for a whole engine: what is submitted, what servers do, what operators do, how time passes, and how it dies.

In the end everything is drained, and `postroad.testing.promises` must find nothing broken in what happened.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from moody_servers import MOODS
from stage import Stage
from world import DOMAINS, HOME, World

from postroad import DsnOptions, Submission
from postroad.errors import PostroadError
from postroad.store.contract import Filter
from postroad.store.states import ENDS, State
from postroad.testing.promises import Letter, broken_promises

__all__ = ["EngineMachine"]

DEEDS = ("hold", "release", "cancel_all", "retry", "take_as_delivered")
_QUICK = "/dev/shm"  # synced at no cost
_MINUTE, _HOUR = 60.0, 3600.0
_PATIENCE_SECONDS = 600.0  # what a submitter or operator waits at the most
_ROUNDS = 30  # of an hour each, until everything has to be over
_RESTS_SECONDS = 61.0  # between two failures of an actor: three within a minute are meant to end the engine

domains = st.sampled_from(DOMAINS)
seconds = st.sampled_from([0.0, 1.0, 20.0, _MINUTE, 5 * _MINUTE, _HOUR])
moods = st.dictionaries(domains | st.just(HOME), st.sampled_from(list(MOODS)), min_size=1, max_size=4)
letters = st.fixed_dictionaries(
    {
        "to": st.lists(domains, min_size=1, max_size=5),
        "is_large": st.booleans(),
        "never": st.booleans(),
        "key": st.booleans(),
        "wait_seconds": st.sampled_from([0.0, 0.0, 300.0]),
        "expiry_seconds": st.sampled_from([None, None, 900.0]),
    }
)


class EngineMachine(RuleBasedStateMachine):
    """is_durable: a spool in a file; otherwise one in memory that outlives its engines."""

    is_durable = False

    def __init__(self) -> None:
        super().__init__()
        parent = _QUICK if Path(_QUICK).is_dir() else None
        self.world = World(Path(tempfile.mkdtemp(dir=parent)) if self.is_durable else None)
        self.stage = Stage()
        self.is_sound = True
        self.again: Submission | None = None
        self.may_break_at = 0.0
        self.ended: dict[tuple[str, str], State] = {}
        self._play(lambda: self.world.begin(self.stage.nursery))

    def _play(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, then have an engine alive that has lost nothing."""
        self.is_sound = False
        answer = self.stage.play(lambda: self._live_through(act))
        self.is_sound = True
        return answer

    async def _live_through(self, act: Callable[[], Awaitable[Any]]) -> Any:
        answer = await act()
        await self.world.go_on(self.stage.nursery)
        self._nothing_acknowledged_is_lost()
        return answer

    def _nothing_acknowledged_is_lost(self) -> None:
        found = {one.message.id: one for one in self.world.look()}
        for letter in self.world.letters:
            stored = found.get(letter.id)
            assert not letter.id or (stored and len(stored.recipients) == len(letter.recipients)), (
                f"I1: {letter.id} is lost"
            )
        for id, one in found.items():
            for recipient in one.recipients:
                if recipient.state in ENDS:
                    end = self.ended.setdefault((id, recipient.address), recipient.state)
                    assert end is recipient.state, f"I3: {id} to {recipient.address}"

    async def _sleep(self, time: float) -> None:
        """Or less, if the engine dies before."""
        with trio.move_on_after(time):
            await self.world.life.over.wait()

    # --- the application ---

    @initialize(letters=st.lists(letters, min_size=2, max_size=4), moods=moods)
    def begin(self, letters: list[dict[str, Any]], moods: dict[str, str]) -> None:
        self.servers_become(moods)
        self.submit(letters)

    @rule(letters=st.lists(letters, min_size=1, max_size=3))
    def submit(self, letters: list[dict[str, Any]]) -> None:
        for letter in letters:
            self._submit(**letter)

    def _submit(
        self,
        to: list[str],
        is_large: bool,
        never: bool,
        key: bool,
        wait_seconds: float,
        expiry_seconds: float | None,
    ) -> None:
        wall = self.stage.play(self.world.wall)
        number = len(self.world.letters)
        body = f"letter-{number}"
        head = f"From: app@{HOME}\r\nTo: many@a.example\r\nSubject: {number}\r\n\r\n"
        submission = Submission(
            sender=f"s{number % 2}@{HOME}",
            recipients=[f"r{place}@{domain}" for place, domain in enumerate(to)],
            content=f"{head}{body}\r\n{'x' * 70}\r\n".encode() + (b"y" * 70 + b"\r\n") * (60 if is_large else 0),
            dsn=DsnOptions(notify=("never",)) if never else DsnOptions(),
            idempotency_key=body if key else None,
            send_at=wall + wait_seconds if wait_seconds else None,
            expires_at=expiry_seconds and wall + expiry_seconds,
        )
        self.world.letters.append(Letter(body, submission.sender, tuple(submission.recipients)))
        self._hand_over(submission, number)
        self.again = submission if key else self.again

    def _hand_over(self, submission: Submission, number: int) -> None:
        letter = self.world.letters[number]
        receipt = self._play(lambda: _patiently(lambda: self.world.engine.submit(submission)))
        if receipt is not None:
            assert letter.id in ("", receipt.id), "the same key, and another message"
            self.world.letters[number] = Letter(letter.body, letter.sender, letter.recipients, receipt.id)

    @precondition(lambda self: self.again is not None)
    @rule()
    def submit_again(self) -> None:
        """With the same key: whoever was not answered does so."""
        assert self.again is not None
        self._hand_over(self.again, int(str(self.again.idempotency_key).rpartition("-")[2]))

    # --- servers, operators, time ---

    @rule(moods=moods)
    def servers_become(self, moods: dict[str, str]) -> None:
        self.world.moods.clear()
        self.world.moods.update(moods)

    @rule(deed=st.sampled_from(DEEDS), domain=st.none() | domains, time=seconds)
    def operate(self, deed: str, domain: str | None, time: float) -> None:
        async def act() -> None:
            self.world.hurry()
            meant = self.world.places(domain)
            answer = await _patiently(lambda: getattr(self.world.engine, deed)(Filter(domain=domain)))
            self.world.hurry()
            if deed == "release":
                self.world.released.append(self.world.now)
            if deed == "cancel_all" and answer is not None:
                self.world.withdraw(meant)

        self._play(lambda: self._sleep(time))
        self._play(act)

    @rule(time=seconds)
    def wait(self, time: float) -> None:
        self._play(lambda: self._sleep(time))

    @rule(jump=st.sampled_from([_HOUR, 400 * 24 * _HOUR, -_HOUR]))
    def wall_clock_jumps(self, jump: float) -> None:
        async def act() -> None:
            self.world.ahead += jump
            self.world.servers.is_time_sure &= jump > 0
            self.world.hurry()

        self._play(act)

    # --- what goes wrong ---

    @rule(time=seconds)
    def kill(self, time: float) -> None:
        async def act() -> None:
            await self._sleep(time)
            self.world.kill()

        self._play(act)

    @rule(moment=st.sampled_from(["before", "after"]), commits=st.integers(1, 6), time=seconds)
    def kill_at_commit(self, moment: str, commits: int, time: float) -> None:
        """The next so many commits from here, whatever they are."""
        self.world.fatal = (moment, commits)
        self._play(lambda: self._sleep(time))

    @rule()
    def restart(self) -> None:
        self._play(lambda: self.world.restart(self.stage.nursery))

    @rule(time=seconds)
    def disk_is_full_for_a_while(self, time: float) -> None:
        self.world.is_full = True
        self._play(lambda: self._sleep(time))
        self.world.is_full = False

    @rule(time=seconds)
    def an_actor_fails(self, time: float) -> None:
        async def act() -> None:
            await self._sleep(time)
            engine = self.world.life.engine
            if engine is not None and trio.current_time() >= self.may_break_at:
                self.may_break_at = trio.current_time() + _RESTS_SECONDS
                self.world.hurry()
                engine._ring._bounce_inbox.put("no note at all")
                await self._sleep(0.1)

        self._play(act)

    # --- the end ---

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.world.moods.clear()
                self.world.is_full, self.world.fatal = False, None
                self._drain()
                self._play(lambda: self.world.sweep(self.stage.nursery))
                self.stage.play(self.world.stop)
                broken = broken_promises(self.world.evidence())
                assert not broken, "\n".join(broken)
                assert not (early := self.world.servers.too_early), f"before their time: {early}"
                assert not (unasked := self.world.sent_again_unasked()), (
                    f"sent again, and nobody asked for it: {unasked}"
                )
                assert not (tried := self.world.tried_although_withdrawn()), f"tried although cancelled: {tried}"
        finally:
            self.stage.close()
            self.world.close()

    def _drain(self) -> None:
        for _ in range(_ROUNDS):
            if self._play(self._drain_an_hour) == 0:
                return
        raise AssertionError(f"not over after {_ROUNDS} hours: {self.world.look()}")

    async def _drain_an_hour(self) -> int | None:
        """How many messages are left before it; None where the engine was killed by an attempt that was under way."""
        self.world.hurry()
        await _patiently(lambda: self.world.engine.release(Filter(states=(State.HELD,))))
        self.world.released.append(self.world.now)
        status = await _patiently(lambda: self.world.engine.status())
        await self._sleep(_HOUR)
        return status and status.messages


async def _patiently(act: Callable[[], Awaitable[Any]]) -> Any:
    """What it answers, None where it refused, failed or took too long."""
    with trio.move_on_after(_PATIENCE_SECONDS), suppress(PostroadError):
        return await act()
    return None
