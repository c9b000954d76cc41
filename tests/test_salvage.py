"""Saving what can be read of a damaged spool: everything whole, nothing twice, nothing invented, the rest named."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from postroad.config import load_config
from postroad.errors import SpoolInUse, StoreError, StoreFull
from postroad.message import Message
from postroad.offline import open_offline
from postroad.salvage import Salvaged, salvage
from postroad.spool import ContentFolder, SpoolLock, SpoolPlace
from postroad.store.contract import Accept, Filter, IdempotencyKey, NewRecipient, Outcome, Prune, Release, Settle
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.sqlite_carving import Carver
from postroad.store.sqlite_pages import Pages
from postroad.store.states import ENDS, State, Step
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

NOW = 1_700_000_000.0
PAGE = 4096
STEPS = (None, Step.DELIVER, Step.DEFER, Step.DOUBT, Step.FAIL, Step.HOLD, Step.DELIVER, Step.POSTPONE)
MESSAGES = 160


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def content_of(number: int) -> bytes:
    body = hashlib.sha256(str(number).encode()).hexdigest() + "\r\n"
    return (f"Subject: {number}\r\n\r\n" + body * (number % 7 * 40 + 1)).encode()


def filled(store: SqliteStore, contents: ContentFolder) -> None:
    """Messages of several recipients in every state; some contents in files; some messages finished, some pruned long ago."""
    draw = random.Random(1)
    for number in range(1, MESSAGES + 1):
        id, content = f"m{number:04}", content_of(number)
        message = Message(id=id, sender=f"s{number}@example.com", accepted_at=NOW, size=len(content))
        placed = contents.write(id, content) if number % 9 == 0 else content
        steps = [draw.choice(STEPS) for _ in range(number % 5 + 1)]
        if number % 4 == 0:
            steps = [Step.DELIVER] * len(steps)
        to = tuple(NewRecipient(f"r{n}.{number}@example.org", "scripted", NOW, lease=number) for n in range(len(steps)))
        key = IdempotencyKey("a@example.com", id, b"digest", NOW + 1e9) if number % 3 == 0 else None
        store.apply([Accept(message, to, placed, key)])
        outcomes = tuple(
            Outcome(number, number, n, step, due=NOW, reply="said") for n, step in enumerate(steps) if step is not None
        )
        store.apply([Settle(outcomes, NOW)])
        if number in (MESSAGES // 4, MESSAGES // 2):
            store._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)  # the log begins anew behind it
        if number == MESSAGES // 4:
            store.apply([Prune(before=NOW + 1, now=NOW)])  # leaves free pages with old rows


@pytest.fixture(scope="module")
def template(folder: Path) -> Path:
    """A spool whose last commits are in its log only, as a kill leaves it."""
    path = folder / "template" / "spool.db"
    path.parent.mkdir()
    with sqlite_store(str(path), folder=path.parent) as store:
        filled(store, ContentFolder(path.with_name("spool.db.content")))
        killed = folder / "killed"
        shutil.copytree(path.parent, killed)
    return killed / "spool.db"


@pytest.fixture(scope="module")
def truth(template: Path, folder: Path) -> dict[str, dict[str, State]]:
    copied = folder / "truth"
    shutil.copytree(template.parent, copied)
    with sqlite_store(str(copied / "spool.db"), folder=copied) as store:
        return {
            one.message.id: {row.address: row.state for row in one.recipients} for one in store.find(Filter(), 1000)
        }


def states_in(path: Path) -> dict[str, dict[str, State]]:
    with sqlite_store(str(path), folder=path.parent) as store:
        return {
            one.message.id: {row.address: row.state for row in one.recipients} for one in store.find(Filter(), 1000)
        }


def place_of(path: Path) -> SpoolPlace:
    return SpoolPlace.parse(f"sqlite:{path}", path.parent)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def as_it_goes_on(state: State) -> State:
    return State.IN_DOUBT if state is State.LEASED else state


def test_a_sound_spool_is_saved_wholly_and_what_was_leased_is_in_doubt(
    template: Path, truth: Any, folder: Path
) -> None:
    before = digests(template.parent)
    done = salvage(place_of(template), folder / "sound" / "new.db")
    assert digests(template.parent) == before
    assert (done.messages, done.incomplete, done.torn, done.trouble) == (len(truth), [], 0, "")
    assert done.keys == MESSAGES // 3
    saved = states_in(folder / "sound" / "new.db")
    assert saved == {id: {to: as_it_goes_on(state) for to, state in rows.items()} for id, rows in truth.items()}
    with open_offline(place_of(folder / "sound" / "new.db"), load_config({})) as spool:
        assert spool.check() == []
        for one in spool._store.find(Filter(states=tuple(frozenset(State) - ENDS)), 1000):
            found = spool._store.content(one.handle)
            octets = found if isinstance(found, bytes) else spool._contents.read(found)
            assert octets == content_of(int(one.message.id[1:]))


# --- Damage ---


def torn(path: Path, draw: random.Random) -> None:
    """Some sectors of the file zeroed or filled with garbage."""
    whole = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 6)):
        at = 512 * draw.randrange(len(whole) // 512)
        octets = draw.choice((1, 1, 8)) * 512
        whole[at : at + octets] = draw.choice((bytes(octets), draw.randbytes(octets)))[: len(whole) - at]
    path.write_bytes(whole)


def torn_pages(path: Path, draw: random.Random) -> None:
    torn(path, draw)


def a_file_cut_short(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def no_header(path: Path, draw: random.Random) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(draw.choice((16, 100, 4096))))


def a_torn_log(path: Path, draw: random.Random) -> None:
    torn(path.with_name(path.name + "-wal"), draw)


def a_log_cut_short(path: Path, draw: random.Random) -> None:
    a_file_cut_short(path.with_name(path.name + "-wal"), draw)


def damaged_contents(path: Path, draw: random.Random) -> None:
    for file in draw.sample(sorted(path.with_name(path.name + ".content").iterdir()), 5):
        draw.choice((os.unlink, lambda name: os.truncate(name, 10)))(file)


def everything(path: Path, draw: random.Random) -> None:
    for harm in (torn_pages, a_torn_log, damaged_contents):
        harm(path, draw)


HARMS = (torn_pages, a_file_cut_short, no_header, a_torn_log, a_log_cut_short, damaged_contents, everything)


def salvaged(template: Path, folder: Path, harm: Any, seed: int) -> tuple[Salvaged, Path]:
    sick = folder / f"{harm.__name__}-{seed}"
    shutil.copytree(template.parent, sick)
    harm(sick / "spool.db", random.Random(seed))
    before = digests(sick)
    done = salvage(place_of(sick / "spool.db"), sick / "new.db")
    assert {name: digest for name, digest in digests(sick).items() if name in before} == before
    return done, sick / "new.db"


def expect_honest(done: Salvaged, new: Path, truth: dict[str, dict[str, State]]) -> None:
    """Nothing invented, nothing settled is due again without being named, and what is due is sound."""
    saved, in_doubt = states_in(new), set(done.in_doubt)
    named = {one.id for one in done.incomplete}
    for id, rows in saved.items():
        assert id in truth
        assert rows.keys() <= truth[id].keys()
        for address, state in rows.items():
            was = truth[id][address]
            if was in ENDS and state not in ENDS:
                assert (id, address) in in_doubt or state is State.FAILED
            if was not in ENDS:
                assert state not in ENDS
        assert rows.keys() == truth[id].keys() or id in named
    with open_offline(place_of(new), load_config({})) as spool:
        assert spool.check() == []
        for one in spool._store.find(Filter(states=tuple(frozenset(State) - ENDS)), 1000):
            found = spool._store.content(one.handle)
            octets = found if isinstance(found, bytes) else spool._contents.read(found)
            assert len(octets) == one.message.size


class Watched(Pages):
    """Remembers which pages were asked for."""

    asked: set[int]

    def page(self, number: int) -> bytes | None:
        self.asked.add(number)
        return super().page(number)


class Watcher(Carver):
    """Notes on which pages each message lies."""

    def __init__(self, path: Path) -> None:
        self.watched = Watched.__new__(Watched)
        self.watched.asked = set()
        self.watched.__init__(path)
        self.pages: dict[int, set[int]] = {}
        self._leaf = self._bits = 0
        super().__init__(self.watched)
        self.pages.clear()
        for table, columns, bits in (("message", 10, 0), ("recipient", 17, 20), ("content", 2, 0)):
            self._bits = bits
            list(self.rows(table, columns))
        self.watched.close()

    def _rows_on(self, number: int, *, is_sure: bool) -> list[Any]:
        self._leaf = number
        return super()._rows_on(number, is_sure=is_sure)

    def _row(self, page: bytes, cell: int, owner: int) -> Any:
        self.watched.asked.clear()
        found = super()._row(page, cell, owner)
        self.pages.setdefault(found.key >> self._bits, set()).update(self.watched.asked, {self._leaf})
        return found


@pytest.fixture(scope="module")
def watcher(template: Path) -> Watcher:
    return Watcher(template)


def untouched(watcher: Watcher, before: Path, after: Path) -> set[int]:
    """Handles of the messages whose pages in the file are as they were."""
    old, new = before.read_bytes(), after.read_bytes()
    harmed = {
        at // PAGE + 1
        for at in range(0, len(old), PAGE)
        if old[at : at + PAGE] != new[at : at + PAGE] and at // PAGE + 1 not in watcher.watched._frames
    }
    return {handle for handle, pages in watcher.pages.items() if not pages & harmed}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_whatever_the_damage_what_is_saved_is_true_and_what_is_not_is_named(
    template: Path, truth: dict[str, dict[str, State]], watcher: Watcher, folder: Path, harm: Any
) -> None:
    saved = 0
    for seed in range(int(os.environ.get("SALVAGES", "3"))):
        done, new = salvaged(template, folder, harm, seed)
        expect_honest(done, new, truth)
        if harm in (torn_pages, a_file_cut_short, no_header):
            whole = {f"m{handle:04}" for handle in untouched(watcher, template, new.with_name("spool.db"))}
            found = states_in(new)
            assert whole <= found.keys()
            if not done.torn:
                assert found == {id: {to: as_it_goes_on(state) for to, state in truth[id].items()} for id in found}
        saved += done.messages
        shutil.rmtree(new.parent)
    assert saved > 0


def test_recipients_that_their_message_does_not_count_so_are_held_in_doubt(folder: Path) -> None:
    """As a page leaves them that is an older version of itself."""
    path = folder / "older" / "spool.db"
    path.parent.mkdir()
    with sqlite_store(str(path), folder=path.parent) as store:
        content = content_of(1)
        for number, id in enumerate(("m1", "m2"), 1):
            message = Message(id=id, sender="a@example.com", accepted_at=NOW, size=len(content))
            to = tuple(NewRecipient(f"{n}@example.org", "scripted", NOW, lease=number) for n in range(2))
            store.apply([Accept(message, to, content)])
            steps = (Step.DELIVER, Step.DEFER)
            store.apply([Settle(tuple(Outcome(number, number, n, step, due=NOW) for n, step in enumerate(steps)), NOW)])
        store._writer.execute("UPDATE recipient SET state = 0 WHERE place = 1 << 20")
    done = salvage(place_of(path), path.with_name("new.db"))
    assert done.in_doubt == [("m1", "0@example.org"), ("m1", "1@example.org")]
    assert states_in(path.with_name("new.db")) == {
        "m1": {"0@example.org": State.HELD, "1@example.org": State.HELD},
        "m2": {"0@example.org": State.ACCEPTED, "1@example.org": State.WAITING},
    }


def test_one_octet_of_the_log_makes_its_page_torn_and_no_other(template: Path, folder: Path) -> None:
    sick = folder / "octet"
    shutil.copytree(template.parent, sick)
    log = sick / "spool.db-wal"
    whole, at = log.read_bytes(), 32 + 10 * (24 + PAGE)
    log.write_bytes(whole[: at + 500] + bytes([whole[at + 500] ^ 1]) + whole[at + 501 :])
    number = int.from_bytes(whole[at : at + 4], "big")
    pages = Pages(sick / "spool.db")
    assert pages.trouble == "the log is damaged"
    assert pages.torn <= {number}
    pages.close()


def test_a_log_without_its_end_is_noticed_by_the_index_beside_it(template: Path, folder: Path) -> None:
    sick = folder / "end"
    shutil.copytree(template.parent, sick)
    os.truncate(sick / "spool.db-wal", 32 + 20 * (24 + PAGE))
    done = salvage(place_of(sick / "spool.db"), sick / "new.db")
    assert "the log has lost its end" in done.trouble
    assert "waiting" not in done.recipients


def test_a_commit_that_the_log_has_lost_makes_what_is_due_doubtful(
    template: Path, truth: dict[str, dict[str, State]], folder: Path
) -> None:
    """Whole frames gone: which pages are older than they were cannot be known any more."""
    sick = folder / "lost"
    shutil.copytree(template.parent, sick)
    log = sick / "spool.db-wal"
    whole, frame = log.read_bytes(), 24 + PAGE
    frames = (len(whole) - 32) // frame
    for number in random.Random(3).sample(range(1, frames // 2), 4):
        at = 32 + number * frame
        log.write_bytes(whole[:at] + bytes(4 * frame) + whole[at + 4 * frame :])
        done = salvage(place_of(sick / "spool.db"), sick / f"{number}.db")
        assert done.trouble
        expect_honest(done, sick / f"{number}.db", truth)
        assert State.WAITING not in {
            state for rows in states_in(sick / f"{number}.db").values() for state in rows.values()
        }


def test_leaves_that_nothing_leads_to_any_more_are_found_and_what_was_forgotten_does_not_rise_again(
    template: Path, truth: dict[str, dict[str, State]], folder: Path
) -> None:
    folded = folder / "folded"
    shutil.copytree(template.parent, folded)
    with sqlite_store(str(folded / "spool.db"), folder=folded) as store:  # closing it folds the log in
        store.apply([Prune(before=NOW + 1, now=NOW)])
        left = {one.message.id for one in store.find(Filter(), 1000)}
    whole = (folded / "spool.db").read_bytes()
    assert int.from_bytes(whole[36:40], "big") > 3, "there are free pages, with old rows"
    inner = [number for number in range(1, len(whole) // PAGE) if whole[number * PAGE] == 5]
    assert len(inner) >= 3
    for number in inner:
        harmed = whole[: number * PAGE] + bytes(PAGE) + whole[(number + 1) * PAGE :]
        (folded / "spool.db").write_bytes(harmed)
        done = salvage(place_of(folded / "spool.db"), folded / f"{number}.db")
        found = states_in(folded / f"{number}.db")
        assert found == {id: {to: as_it_goes_on(state) for to, state in truth[id].items()} for id in left}
        assert done.torn == 1


async def test_an_engine_on_what_was_saved_delivers_what_is_due_and_nothing_that_was_settled(
    template: Path, truth: dict[str, dict[str, State]], folder: Path
) -> None:
    done, new = salvaged(template, folder, everything, 1)
    with sqlite_store(str(new), folder=new.parent) as store:
        store.apply([Release(Filter(), NOW)])
    transport, saved = ScriptedTransport(), states_in(new)
    due = {to for rows in saved.values() for to, state in rows.items() if state in (State.WAITING, State.IN_DOUBT)}
    calls = sum(bool(due & rows.keys()) + (State.FAILED in rows.values()) for rows in saved.values())
    with trio.fail_after(30):
        async with open_test_engine(transport=transport, spool={"url": f"sqlite:{new}", "socket": False}):
            await transport.wait_ended(calls)
    told = [to for call in transport.calls for to in call.addresses if to.startswith("r")]
    assert sorted(told) == sorted(due)
    ended = {to for rows in truth.values() for to, state in rows.items() if state in ENDS}
    assert due & ended <= {address for _, address in done.in_doubt}


# --- Around it ---


def test_nothing_is_saved_while_an_engine_has_the_spool(template: Path, folder: Path) -> None:
    with SpoolLock(place_of(template).lock_path), pytest.raises(SpoolInUse, match="stop that process"):
        salvage(place_of(template), folder / "inuse.db")


def test_a_place_that_is_taken_is_refused_and_left_alone(template: Path, folder: Path) -> None:
    taken = folder / "taken.db"
    taken.write_bytes(b"mine")
    for place in (taken, template):
        with pytest.raises(StoreError, match="name a new place"):
            salvage(place_of(template), place)
    assert taken.read_bytes() == b"mine"


def test_no_spool_is_an_error_that_says_so(folder: Path) -> None:
    with pytest.raises(StoreError, match="there is no spool"):
        salvage(place_of(folder / "none.db"), folder / "new.db")


def test_a_dry_run_tells_the_same_and_writes_nothing(template: Path, folder: Path) -> None:
    before = digests(folder)
    told = salvage(place_of(template), folder / "dry.db", is_dry=True)
    assert digests(folder) == before
    assert told == salvage(place_of(template), folder / "wet.db")


def test_what_cannot_be_written_leaves_nothing_behind(template: Path, folder: Path, monkeypatch: Any) -> None:
    def full(self: Any, id: str, content: bytes) -> None:
        raise StoreFull("the disk is full; free some room")

    monkeypatch.setattr(ContentFolder, "write", full)
    with pytest.raises(StoreFull, match="free some room"):
        salvage(place_of(template), folder / "full.db")
    assert [path.name for path in folder.iterdir() if path.name.startswith("full")] == []


def changed(template: Path, sick: Path, *statements: str) -> Path:
    """A copy whose rows somebody changed."""
    shutil.copytree(template.parent, sick)
    connection = apsw.Connection(str(sick / "spool.db"))
    for statement in statements:
        connection.execute(statement)
        assert connection.changes()
    connection.close()
    return sick / "spool.db"


def test_a_key_of_a_message_that_is_lost_answers_for_it_no_more(template: Path, folder: Path) -> None:
    sick = changed(template, folder / "key", "UPDATE message SET record = x'00' WHERE id = 'm0123'")
    done = salvage(place_of(sick), folder / "key-saved" / "new.db")
    assert "m0123" in [one.id for one in done.incomplete]
    with open_offline(place_of(folder / "key-saved" / "new.db"), load_config({})) as spool:
        keys = {key for (key,) in spool._store._writer.execute("SELECT key FROM idempotency")}
    assert "m0123" not in keys
    assert "m0120" in keys


def test_contents_in_files_whose_rows_are_lost_are_put_aside_and_named(template: Path, folder: Path) -> None:
    damage = "UPDATE message SET record = x'00' WHERE id = 'm0123'"
    sick = changed(template, folder / "files", "DELETE FROM message WHERE id = 'm0117'", damage)
    done = salvage(place_of(sick), folder / "files-saved" / "new.db")
    (lost,) = [one for one in done.incomplete if one.id == "m0117"]
    assert "its content was in a file of its own" in lost.missing
    assert (folder / "files-saved" / "new.db.quarantine" / lost.file).read_bytes() == content_of(117)
