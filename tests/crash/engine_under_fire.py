"""Processes that are going to be killed: each submits as fast as it may, and writes down what it tries and what is answered.

usage: engine_under_fire.py FOLDER
A line "MODE SEED POINT" on standard input begins a life, by fork, so that a start costs no imports; an empty line kills it.
"begun" and later its status come back on standard output; a life that had ended when it was to be killed leaves the empty line
unread, which is passed over.  `submit` lives until it is killed; `finish` ends by itself once the queue is empty.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import structlog  # noqa: F401  # so that no life has to import it
import trio
from kill_points import KillPoint, watch

import postroad
from postroad.log import configure_logging
from postroad.store import sqlite  # noqa: F401
from postroad.store.contract import Filter
from postroad.store.states import State, Step

SUBMITTERS = 4
LARGE_LINES = 300  # with 1,000 octets each, more than [spool] content_file_bytes: a file of its own
MOST_QUEUED = 80  # so that a backlog of many lives can be drained
PAUSE_SECONDS = 0.02
LOOK_SECONDS = 0.01
SENDER, DEAF_SENDER = "sender@example.com", "deaf@no.example"  # reports to the latter are refused
NEVER = postroad.DsnOptions(notify=("never",))
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


def recipients_of(draw: random.Random) -> list[str]:
    """What a letter is like, by the domains that the other side treats in their own way."""
    if draw.random() < 0.03:
        few = ["ok.example"] * 40 + [
            "no.example",
            "later.example",
            "hold.example",
            "cancel.example",
            "file.example",
        ] * 2
        return [f"r{number}@{domain}" for number, domain in enumerate(few)]
    kinds = (
        ["ok.example"],
        ["ok.example", "no.example", "later.example"],
        ["file.example", "ok.example"],
        ["doubt.example"],
        ["recall.example"],
        ["ask.example"],
        ["hold.example"],
        ["cancel.example"],
    )
    return [f"r{number}@{domain}" for number, domain in enumerate(draw.choice(kinds))]


def content_of(name: str, *, is_large: bool) -> tuple[bytes, str]:
    body = f"letter {name}\r\n".encode() + (b"x" * 998 + b"\r\n") * (LARGE_LINES if is_large else 1)
    head = f"From: {SENDER}\r\nTo: many@example.org\r\nSubject: {name}\r\n\r\n"
    return head.encode() + body, hashlib.sha256(body).hexdigest()[:24]


async def submit_for_ever(engine: postroad.Engine, notes: Notes, name: str) -> None:
    draw = random.Random(name)
    for number in itertools.count():
        content, body = content_of(f"{name}-{number}", is_large=draw.random() < 0.05)
        submission = postroad.Submission(
            sender=DEAF_SENDER if draw.random() < 0.1 else SENDER,
            recipients=recipients_of(draw),
            content=content,
            dsn=NEVER if draw.random() < 0.1 else postroad.DsnOptions(),
        )
        notes.ledger(body=body, sender=submission.sender, recipients=submission.recipients)
        receipt = await engine.submit(submission)
        notes.ledger(body=body, id=receipt.id)
        while (await engine.status()).messages > MOST_QUEUED:  # noqa: ASYNC110  # nothing tells how long a queue is
            await trio.sleep(PAUSE_SECONDS)
        await trio.sleep(0.005)


# --- operating ---

Deed = Callable[[postroad.Engine], Awaitable[object]]


def hold(domain: str, state: State) -> Deed:
    return lambda engine: engine.hold(Filter(domain=domain, states=(state,)))


def cancel(domain: str, state: State) -> Deed:
    return lambda engine: engine.cancel_all(Filter(domain=domain, states=(state,)))


def release(state: State) -> Deed:
    return lambda engine: engine.release(Filter(states=(state,)))


_HOLD_TO_CANCEL = hold("cancel.example", State.WAITING)
DEEDS: dict[tuple[State, Step], tuple[Deed, ...]] = {
    (State.WAITING, Step.HOLD): (hold("hold.example", State.WAITING),),
    (State.IN_DOUBT, Step.HOLD): (hold("doubt.example", State.IN_DOUBT),),
    (State.HELD, Step.RELEASE): (hold("hold.example", State.WAITING), release(State.HELD)),
    (State.WAITING, Step.CANCEL): (cancel("cancel.example", State.WAITING),),
    (State.LEASED, Step.CANCEL): (cancel("cancel.example", State.LEASED),),
    (State.HELD, Step.CANCEL): (_HOLD_TO_CANCEL, cancel("cancel.example", State.HELD)),
    (State.IN_DOUBT, Step.CANCEL): (cancel("recall.example", State.IN_DOUBT),),
    (State.HELD, Step.DELIVER): (lambda engine: engine.take_as_delivered(Filter(domain="ask.example")),),
    (State.PARKED, Step.CANCEL): (cancel("cancel.example", State.PARKED),),
    (State.PARKED, Step.SALVAGE): (release(State.PARKED),),
}
_ALL_DEEDS = [deed for deeds in DEEDS.values() for deed in deeds]


async def operate_for_ever(engine: postroad.Engine, point: KillPoint | None, draw: random.Random) -> None:
    """An operator who interferes: with what the point needs, or with everything by turns."""
    wanted = DEEDS.get((point.state, point.step), ()) if point else ()
    while True:
        for deed in wanted or (draw.choice(_ALL_DEEDS),):
            await deed(engine)
        await trio.sleep(PAUSE_SECONDS)


async def finish(engine: postroad.Engine) -> None:
    while (await engine.status()).messages:  # what is deferred may be cancelled, what is held again released
        await engine.release(Filter(states=(State.HELD, State.PARKED)))
        await engine.cancel_all(Filter(domain="cancel.example"))
        await trio.sleep(0.1)


# --- damage ---


def repair_and_damage(folder: Path, *, is_damaging: bool) -> None:
    """Put right what an earlier life damaged; make some other records unreadable: 0xc1 begins nothing in msgpack."""
    path = folder / "spool" / "postroad.db"
    if not path.exists():
        return
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the engine shall find the log as it was left
    connection.execute("UPDATE message SET record = substr(record, 2) WHERE substr(record, 1, 1) = x'c1'")
    for domain in DAMAGED if is_damaging else ():
        connection.execute(
            """UPDATE message SET record = CAST(x'c1' || record AS BLOB) WHERE numbers = 1 AND seq IN (
                SELECT place >> 20 FROM recipient WHERE state IN (0, 1, 2) AND address LIKE ? ORDER BY random() LIMIT 8)""",
            (f"%@{domain}",),
        )
    connection.close()


def is_damaging(point: KillPoint | None) -> bool:
    return point is not None and (point.state is State.PARKED or point.step is Step.PARK)


# --- lives ---


async def live(folder: Path, notes: Notes, mode: str, seed: str, point: KillPoint | None) -> None:
    async with postroad.open_engine(folder / "postroad.toml") as engine:
        if mode == "finish":
            await finish(engine)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operate_for_ever, engine, point, random.Random(seed))
            for number in range(SUBMITTERS):
                nursery.start_soon(submit_for_ever, engine, notes, f"{seed}-{number}")


def begin(folder: Path, mode: str, seed: str, point_text: str) -> None:
    notes = Notes(folder)
    point = None if point_text == "-" else KillPoint.parse(point_text)
    random.seed(seed)
    repair_and_damage(folder, is_damaging=is_damaging(point))
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
