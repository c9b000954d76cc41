"""What lies beside a spool: its place, the lock that lets one writer in, the marks of hand-overs, and files of large contents.

Everything here is synchronous and knows no trio; slow parts (ContentFolder) belong into a worker thread.  The store itself is
behind `store/contract.py`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import msgspec

from .errors import ConfigError, SpoolInUse, StoreError, StoreFull, remedy_of
from .store.contract import ContentPlace

__all__ = ["ContentFolder", "Marks", "SpoolLock", "SpoolPlace", "boot_id", "for_owner", "sync_folder", "write_synced"]

_KEY = "spool.url"
_IN_FILES = frozenset({"sqlite"})  # kinds whose place is a path
_WRITTEN_AT_ONCE = 262_144  # octets: 10 MiB in one call take ext4 five times as much CPU
_UNWRITTEN = ".part"  # ends the name of a content file that is not complete yet; no message id holds a dot


class SpoolPlace(msgspec.Struct, frozen=True):
    """Where a spool is: `rest` is what its store is opened with, `path` its file, None where it is not one."""

    scheme: str
    rest: str
    path: Path | None

    @classmethod
    def parse(cls, url: str, base: Path) -> SpoolPlace:
        """Read `[spool] url`; a relative path counts from `base`, a link is followed.  Makes nothing.

        Raises ConfigError where the URL makes no sense.
        """
        scheme, colon, rest = url.partition(":")
        if not colon or not scheme:
            raise ConfigError(_KEY, f'{url!r} must begin with a kind, such as "sqlite:var/postroad.db"')
        if scheme not in _IN_FILES:
            return cls(scheme, rest, None)
        if not rest or rest == ":memory:":
            raise ConfigError(_KEY, f'{url!r} names no file; "memory:" is the spool that is kept nowhere')
        return cls.at(scheme, base / rest)

    @classmethod
    def at(cls, scheme: str, file: Path) -> SpoolPlace:
        """The place of a file.  Of a link it is the file behind it, so that by any name it has one lock and one log."""
        path = Path(os.path.realpath(file) if os.path.islink(file) else os.path.abspath(file))
        return cls(scheme, str(path), path)

    def make_folder(self) -> None:
        """Have the folder of the spool (mode 0700), durably.  Raises ConfigError where it cannot be made."""
        if self.path is not None:
            _make_folder(self.path.parent)

    @property
    def is_there(self) -> bool:
        """Whether the spool or its lock exists, as far as this user may see; what is kept in no file always does."""
        return self.path is None or _is_there(self.path) or _is_there(self.lock_path)

    @property
    def lock_path(self) -> Path:
        """Only for a spool in a file: nothing else can be locked."""
        if self.path is None:
            raise ConfigError(_KEY, f"a spool of the kind {self.scheme!r} has no lock file")
        return _beside(self.path, ".lock")

    @property
    def socket_path(self) -> Path | None:
        return self.path and _beside(self.path, ".sock")

    @property
    def marks_path(self) -> Path | None:
        return self.path and _beside(self.path, ".marks")

    @property
    def reached_path(self) -> Path | None:
        return self.path and _beside(self.path, ".reached")

    @property
    def reserve_path(self) -> Path | None:
        return self.path and _beside(self.path, ".reserve")

    @property
    def content_folder(self) -> Path | None:
        return self.path and _beside(self.path, ".content")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # in a folder of somebody else
        return True
    return True


def _make_folder(folder: Path) -> None:
    """Have a folder that only its owner may look into, durably; the ones above it as the umask says."""
    try:
        _make_durably(folder, 0o700)
    except OSError as error:
        raise ConfigError(_KEY, f"the folder {folder} cannot be made: {error.strerror}; name another path") from error


def _make_durably(folder: Path, mode: int) -> None:
    """Make it after the one above it is durable, and sync its name even if it is there: who made it may have been killed."""
    if folder.is_dir():
        with contextlib.suppress(PermissionError):  # a folder of somebody else, who lets us pass through it only
            sync_folder(folder.parent)
        return
    _make_durably(folder.parent, 0o777)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SpoolLock:
    """The right to write a spool: an flock on a file beside it, which the kernel takes back when the process ends.

    The file stays; it holds the process id of the owner.  A forked child does not inherit the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise SpoolInUse at once."""
        if self._descriptor is not None:
            raise SpoolInUse(f"this process holds {self.path} already")
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the lock file {self.path} cannot be opened: {remedy_of(error)}") from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held_locks.add(self)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise SpoolInUse(
                f"the spool of {self.path} is in use by process {holder}: only one engine works on a spool; "
                "stop that process, or give this one a spool of its own ([spool] url)"
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be locked: {remedy_of(error)}") from error
        with contextlib.suppress(OSError):  # it is for people; a full disk must not keep anybody out
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give the lock back; without it, nothing happens."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        _held_locks.discard(self)
        with contextlib.suppress(OSError):  # a full disk must not keep the lock
            os.ftruncate(descriptor, 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # at once, even where a fork has a copy that it has not closed yet
        os.close(descriptor)

    def _close_in_child(self) -> None:
        """Close the copy that a fork made; the parent's lock is not touched by that."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> SpoolLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_held_locks: weakref.WeakSet[SpoolLock] = weakref.WeakSet()


def _forget_locks_in_child() -> None:
    for lock in list(_held_locks):
        lock._close_in_child()  # pyright: ignore[reportPrivateUsage]
    _held_locks.clear()


os.register_at_fork(after_in_child=_forget_locks_in_child)


