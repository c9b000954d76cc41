"""Content by reference: a bounded cache, the store behind it, files in pieces."""

from __future__ import annotations

import errno
import os
from functools import partial
from zlib import crc32

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from postroad.content import ContentCache, SpoolContent, in_pieces
from postroad.errors import ContentDamaged, StoreError
from postroad.message import Message
from postroad.spool import ContentFolder
from postroad.store.contract import Accept, ContentPlace, NewRecipient
from postroad.store.executor import StoreExecutor
from postroad.store.memory import MemoryStore


@given(st.binary(max_size=10), st.integers(0, 70_000))
def test_pieces_are_all_of_it_in_order_and_small(seed, repeats):
    content = seed * (repeats % 9000 + 1)
    pieces = in_pieces(content)
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= 65_536 for piece in pieces)


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60), st.booleans()), max_size=60))
def test_the_cache_never_holds_more_than_its_limit(limit, story):
    cache = ContentCache(limit)
    for handle, octets, is_put in story:
        if is_put:
            cache.put(handle, bytes(octets))
        else:
            cache.drop(handle)
            assert cache.get(handle) is None
        held = sum(len(cache.get(handle) or b"") for handle in range(10))
        assert held <= limit
        assert cache.free == limit - held


def test_the_oldest_content_goes_first():
    cache = ContentCache(10)
    for handle in (1, 2, 3):
        cache.put(handle, b"1234")
    assert (cache.get(1), cache.get(2), cache.get(3)) == (None, b"1234", b"1234")
    cache.put(4, b"x" * 11)
    assert cache.get(4) is None
    assert cache.get(2) == b"1234"


class Spooled:
    """A spool with one message."""

    def __init__(self, content, tmp_path):
        self.folder = ContentFolder(tmp_path / "contents")
        self.store = MemoryStore()
        size, checksum = len(content), crc32(content)
        if size > 100_000:
            content = self.folder.write("m", content)
        message = Message(id="m", sender="a@example.com", accepted_at=0.0, size=size, checksum=checksum)
        (answer,) = self.store.apply([Accept(message, (NewRecipient("b@example.org", "out", 0.0),), content)])
        self.cache = ContentCache(1000)
        of = partial(SpoolContent, cache=self.cache, executor=StoreExecutor(self.store), path_of=self.folder.path_of)
        self.content = of(answer.handle, message)
        self.handle, self.message = answer.handle, message


SMALL, LARGE = b"Hello", bytes(range(256)) * 1000


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_content_is_read_whole_or_in_pieces(tmp_path, content):
    spooled = Spooled(content, tmp_path)
    assert spooled.content.size == len(content)
    assert spooled.content.read_nowait() is None
    assert await spooled.content.read() == content
    async with spooled.content.chunks() as pieces:
        read = [piece async for piece in pieces]
    assert b"".join(read) == content
    assert max(map(len, read)) <= 65_536


async def test_what_is_at_hand_is_not_read_back(tmp_path):
    spooled = Spooled(SMALL, tmp_path)
    spooled.cache.put(spooled.handle, b"Hello at hand")
    spooled.store.close()
    assert spooled.content.read_nowait() == b"Hello at hand"
    assert await spooled.content.read() == b"Hello at hand"


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_reader_may_stop_early(tmp_path, content):
    spooled = Spooled(content, tmp_path)
    async with spooled.content.chunks() as pieces:
        async for piece in pieces:
            assert content.startswith(piece)
            break


async def test_lost_content_is_a_store_error(tmp_path):
    spooled = Spooled(LARGE, tmp_path)
    spooled.folder.delete(["m"])
    with pytest.raises(ContentDamaged, match="its file is gone"):
        await spooled.content.read()
    assert "gone" in spooled.content.damage
    with pytest.raises(ContentDamaged):
        async with spooled.content.chunks():
            pass


async def test_a_content_whose_file_has_no_possible_name_is_damaged(tmp_path):
    spooled = Spooled(LARGE, tmp_path)
    spooled.store.content = lambda handle: ContentPlace("../m")
    with pytest.raises(ContentDamaged, match="no content file"):
        await spooled.content.read()


