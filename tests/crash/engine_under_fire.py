"""Processes that are going to be killed: each submits as fast as it may, and writes down what it tries and what is answered.

usage: engine_under_fire.py FOLDER
A line "MODE SEED POINT" on standard input begins a life, by fork, so that a start costs no imports; an empty line kills it.
"begun" and later its status come back on standard output; a life that had ended when it was to be killed leaves the empty line
unread, which is passed over.  `submit` lives until it is killed; `finish` ends by itself once the queue is empty.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import apsw
import structlog  # noqa: F401  # so that no life has to import it
import trio
from kill_points import KillPoint, Transition, watch
from leading_letters import DOMAINS, LEADING, letter

import postroad
from postroad.log import configure_logging
from postroad.store import sqlite  # noqa: F401
from postroad.store.contract import Filter
from postroad.store.states import State, Step

SUBMITTERS = 4
MOST_QUEUED = 80  # so that a backlog of many lives can be drained
MOST_BOUND = 40  # for a life that is bound for a point: what comes first there shall come to its second step soon
PAUSE_SECONDS = 0.02
PATIENCE = 10  # turns of an operator, before he makes way for what leads to a point
LOOK_SECONDS = 0.01
DAMAGED = ("hold.example", "doubt.example", "cancel.example")  # never refused: a report would not know its message


class Notes:
    """Files that every life appends to, each line by one write(2)."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._ledger = os.open(folder / "ledger", flags, 0o600)
        self._seen = os.open(folder / "seen", flags, 0o600)

    def ledger(self, **values: Any) -> None:
        os.write(self._ledger, json.dumps(values).encode() + b"\n")

    def seen(self, text: str) -> None:
        os.write(self._seen, text.encode() + b"\n")


# --- submitting ---


class Queue:
    """How many messages there are.  One looks for all submitters: a status is a scan, which would cost most of a life's time."""

    def __init__(self) -> None:
        self.messages = 0

    async def look_for_ever(self, engine: postroad.Engine) -> None:
        while True:
            self.messages = (await engine.status()).messages
            await trio.sleep(PAUSE_SECONDS)


async def submit_for_ever(
    engine: postroad.Engine, notes: Notes, name: str, point: KillPoint | None, queue: Queue
) -> None:
    draw = random.Random(name)
    most = MOST_BOUND if point else MOST_QUEUED
    for number in itertools.count():
        submission, body = letter(draw, f"{name}-{number}", point)
        notes.ledger(body=body, sender=submission.sender, recipients=submission.recipients)
        receipt = await engine.submit(submission)
        notes.ledger(body=body, id=receipt.id)
        while queue.messages > most:  # noqa: ASYNC110  # nothing tells how long a queue is
            await trio.sleep(PAUSE_SECONDS)
        await trio.sleep(0.005)


# --- operating ---

Deed = Callable[[postroad.Engine], Awaitable[object]]


def hold(domain: str, state: State) -> Deed:
    return lambda engine: engine.hold(Filter(domain=domain, states=(state,)))


def cancel(domain: str, *states: State) -> Deed:
    """states: none for all."""
    return lambda engine: engine.cancel_all(Filter(domain=domain, states=states))


def release(state: State) -> Deed:
    return lambda engine: engine.release(Filter(states=(state,)))


_HOLD_TO_CANCEL = hold("cancel.example", State.WAITING)
_RELEASE_PARKED = release(State.PARKED)
DEEDS: dict[Transition, tuple[Deed, ...]] = {
    (State.WAITING, Step.HOLD): (hold("hold.example", State.WAITING),),
    (State.IN_DOUBT, Step.HOLD): (hold("doubt.example", State.IN_DOUBT),),
    (State.HELD, Step.RELEASE): (hold("hold.example", State.WAITING), release(State.HELD)),
    (State.WAITING, Step.CANCEL): (cancel("cancel.example", State.WAITING),),
    (State.LEASED, Step.CANCEL): (cancel("cancel.example", State.LEASED),),
    (State.HELD, Step.CANCEL): (_HOLD_TO_CANCEL, cancel("cancel.example", State.HELD)),
    (State.IN_DOUBT, Step.CANCEL): (cancel("recall.example", State.IN_DOUBT),),
    (State.HELD, Step.DELIVER): (lambda engine: engine.take_as_delivered(Filter(domain="ask.example")),),
    (State.WAITING, Step.PARK): (_RELEASE_PARKED,),  # what stayed damaged is parked again
    (State.PARKED, Step.CANCEL): (cancel("cancel.example", State.PARKED),),
    (State.PARKED, Step.SALVAGE): (_RELEASE_PARKED,),
}