class Marks:
    """Tokens of leases whose hand-over may be complete: a file of one 8-octet number per slot, never synced.

    It survives the death of the process, and says nothing after the machine was restarted.
    """

    _WIDTH = 8

    def __init__(self, path: Path | None, slots: int) -> None:
        self._slots = slots
        self._in_memory = bytearray(self._WIDTH * slots) if path is None else None
        self._descriptor = -1
        if path is not None:
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(f"the marks file {path} cannot be opened: {remedy_of(error)}") from error

    def mark(self, slot: int, token: int) -> None:
        """Note that the lease in this slot begins to hand over."""
        if not 0 <= slot < self._slots:
            raise IndexError(f"slot {slot} is not within 0 to {self._slots - 1}")
        number, start = token.to_bytes(self._WIDTH, "little"), slot * self._WIDTH
        if self._in_memory is not None:
            self._in_memory[start : start + self._WIDTH] = number
        else:
            os.pwrite(self._descriptor, number, start)

    def tokens(self) -> frozenset[int]:
        """Every token found: of this run and, until `reset`, of the one before, however many slots that had."""
        whole = self._whole()
        starts = range(0, len(whole) - self._WIDTH + 1, self._WIDTH)
        return frozenset(int.from_bytes(whole[start : start + self._WIDTH], "little") for start in starts) - {0}

    def _whole(self) -> bytes:
        if self._in_memory is not None:
            return bytes(self._in_memory)
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def reset(self) -> None:
        """Forget all marks, and have the room for all slots on disk: a mark must not fail on a full one."""
        empty = bytes(self._WIDTH * self._slots)
        if self._in_memory is not None:
            self._in_memory[:] = empty
            return
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, empty, 0)
        except OSError as error:
            raise StoreError(f"the marks file cannot be written: {remedy_of(error)}") from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Reserve:
    """A file that only takes room: when the disk is full it is given up, so that what is settled can be written down.

    While it is missing nothing new may be accepted.  octets: 0 keeps none; path None (a spool in memory) neither.
    """

    def __init__(self, path: Path | None, octets: int) -> None:
        self._path = path if octets else None
        self._octets = octets
        self.is_missing = False

    def keep(self) -> bool:
        """Have the file, whole, on the disk; return whether that worked."""
        if self._path is None:
            return True
        try:
            with open(self._path, "ab", opener=for_owner) as file:
                os.posix_fallocate(file.fileno(), 0, self._octets)
        except OSError:
            self.give_up()
            return False
        self.is_missing = False
        return True

    def refusal(self) -> StoreError:
        """The error for what would be accepted while it is missing."""
        return StoreError("the disk is full; nothing is accepted until there is room again")

    def give_up(self) -> None:
        """Give its room back to the disk."""
        if self._path is None:
            return
        self.is_missing = True
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class ContentFolder:
    """Files of contents too large for the store's database, each named by its message's id.  All of it blocks on the disk.

    Without a path it is a temporary folder that goes with this object.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._made = False

    def write(self, id: str, content: bytes) -> ContentPlace:
        """Store a content durably: it is on disk, under its name, when this returns.  Raises StoreError."""
        try:
            folder = self._folder()
            unwritten = folder / (id + _UNWRITTEN)
            try:
                write_synced(unwritten, content)
                unwritten.replace(folder / id)
            except BaseException:
                unwritten.unlink(missing_ok=True)
                raise
            sync_folder(folder)
        except OSError as error:
            raise _not_written(id, error) from error
        return ContentPlace(id)

    def _folder(self) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="postroad-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        elif not self._made:
            _make_durably(self._path, 0o700)
        self._made = True
        return self._path

    def names(self) -> set[str]:
        """Of all contents that are there whole."""
        if self._path is None or not self._path.is_dir():
            return set()
        return {file.name for file in self._path.iterdir() if file.is_file() and file.suffix != _UNWRITTEN}

    def read(self, place: ContentPlace) -> bytes:
        """All of a content.  Raises StoreError where it is gone."""
        try:
            return self.path_of(place).read_bytes()
        except OSError as error:
            raise StoreError(f"the content file {place.name!r} cannot be read: {remedy_of(error)}") from error

    def path_of(self, place: ContentPlace) -> Path:
        if self._path is None or place.name in ("", ".", "..") or "/" in place.name:
            raise StoreError(f"there is no content file {place.name!r}")
        return self._path / place.name

    def delete(self, names: Iterable[str]) -> None:
        """Delete contents that nobody needs any more; missing ones are fine."""
        for name in names:
            with contextlib.suppress(OSError):  # what stays behind is found again as an orphan
                self.path_of(ContentPlace(name)).unlink(missing_ok=True)

    def orphans(self, known: Callable[[str], bool], older_than: float) -> list[str]:
        """Names of files at least `older_than` seconds old that no message knows: their commit never came."""
        if self._path is None or not self._path.is_dir():
            return []
        youngest = time.time() - older_than
        with os.scandir(self._path) as entries:
            old = sorted(entry.name for entry in entries if entry.is_file() and entry.stat().st_mtime <= youngest)
        return [name for name in old if not known(name)]


def _not_written(id: str, error: OSError) -> StoreError:
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
    return kind(f"the content file of {id} cannot be written: {remedy_of(error)}")


def write_synced(path: Path, octets: bytes, *, is_new: bool = False) -> None:
    """Write a file for its owner alone, and sync it, but not its name.  is_new: there must be none yet."""
    with open(path, "xb" if is_new else "wb", opener=for_owner) as file:
        for start in range(0, len(octets), _WRITTEN_AT_ONCE):
            file.write(memoryview(octets)[start : start + _WRITTEN_AT_ONCE])
        file.flush()
        os.fsync(file.fileno())


def for_owner(path: str, flags: int) -> int:
    """An opener for `open`: what it makes may be read by the owner alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def boot_id() -> str:
    """Names this run of the machine; "" where the system does not tell (then every start counts as a new boot)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
