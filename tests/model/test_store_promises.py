"""Random lives of both stores: `promised.py` says what must be true in them, `store_machine.py` what is done."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import apsw
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from promise import Letter
from store_machine import StoreMachine, bounded

from postroad.store.memory import MemoryStore
from postroad.store.sqlite import SqliteStore
from postroad.store.states import State

_QUICK = "/dev/shm"  # synced at no cost; power failures have a test of their own
_NAME = "spool.db"
_LOG = f"{_NAME}-wal"


class MemoryMachine(StoreMachine):
    """It lives as long as its process: a crash takes its engine only."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()

    def killed(self) -> None:
        pass


class SqliteMachine(StoreMachine):
    """A killed process leaves the files as they are: they are copied as they stand, and its connections never close them."""

    def __init__(self) -> None:
        super().__init__()
        self._place = Path(tempfile.mkdtemp(dir=_QUICK if Path(_QUICK).is_dir() else None))
        self._lives = 0
        self._open = self.store = SqliteStore(self._path)

    @property
    def _path(self) -> Path:
        folder = self._place / str(self._lives)
        folder.mkdir(exist_ok=True)
        return folder / _NAME

    def killed(self) -> None:
        left, dead = self._path.parent, self._open
        self._lives += 1
        for name in (_NAME, _LOG):
            shutil.copyfile(left / name, self._path.with_name(name))
        dead.close()
        shutil.rmtree(left)
        self._open = self.store = SqliteStore(self._path)

    @rule()
    def restart(self) -> None:
        self._open.close()
        self._open = self.store = SqliteStore(self._path)

    @rule(is_idle=st.booleans())
    def tidy(self, is_idle: bool) -> None:
        self._open.maintain(idle=is_idle)

    @precondition(lambda self: self.promised.letters)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Make a record unreadable: 0xc1 begins nothing in msgpack."""
        letter = data.draw(st.sampled_from(list(self.promised.letters.values())))
        if not letter.is_damaged:
            self._write("UPDATE message SET record = CAST(x'c1' || record AS BLOB) WHERE seq = ?", letter.handle)
            letter.is_damaged = True

    def put_right(self, letter: Letter) -> None:
        self._write("UPDATE message SET record = substr(record, 2) WHERE seq = ?", letter.handle)

    def _write(self, statement: str, handle: int) -> None:
        connection = apsw.Connection(str(self._path))
        connection.execute(statement, (handle,))
        connection.close()

    def teardown(self) -> None:
        try:
            if not any(letter.is_damaged for letter in self.promised.letters.values()):
                said = self.store.check()  # what was parked while it was damaged stays so until somebody releases it
                assert len(said) == self.store.counts().get(State.PARKED, 0)
                assert all(" is parked (" in line for line in said)
        finally:
            self._open.close()
            shutil.rmtree(self._place)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = bounded(25, 40)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = bounded(25, 40)