def deeds(point: KillPoint | None) -> tuple[tuple[Deed, ...], list[Deed], list[Deed]]:
    """What leads to the point; the rest, which leaves the mail that leads there alone; and what does away with other mail."""
    if point is None:
        return (), _distinct(DEEDS), []
    domain = LEADING[point.transition]
    rest = _distinct(transition for transition in DEEDS if LEADING[transition] != domain)
    return DEEDS.get(point.transition, ()), rest, [cancel(other) for other in DOMAINS if other != domain]


def _distinct(transitions: Iterable[Transition]) -> list[Deed]:
    return list(dict.fromkeys(deed for transition in transitions for deed in DEEDS[transition]))


async def operate_for_ever(engine: postroad.Engine, point: KillPoint | None, draw: random.Random) -> None:
    """An operator who interferes: by turns with everything; first of all with what a point needs.

    Where that does not suffice, he withdraws whatever else there is: nothing stands between a life and its point for long.
    """
    wanted, rest, clearing = deeds(point)
    for turn in itertools.count():
        is_patient = turn < PATIENCE or not clearing
        for deed in (*wanted, draw.choice(rest) if is_patient else clearing[turn % len(clearing)]):
            await deed(engine)
        await trio.sleep(PAUSE_SECONDS)


async def finish(engine: postroad.Engine) -> None:
    while (await engine.status()).messages:  # what is deferred may be cancelled, what is held again released
        await engine.release(Filter(states=(State.HELD, State.PARKED)))
        await engine.cancel_all(Filter(domain="cancel.example"))
        await trio.sleep(0.1)


# --- damage ---


def repair_and_damage(folder: Path, point: KillPoint | None) -> None:
    """Put right what an earlier life damaged; make some other records unreadable: 0xc1 begins nothing in msgpack.

    Those are taken first that stand where the point's step begins, and leave first.
    """
    path = folder / "spool" / "postroad.db"
    if not path.exists():
        return
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the engine shall find the log as it was left
    connection.execute("UPDATE message SET record = substr(record, 2) WHERE substr(record, 1, 1) = x'c1'")
    for domain in DAMAGED if point and is_damaging(point) else ():
        connection.execute(
            """UPDATE message SET record = CAST(x'c1' || record AS BLOB) WHERE seq IN (
                SELECT seq FROM recipient JOIN message ON seq = place >> 20
                WHERE numbers = 1 AND state IN (0, 1, 2) AND address LIKE ? ORDER BY state = ? DESC, priority, random()
                LIMIT 8)""",
            (f"%@{domain}", int(point.state)),
        )
    connection.close()


def is_damaging(point: KillPoint) -> bool:
    return point.state is State.PARKED or point.step is Step.PARK


# --- lives ---


async def live(folder: Path, notes: Notes, mode: str, seed: str, point: KillPoint | None) -> None:
    async with postroad.open_engine(folder / "postroad.toml") as engine:
        if mode == "finish":
            await finish(engine)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operate_for_ever, engine, point, random.Random(seed))
            nursery.start_soon((queue := Queue()).look_for_ever, engine)
            for number in range(SUBMITTERS):
                nursery.start_soon(submit_for_ever, engine, notes, f"{seed}-{number}", point, queue)


def begin(folder: Path, mode: str, seed: str, point_text: str) -> None:
    notes = Notes(folder)
    point = None if point_text == "-" else KillPoint.parse(point_text)
    random.seed(seed)
    repair_and_damage(folder, point)
    with open(folder / "log", "a", encoding="utf-8") as log:
        configure_logging("info", json=True, stream=log)
        watch(point, notes.seen)
        trio.run(live, folder, notes, mode, seed, point)


def fork(folder: Path, mode: str, seed: str, point: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        begin(folder, mode, seed, point)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_for_end(pid: int, commands: io.RawIOBase) -> int:
    """Its status.  Any command, or the end of them, kills it: only here is it certain that the number is still its own."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([commands], [], [], LOOK_SECONDS)[0]:
            commands.readline()
            os.kill(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path) -> None:
    commands = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115  # for the whole life
    while line := commands.readline():
        if not line.strip():
            continue
        pid = fork(folder, *line.decode().split())
        print("begun", flush=True)
        print(wait_for_end(pid, commands), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
