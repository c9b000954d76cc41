"""kill -9 before and after every step of the state table and at random moments: every promise is kept.

Whoever is killed is the real engine with its real store and transports; what is checked is `postroad.testing.promises`.
"""

from __future__ import annotations

import os
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

from evidence import evidence_of
from kill_points import LEFT_BY, ONCE, POINTS, UNREACHED, KillPoint
from leading_letters import LEADING
from lives import Lives, lives_in
from other_side import OtherSide, listening

from postroad.store.states import TRANSITIONS
from postroad.testing.promises import broken_promises

KILLS = int(os.environ.get("POSTROAD_KILLS", "100"))
KILLS_IN_A_ROUND, RANDOM_KILLS_FIRST = 100, 20  # the points come once a round
REACH_SECONDS = (20.0, 40.0, 60.0)  # what a life gets to its point: half need one on a busy machine
WINDOW = 10
_SWEEP_SECONDS = 7200.0


def write_config(folder: Path, port: int) -> None:
    (folder / "postroad.toml").write_text(
        f"""
[spool]
url = "sqlite:spool/postroad.db"
[senders]
authorized = ["*"]
[reports]
hostname = "engine.test"
[[routes]]
transport = "archive"
recipients = "*@file.example"
[[routes]]
transport = "outbound"
name = "asking"
recipients = "*@ask.example"
in_doubt = "hold"
[[routes]]
transport = "outbound"
[transports.outbound]
plugin = "smtp"
smarthost = "127.0.0.1:{port}"
[transports.archive]
plugin = "file"
folder = "archive"
format = "maildir"
[retry]
first_seconds = 0.05
max_seconds = 0.5
[windows]
max = {WINDOW}
hold_seconds = 0.1
hold_max_seconds = 0.5
"""
    )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def seen_steps(folder: Path) -> set[str]:
    return set((folder / "seen").read_text(encoding="ascii").splitlines())


def kill_at_all_points(lives: Lives, draw: random.Random) -> list[KillPoint]:
    """Each until it was reached, at a later commit first; return those that never were."""
    left = list(POINTS)
    for number, seconds in enumerate(REACH_SECONDS):
        missed: list[KillPoint] = []
        for point in draw.sample(left, len(left)):
            nth = draw.randint(1, 3) if number == 0 and point.transition not in ONCE else 1
            if not reach(lives, replace(point, nth=nth), seconds):
                missed.append(point)
        left = missed
    return left


def reach(lives: Lives, point: KillPoint, seconds: float) -> bool:
    """By a life that finds what the point needs, where that is something that an earlier one left."""
    earlier = LEFT_BY.get(point.transition)
    if earlier:
        lives.kill_at(earlier, f"leaving-{lives.kills}", seconds)
    return lives.kill_at(point, f"point-{lives.kills}", seconds)


def kill_at_random(lives: Lives, until: int, draw: random.Random) -> None:
    while lives.kills < until:
        lives.kill_at_random(f"random-{lives.kills}", draw.random() * 0.2)


def age_contents(folder: Path) -> None:
    """So that the next start takes what no message knows for left behind."""
    old = time.time() - _SWEEP_SECONDS
    for path in (folder / "spool" / "postroad.db.content").iterdir():
        os.utime(path, (old, old))


def test_kills_before_and_after_every_step_break_no_promise(tmp_path: Path) -> None:
    other_side, port, draw = OtherSide(), free_port(), random.Random(1)
    write_config(tmp_path, port)
    (tmp_path / "ledger").touch()
    never = set(POINTS)
    with listening(other_side, port), lives_in(tmp_path) as lives:
        for done in range(0, KILLS, KILLS_IN_A_ROUND):
            kill_at_random(lives, min(done + RANDOM_KILLS_FIRST, KILLS), draw)
            never &= set(kill_at_all_points(lives, draw))
            kill_at_random(lives, min(done + KILLS_IN_A_ROUND, KILLS), draw)
        age_contents(tmp_path)
        lives.finish(60.0 + KILLS)
        evidence = evidence_of(tmp_path, other_side, lives.kills, 4 * WINDOW)
    assert broken_promises(evidence) == []
    assert not never, "points never reached"
    unreachable = {f"{state.name}.{step.name}" for state, step in UNREACHED}
    assert not unreachable & seen_steps(tmp_path), "reached after all: take it off the list of the unreached"
    assert sum(bool(letter.id) for letter in evidence.letters) > lives.kills
    assert other_side.large >= lives.kills // 10, "hardly any content lay in a file of its own"


def test_every_point_comes_from_the_state_table() -> None:
    assert {(point.state, point.step) for point in POINTS} | UNREACHED.keys() == TRANSITIONS.keys()
    assert UNREACHED.keys() <= TRANSITIONS.keys()


def test_every_point_has_letters_that_lead_to_it() -> None:
    assert LEADING.keys() == {point.transition for point in POINTS}
    assert LEFT_BY.keys() <= LEADING.keys()
