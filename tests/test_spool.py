"""The place of a spool, its lock, the marks and the content files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.errors import ConfigError, SpoolInUse, StoreError
from postroad.spool import ContentFolder, Marks, Reserve, SpoolLock, SpoolPlace, boot_id
from postroad.store.contract import ContentPlace


def test_a_relative_place_counts_from_its_base_and_its_folder_is_private(tmp_path: Path) -> None:
    place = SpoolPlace.parse("sqlite:var/mail/postroad.db", tmp_path)
    assert place.path == tmp_path / "var/mail/postroad.db"
    assert place.rest == str(place.path)
    assert list(tmp_path.iterdir()) == [], "reading makes nothing"
    place.make_folder()
    assert stat.S_IMODE((tmp_path / "var/mail").stat().st_mode) == 0o700
    assert place.lock_path == tmp_path / "var/mail/postroad.db.lock"
    assert place.socket_path == tmp_path / "var/mail/postroad.db.sock"
    assert place.marks_path == tmp_path / "var/mail/postroad.db.marks"
    assert place.reached_path == tmp_path / "var/mail/postroad.db.reached"
    assert place.content_folder == tmp_path / "var/mail/postroad.db.content"


def test_an_absolute_place_ignores_the_base(tmp_path: Path) -> None:
    place = SpoolPlace.parse(f"sqlite:{tmp_path}/a.db", Path("/nowhere"))
    assert place.path == tmp_path / "a.db"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_spool_is_that_spool_with_the_same_lock(there: bool, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    if there:
        (tmp_path / "var/real.db").write_bytes(b"")
    (tmp_path / "link.db").symlink_to("var/real.db")
    place = SpoolPlace.parse("sqlite:link.db", tmp_path)
    assert (place.path, place.rest) == (tmp_path / "var/real.db", str(tmp_path / "var/real.db"))
    assert place.lock_path == tmp_path / "var/real.db.lock"


def test_a_place_in_memory_has_no_files() -> None:
    place = SpoolPlace.parse("memory:", Path("/nowhere"))
    assert (place.scheme, place.rest, place.path) == ("memory", "", None)
    assert place.socket_path is place.marks_path is place.reached_path is place.content_folder is None
    with pytest.raises(ConfigError, match="no lock"):
        _ = place.lock_path


@pytest.mark.parametrize("url", ["", "postroad.db", ":x", "sqlite:", "sqlite::memory:"])
def test_a_place_that_makes_no_sense_names_the_setting(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"spool\.url"):
        SpoolPlace.parse(url, tmp_path)


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"spool\.url: the folder .* cannot be made"):
        SpoolPlace.parse("sqlite:file/postroad.db", tmp_path).make_folder()


@pytest.mark.parametrize("there", ["var/a.db", "var/a.db.lock"])
def test_a_spool_is_there_from_its_lock_on(there: str, tmp_path: Path) -> None:
    place = SpoolPlace.parse("sqlite:var/a.db", tmp_path)
    assert not place.is_there
    place.make_folder()
    assert not place.is_there
    (tmp_path / there).touch()
    assert place.is_there
    assert SpoolPlace.parse("memory:", tmp_path).is_there


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with SpoolLock(tmp_path / "lock"), pytest.raises(SpoolInUse, match=f"process {os.getpid()}: .*stop that process"):
        SpoolLock(tmp_path / "lock").acquire()


def test_a_lock_taken_twice_by_one_owner_is_refused(tmp_path: Path) -> None:
    with SpoolLock(tmp_path / "lock") as lock, pytest.raises(SpoolInUse, match="already"):
        lock.acquire()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = SpoolLock(tmp_path / "lock")
    for _ in range(2):
        with lock:
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        assert (tmp_path / "lock").read_text() == ""
    lock.release()


_HOLD = """
import os, pathlib, sys
from postroad.spool import SpoolLock
lock = SpoolLock(pathlib.Path(sys.argv[1]))
lock.acquire()
if "fork" in sys.argv and os.fork():
    os.wait()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_holder_leaves_the_lock_free_even_with_a_forked_child_alive(tmp_path: Path, *, forks: bool) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "lock"), *(["fork"] if forks else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SpoolInUse, match=f"process {holder.pid}"):
            SpoolLock(tmp_path / "lock").acquire()
        holder.kill()
        holder.wait()
    with SpoolLock(tmp_path / "lock"):
        pass


