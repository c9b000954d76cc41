"""The power goes at any moment of a spool's life, hundreds of times: nothing acknowledged is lost.

Each life is decided by its seed; a failure names it, and POSTROAD_POWER_SEED=n makes it the first one.  POSTROAD_POWER_CUTS says
how many cuts (`make power CUTS=100000`).  The tests at the end break the promise on purpose: the harness has to notice.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from power_disk import Disk
from power_vfs import mounted
from power_workload import Life, opened

from postroad.errors import StoreError
from postroad.store import sqlite_open
from postroad.store.contract import Accepted
from postroad.testing.store_bench import accept

CUTS = int(os.environ.get("POSTROAD_POWER_CUTS", "1000"))
FIRST_SEED = int(os.environ.get("POSTROAD_POWER_SEED", "1"))
CUTS_PER_LIFE = 5
LIVES_TO_FIND_A_LOSS = 60
_QUICK = "/dev/shm"  # what is synced and what is not, the simulated disk decides


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_QUICK if Path(_QUICK).is_dir() else None) as name:
        yield Path(name)


def test_nothing_acknowledged_is_lost_when_the_power_goes(folder: Path) -> None:
    cuts, seed = 0, FIRST_SEED
    while cuts < CUTS:
        life = Life(seed, CUTS_PER_LIFE, folder).run()
        assert not life.problems, f"POSTROAD_POWER_SEED={seed}, cut {len(life.trace)}: {'; '.join(life.problems[:5])}"
        cuts += len(life.trace)
        seed += 1
    print(f"{cuts} cuts, seeds {FIRST_SEED} to {seed - 1}: nothing lost")


def test_a_life_is_decided_by_its_seed(folder: Path) -> None:
    traces = [Life(FIRST_SEED, CUTS_PER_LIFE, folder / str(turn)).run().trace for turn in range(2)]
    assert traces[0] == traces[1]
    assert Life(FIRST_SEED + 1, CUTS_PER_LIFE, folder).run().trace != traces[0]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_answered_by_a_commit_that_a_kill_left_unsynced_survives(folder: Path, seed: int) -> None:
    """The commit can be read after the kill; handing the same message over again is answered by it."""
    disk = Disk(folder / "disk")

    def cut_in_the_sync(action: str, name: str) -> None:
        if action == "sync" and name.endswith("-wal"):
            disk.cut_at = disk.steps + 1

    with mounted(disk) as connect, pytest.raises(StoreError), opened(disk, connect) as spool:
        disk.trouble = cut_in_the_sync
        spool.store.apply([accept("m1")])
    killed = disk.after_kill(folder / "killed")
    with mounted(killed) as connect, pytest.raises(StoreError), opened(killed, connect) as spool:
        (answer,) = spool.store.apply([accept("m1")])
        assert answer == Accepted("m1", 1, duplicate=True)
        killed.cut_at = killed.steps + 1
    found = killed.after_cut(random.Random(seed), folder / "found")
    with mounted(found) as connect, opened(found, connect) as spool:
        assert spool.store.message("m1") is not None


# --- The harness finds losses: each of these breaks the promise on purpose ---


def with_synchronous_normal(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    settings = tuple(
        pragma.replace("synchronous = FULL", "synchronous = NORMAL") for pragma in sqlite_open._FOR_WRITING
    )
    assert "PRAGMA synchronous = NORMAL" in settings
    patch.setattr(sqlite_open, "_FOR_WRITING", settings)


def without_sync_of_content_files(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    disk.is_deaf_to = lambda name: ".content/" in name


def without_sync_of_the_content_folder(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    disk.is_deaf_to = lambda name: name.endswith(".content")


def without_sync_of_the_spools_folder(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    disk.is_deaf_to = lambda name: name == "var/spool"


def without_sync_of_the_folders_above(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    disk.is_deaf_to = lambda name: name in ("", "var")


@pytest.mark.parametrize(
    "weaken",
    [
        with_synchronous_normal,
        without_sync_of_content_files,
        without_sync_of_the_content_folder,
        without_sync_of_the_spools_folder,
        without_sync_of_the_folders_above,
    ],
)
def test_a_loss_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, weaken: Callable[[pytest.MonkeyPatch, Disk], None]
) -> None:
    assert _find_loss(folder, lambda disk: weaken(monkeypatch, disk), LIVES_TO_FIND_A_LOSS)


def _find_loss(folder: Path, prepare: Callable[[Disk], None], lives: int) -> list[str]:
    for seed in range(1, lives + 1):
        found = [
            text for text in Life(seed, CUTS_PER_LIFE, folder, prepare).run().problems if text.startswith(("I1", "I3"))
        ]
        if found:
            return found
    return []
