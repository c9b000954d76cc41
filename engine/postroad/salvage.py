"""Saves what can be read of a damaged spool into a new one; what is left of the rest goes into a quarantine folder.

For `postroad salvage`: synchronous, imports no trio, runs while no engine has the spool.  It never writes to the old files.
What is settled stays settled; what an attempt had, and what may be older than it was, is in doubt (`decide/doubt.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec
from msgspec.structs import replace

from .checksum import content_flaw
from .compose.canonical import forbidden_octets
from .errors import SpoolInUse, StoreError
from .spool import ContentFolder, SpoolLock, SpoolPlace, write_synced
from .store.contract import IN_DOUBT, ContentPlace, Recover
from .store.rows import Row, is_torn, recovered, untorn
from .store.sqlite_open import sync_folder
from .store.sqlite_salvage import Letter, NewSpool, OldSpool
from .store.states import ENDS, LEASABLE, State, Step

__all__ = ["Incomplete", "Salvaged", "salvage"]

_OLDER = f"{IN_DOUBT}: its spool was damaged, this may be older than it was"
_UNSAFE = re.compile(r"[^0-9A-Za-z_-]")
_ADDRESSES = 100  # named of one message


class Incomplete(msgspec.Struct, frozen=True):
    """A message that is not whole.  missing: what is; file: what is left of its content, "" where nothing is.

    is_saved: its readable recipients are in the new spool.
    """

    id: str
    sender: str
    recipients: tuple[str, ...]
    missing: str
    is_saved: bool
    file: str = ""


class Salvaged(msgspec.Struct):
    """What was found, and where it is now.

    messages, recipients: in the new spool; of the recipients, how many in which state.  in_doubt: message and address of each
    that may have been delivered already.  torn: damaged pages.  trouble: why some commits may be missing altogether, "" where
    none is.
    """

    messages: int = 0
    recipients: dict[str, int] = {}
    keys: int = 0
    in_doubt: list[tuple[str, str]] = []
    incomplete: list[Incomplete] = []
    torn: int = 0
    trouble: str = ""

    @property
    def is_whole(self) -> bool:
        return not (self.incomplete or self.in_doubt or self.trouble)


def salvage(
    place: SpoolPlace, new: Path, doubt: Callable[[str], Step] = lambda lane: Step.DOUBT, *, is_dry: bool = False
) -> Salvaged:
    """Read the spool at `place` and write what is whole into a new one at `new`; return what came of it.

    doubt: what follows, by lane, where an attempt was under way.  is_dry: only look.  What is left of messages that are not whole
    lies in `new` with ".quarantine" behind its name.  Raises SpoolInUse, and StoreError (also where nothing of a spool is found):
    then there is nothing at `new`.
    """
    if place.path is None or not place.path.is_file():
        raise StoreError(f"there is no spool at {place.path or place.scheme}; name the damaged file with --spool")
    place = SpoolPlace.at(place.scheme, place.path)
    assert place.path is not None
    fresh = SpoolPlace(place.scheme, str(new), new)
    for path in filter(None, (new, fresh.content_folder, _quarantine_of(new), new.with_name(new.name + "-wal"))):
        if os.path.lexists(path) and not is_dry:
            raise StoreError(
                f"{path} is there already; name a new place, or delete it if a salvage that was interrupted left it unfinished"
            )
    try:
        with _locked(place), _reading(place.path) as old:
            work = _Salvage(place, fresh, old, doubt, is_dry=is_dry)
            return work.run()
    except OSError as error:
        raise StoreError(f"the spool {place.path} cannot be saved into {new}: {error}") from error


@contextmanager
def _locked(place: SpoolPlace) -> Generator[None]:
    """Nobody works on the spool meanwhile; where its folder cannot be written, nobody can."""
    lock = SpoolLock(place.lock_path)
    try:
        lock.acquire()
    except SpoolInUse:
        raise
    except StoreError:
        if os.access(place.lock_path.parent, os.W_OK):
            raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _reading(path: Path) -> Generator[OldSpool]:
    old = OldSpool(path)
    try:
        yield old
    finally:
        old.close()


def _quarantine_of(new: Path) -> Path:
    return new.with_name(new.name + ".quarantine")


class _Salvage:
    def __init__(
        self, place: SpoolPlace, fresh: SpoolPlace, old: OldSpool, doubt: Callable[[str], Step], *, is_dry: bool
    ) -> None:
        assert fresh.path is not None
        self._old = old
        self._old_contents = ContentFolder(place.content_folder)
        self._contents = ContentFolder(fresh.content_folder)
        self._content_folder = fresh.content_folder
        self._path = fresh.path
        self._place = place.path
        self._quarantine = _quarantine_of(fresh.path)
        self._recover = Recover(frozenset(), rebooted=True, now=time.time(), doubt=doubt)
        self._new: NewSpool | None = None
        self._is_dry = is_dry
        self._ids: set[str] = set()
        self._files = self._old_contents.names()  # not known to be anybody's
        self._states: Counter[str] = Counter()
        self._done = Salvaged()

    def run(self) -> Salvaged:
        if self._is_dry:
            self._sort()
            return self._done
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._new = NewSpool(self._path)
        try:
            self._sort()
            self._new.finish()
        except apsw.Error as error:
            self._abandon(self._new)
            raise StoreError(f"the new spool {self._path} cannot be written: {error}") from error
        except BaseException:
            self._abandon(self._new)
            raise
        if self._done.incomplete:
            self._write_list()
        return self._done

    def _abandon(self, new: NewSpool) -> None:
        new.abandon()
        for folder in filter(None, (self._content_folder, self._quarantine)):
            shutil.rmtree(folder, ignore_errors=True)

    def _sort(self) -> None:
        letters = self._old.letters
        for handle, content in self._old.contents():
            self._take(letters.pop(handle) if handle in letters else Letter(handle, f"unknown-{handle}"), content)
        while letters:
            letter = letters.pop(next(iter(letters)))
            self._files.discard(letter.file or "")
            self._take(letter, self._from_file(letter) if letter.file else None)
        is_damaged = bool(self._old.torn or self._old.trouble or self._done.incomplete)
        if is_damaged:
            self._put_aside_lost_files()
        for values in self._old.idempotency_keys():
            if (
                is_damaged and values[4] not in self._ids
            ):  # it would answer for mail that is lost, and nobody would send it
                continue
            self._done.keys += 1
            if self._new:
                self._new.add_key(values)
        self._done.recipients = dict(self._states)
        self._done.torn, self._done.trouble = self._old.torn, self._old.trouble
        self._refuse_what_is_none()

    def _refuse_what_is_none(self) -> None:
        """Another program's file, or one of which nothing is left, would make an empty spool that passes for what was saved."""
        is_empty = not self._done.incomplete and bool(self._old.torn or self._old.trouble)
        if not self._done.messages and (is_empty or self._old.is_foreign):
            raise StoreError(f"nothing of a spool is found in {self._place}; name the right file, or restore a backup")

    def _put_aside_lost_files(self) -> None:
        """Contents in files of messages whose row is lost, or that were finished just before."""
        for name in sorted(self._files):
            letter = Letter(0, name, file=name, flaw="its row is lost; its content was in a file of its own")
            self._take(letter, self._from_file(letter))

    def _from_file(self, letter: Letter) -> bytes | None:
        with contextlib.suppress(StoreError):
            return self._old_contents.read(ContentPlace(letter.file or ""))
        return None

    # --- One message ---

    def _take(self, letter: Letter, content: bytes | None) -> None:
        lost = letter.numbers - len(letter.rows)
        self._untear(letter, lost)
        missing = [letter.flaw] if letter.flaw else []
        missing += [f"{lost} of its {letter.numbers} recipients"] if lost > 0 else []
        missing += [f"more recipients than it had: {len(letter.rows)}"] if lost < 0 and not letter.flaw else []
        missing += letter.lost
        owed = letter.needs_content or lost > 0
        flaw = _content_flaw(letter, content) if owed else ""
        is_saved = not letter.flaw and not flaw and bool(letter.rows) and letter.id not in self._ids
        missing += [flaw] if flaw else []
        if letter.id in self._ids:
            missing.append("another message has its id")
        if missing:
            self._put_aside(letter, content, "; ".join(missing), is_saved=is_saved)
        if is_saved:
            self._save(letter, content if letter.needs_content else None, lost)

    def _untear(self, letter: Letter, lost: int) -> None:
        """A recipient that shows an end had none where its message counts more unfinished ones than there are."""
        left = sum(row.state not in ENDS for row, _ in letter.rows.values())
        is_open = left < letter.unfinished - lost
        for number, (row, is_sure) in letter.rows.items():
            if is_torn(row):
                letter.rows[number] = untorn(row, self._recover.doubt, is_open=is_open), is_sure

    def _save(self, letter: Letter, content: bytes | None, lost: int) -> None:
        assert letter.message is not None
        left = sum(row.state not in ENDS for row, _ in letter.rows.values())
        is_counted = letter.unfinished - lost <= left <= letter.unfinished
        is_sure = letter.is_sure and is_counted and not self._old.trouble
        rows = [self._settled(row, is_sure=is_sure and sure) for _, (row, sure) in sorted(letter.rows.items())]
        self._ids.add(letter.id)
        self._done.messages += 1
        self._states.update(row.state.name.lower() for row in rows)
        self._done.in_doubt += [(letter.id, row.address) for row in rows if row.doubted and row.state not in ENDS]
        if self._new:
            placed = self._contents.write(letter.id, content).name if content is not None and letter.file else content
            self._new.add(letter, letter.message, rows, placed, self._recover.now)

    def _settled(self, row: Row, *, is_sure: bool) -> Row:
        """The recipient as it goes on."""
        if row.state is State.LEASED:
            row = recovered(row, self._recover)
        if is_sure or row.state in ENDS or row.state is State.FAILED:
            return replace(row, token=0)
        state = State.HELD if row.state in LEASABLE else row.state
        return replace(row, token=0, state=state, doubted=True, reason=_OLDER)

    # --- Quarantine ---

    def _put_aside(self, letter: Letter, content: bytes | None, missing: str, *, is_saved: bool) -> None:
        file = f"{_UNSAFE.sub('_', letter.id)[:100]}-{letter.handle}.eml" if content is not None else ""
        addresses = [f"{row.address} ({row.state.name.lower()})" for _, (row, _) in sorted(letter.rows.items())]
        about = Incomplete(letter.id, letter.sender, tuple(addresses[:_ADDRESSES]), missing, is_saved, file)
        self._done.incomplete.append(about)
        if content is not None and not self._is_dry:
            self._write(file, content)

    def _write_list(self) -> None:
        self._write("incomplete.json", msgspec.json.format(msgspec.json.encode(self._done.incomplete)))
        sync_folder(self._quarantine)
        sync_folder(self._quarantine.parent)

    def _write(self, name: str, octets: bytes) -> None:
        self._quarantine.mkdir(mode=0o700, exist_ok=True)
        write_synced(self._quarantine / name, octets, is_new=True)


def _content_flaw(letter: Letter, content: bytes | None) -> str:
    """What is wrong with a content that somebody still has to get, "" for nothing."""
    if content is None:
        return "its content"
    message = letter.message
    if message is None:
        return ""
    if flaw := content_flaw(message, content):
        return f"its content is damaged: {flaw}"
    octets = forbidden_octets(content, eight_bit=message.eight_bit)
    return f"its content holds {octets}, as no message does: it was damaged" if octets else ""