def test_a_forked_child_cannot_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    with SpoolLock(tmp_path / "lock") as lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(SpoolInUse):
            SpoolLock(tmp_path / "lock").acquire()


def test_a_lock_where_no_file_can_be_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SpoolLock(tmp_path / "missing" / "lock").acquire()


@pytest.mark.parametrize("durable", [True, False])
def test_marks_are_kept_by_slot(tmp_path: Path, *, durable: bool) -> None:
    marks = Marks(tmp_path / "marks" if durable else None, 4)
    marks.reset()
    marks.mark(0, 7)
    marks.mark(3, 1 << 60)
    marks.mark(0, 8)
    assert marks.tokens() == {8, 1 << 60}
    marks.reset()
    assert marks.tokens() == frozenset()
    with pytest.raises(IndexError):
        marks.mark(4, 1)
    marks.close()
    marks.close()


def test_marks_outlive_their_process_whatever_the_number_of_slots(tmp_path: Path) -> None:
    before = Marks(tmp_path / "marks", 100)
    before.mark(99, 42)
    before.close()
    after = Marks(tmp_path / "marks", 2)
    assert after.tokens() == {42}
    after.reset()
    assert (tmp_path / "marks").stat().st_size == 16
    after.close()


def test_a_content_file_is_read_back_and_deleted(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path / "content")
    place = folder.write("0abc", b"Subject: x\r\n\r\n")
    assert place == ContentPlace("0abc")
    assert folder.read(place) == b"Subject: x\r\n\r\n"
    assert folder.path_of(place) == tmp_path / "content/0abc"
    assert stat.S_IMODE((tmp_path / "content").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "content/0abc").stat().st_mode) == 0o600
    folder.delete(["0abc", "never-there"])
    assert list((tmp_path / "content").iterdir()) == []
    with pytest.raises(StoreError, match="0abc"):
        folder.read(place)


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "a/b"])
def test_a_content_place_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="no content file"):
        ContentFolder(tmp_path).path_of(ContentPlace(name))


def test_a_failed_content_file_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ContentFolder(tmp_path)
    place = folder.write("0abc", b"before")  # so that it is not the folder that fails

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    for id in ("0abc", "0def"):
        with pytest.raises(StoreError, match=f"{id} cannot be written: Input/output error"):
            folder.write(id, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["0abc"]
    assert folder.read(place) == b"before", "what has the name already is whole until the new one is"


def test_orphans_are_old_files_that_no_message_knows(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    for name in ("known", "lost", "young"):
        folder.write(name, b"x")
    (tmp_path / "torn.part").write_bytes(b"x")
    for name in ("known", "lost", "torn.part"):
        os.utime(tmp_path / name, (1.0, 1.0))
    assert folder.orphans(lambda name: name == "known", 3600.0) == ["lost", "torn.part"]
    folder.delete(folder.orphans(lambda name: name == "known", 3600.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "young"]


def test_contents_without_a_folder_go_with_their_owner() -> None:
    folder = ContentFolder(None)
    assert folder.orphans(lambda name: False, 0.0) == []
    with pytest.raises(StoreError):
        folder.path_of(ContentPlace("0abc"))
    place = folder.write("0abc", b"x")
    path = folder.path_of(place)
    assert folder.read(place) == b"x"
    del folder
    assert not path.exists()


def test_the_boot_id_is_the_same_twice() -> None:
    assert boot_id() == boot_id()


def test_a_reserve_takes_room_until_it_is_given_up(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "spool.db.reserve", 1_000_000)
    assert reserve.keep()
    assert (tmp_path / "spool.db.reserve").stat().st_blocks * 512 >= 1_000_000
    reserve.give_up()
    assert reserve.is_missing
    assert not (tmp_path / "spool.db.reserve").exists()
    assert reserve.keep()
    assert not reserve.is_missing


def test_a_reserve_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "spool.db.reserve", 1 << 60)
    assert not reserve.keep()
    assert reserve.is_missing
    assert list(tmp_path.iterdir()) == []