@pytest.mark.parametrize("change", [-1, -256_000, 1, 70_000])
async def test_a_content_file_of_another_size_is_a_store_error(tmp_path, change):
    """What a torn write or a careless hand left of a message never passes for the whole, whatever the transport."""
    spooled = Spooled(LARGE, tmp_path)
    (path,) = (found for found in tmp_path.rglob("m*") if found.is_file())
    path.write_bytes(LARGE[:change] if change < 0 else LARGE + bytes(change))
    with pytest.raises(StoreError, match=r"its content is damaged: it has .* octets instead of 256000"):
        await spooled.content.read()
    with pytest.raises(StoreError, match="is damaged"):
        async with spooled.content.chunks() as pieces:
            async for _ in pieces:
                pass


def failing(reads, monkeypatch, *, flags):
    """Have so many reads with these flags fail, and count all of them: what `os.preadv` was called with."""
    seen, preadv, rest = [], os.preadv, iter(range(reads))

    def read(descriptor, buffers, at, given):
        seen.append(given)
        if given == flags and next(rest, None) is not None:
            raise OSError(errno.EIO, "Input/output error")
        return preadv(descriptor, buffers, at, given)

    monkeypatch.setattr(os, "preadv", read)
    return seen


async def test_a_disk_that_fails_while_reading_is_a_store_error(tmp_path, monkeypatch):
    spooled = Spooled(LARGE, tmp_path)

    def refused(*args):
        raise OSError(errno.EAGAIN, "not in memory")

    monkeypatch.setattr(os, "preadv", refused)
    with pytest.raises(StoreError, match="cannot be read"):
        await spooled.content.read()
    assert not spooled.content.damage


async def test_what_the_system_has_in_memory_takes_no_thread_and_the_rest_does(tmp_path, monkeypatch):
    """A read that would wait for the disk says so (preadv2(2)), and must not hold up everybody else."""
    spooled = Spooled(LARGE, tmp_path)
    threads, seen = [], failing(2, monkeypatch, flags=os.RWF_NOWAIT)
    run_sync = trio.to_thread.run_sync

    async def noted(function, *args):
        threads.append(function.__name__)
        return await run_sync(function, *args)

    monkeypatch.setattr(trio.to_thread, "run_sync", noted)
    assert await spooled.content.read() == LARGE
    assert threads == ["_open_compared", "_read_at", "_read_at"]
    assert seen[:4] == [os.RWF_NOWAIT, 0, os.RWF_NOWAIT, 0]
    assert set(seen[4:]) == {os.RWF_NOWAIT}


async def test_where_the_system_cannot_tell_a_thread_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("postroad.content._NOWAIT", None)
    spooled, seen = Spooled(LARGE, tmp_path), failing(0, monkeypatch, flags=0)
    assert await spooled.content.read() == LARGE
    assert set(seen) == {0}


async def test_pieces_are_not_read_after_their_file_was_let_go_of(tmp_path):
    """Its descriptor may be another file's by then."""
    spooled = Spooled(LARGE, tmp_path)
    async with spooled.content.chunks() as pieces:
        await anext(pieces)
    with pytest.raises(ValueError, match="closed"):
        await anext(pieces)


async def test_a_file_is_closed_whatever_becomes_of_its_reader(tmp_path):
    spooled = Spooled(LARGE, tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="the reader"):
        async with spooled.content.chunks() as pieces:
            await anext(pieces)
            raise RuntimeError("the reader")
    with trio.move_on_after(0):
        await spooled.content.read()
    (path,) = (found for found in tmp_path.rglob("m*") if found.is_file())
    path.write_bytes(LARGE[:-1])
    with pytest.raises(ContentDamaged):
        await spooled.content.read()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_reader_of_pieces_can_be_cancelled_between_two(tmp_path):
    spooled = Spooled(LARGE, tmp_path)
    async with spooled.content.chunks() as pieces:
        await anext(pieces)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(pieces)
    assert scope.cancelled_caught


async def test_content_that_the_store_does_not_know_is_a_store_error(tmp_path):
    spooled = Spooled(SMALL, tmp_path)
    lost = SpoolContent(99, spooled.message, spooled.cache, StoreExecutor(spooled.store), lambda place: tmp_path)
    with pytest.raises(StoreError):
        await lost.read()


def test_a_place_cannot_lead_out_of_the_folder(tmp_path):
    folder = ContentFolder(tmp_path)
    for name in ("../x", "a/b", "..", ""):
        with pytest.raises(StoreError):
            folder.path_of(ContentPlace(name))
