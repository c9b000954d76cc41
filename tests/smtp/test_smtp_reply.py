"""The reply parser: whole, byte by byte, with trailing bytes; and whatever else a network may bring."""

from __future__ import annotations

import re
import time
import tracemalloc
from itertools import pairwise
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad_smtp.reply import MAX_LINE, MAX_LINES, MAX_REPLY, Reply, ReplyError, ReplyParser

GOOD = [
    (b"250 Ok\r\n", Reply(250, (b"Ok",))),
    (b"250\r\n", Reply(250, (b"",))),
    (b"250 \r\n", Reply(250, (b"",))),
    (b"220 LF only\n", Reply(220, (b"LF only",))),
    (b"250-a\r\n250-b\r\n250 c\r\n", Reply(250, (b"a", b"b", b"c"))),
    (b"250-\r\n250\r\n", Reply(250, (b"", b""))),
    (b"550 \xff\xfe\x1b[31m\r\n", Reply(550, (b"\xff\xfe\x1b[31m",))),
    (b"550 bare\rcr\r\n", Reply(550, (b"bare\rcr",))),
    (b"599 out of range, but of a class\r\n", Reply(599, (b"out of range, but of a class",))),
]
BAD = [
    b"hello\r\n",
    b"\r\n",
    b"25 Ok\r\n",
    b"2500 Ok\r\n",
    b"150 Ok\r\n",
    b"650 Ok\r\n",
    b"250_Ok\r\n",
    b" 250 Ok\r\n",
    b"250-a\r\n251 b\r\n",
    b"250-a\r\nb\r\n",
    b"\xb2\xb5\xb0 Ok\r\n",
    b"250 " + b"x" * (MAX_LINE + 1) + b"\r\n",
    b"x" * (MAX_LINE + 1),
    b"250-x\r\n" * (MAX_LINES + 1),
]


def _parse(pieces: list[bytes]) -> list[Reply]:
    parser, replies = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


@pytest.mark.parametrize(("data", "reply"), GOOD)
def test_reads_a_reply_that_comes_whole(data: bytes, reply: Reply) -> None:
    assert _parse([data]) == [reply]


@pytest.mark.parametrize(("data", "reply"), GOOD)
def test_reads_a_reply_that_comes_byte_by_byte(data: bytes, reply: Reply) -> None:
    assert _parse([bytes([octet]) for octet in data]) == [reply]


@pytest.mark.parametrize(("data", "reply"), GOOD)
def test_keeps_what_comes_behind_a_reply(data: bytes, reply: Reply) -> None:
    assert _parse([data + b"354 go", b" on\r\n"]) == [reply, Reply(354, (b"go on",))]


@pytest.mark.parametrize("data", BAD)
def test_refuses_what_is_no_reply_whole_and_byte_by_byte(data: bytes) -> None:
    with pytest.raises(ReplyError):
        _parse([data])
    with pytest.raises(ReplyError):
        _parse([bytes([octet]) for octet in data])


@pytest.mark.parametrize("lines", [2, 30, 31, 32])
def test_long_replies_are_the_same_in_one_piece_and_in_several(lines: int) -> None:
    """Up to 31 lines of 2,000 octets are read in one step, and what is longer line by line."""
    for octets in (10, 2000, 2001):
        text = b"x" * octets
        data = b"250-" + b"\r\n250-".join([text] * (lines - 1)) + b"\r\n250 " + text + b"\r\n"
        assert _parse([data]) == _parse([data[:1500], data[1500:]]) == [Reply(250, (text,) * lines)]


def _is_harmless(text: str) -> bool:
    """One line without controls; letters that Unicode does not have yet, which `isprintable` refuses, may stand in it."""
    return len(text.splitlines()) == 1 and not {"Cc", "Cs", "Zl", "Zp"}.intersection(map(category, text))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_replies_or_one_kind_of_error(pieces: list[bytes]) -> None:
    try:
        replies = _parse(pieces)
    except ReplyError:
        return
    assert all(200 <= reply.code <= 599 and reply.lines and _is_harmless(reply.said) for reply in replies)


_REPLY = st.tuples(
    st.integers(200, 599),
    st.lists(st.binary(max_size=30).map(lambda b: b.translate(None, b"\r\n")), min_size=1, max_size=5),
)


def _wire(code: int, lines: list[bytes]) -> bytes:
    marks = [b"-"] * (len(lines) - 1) + [b" "]
    return b"".join(b"%d%s%s\r\n" % (code, mark, line) for mark, line in zip(marks, lines, strict=True))


@given(st.lists(_REPLY, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_where_the_pieces_end_does_not_matter(replies: list[tuple[int, list[bytes]]], cuts: list[int]) -> None:
    data = b"".join(_wire(*reply) for reply in replies)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[start:end] for start, end in pairwise(ends)]
    assert _parse(pieces) == [Reply(code, tuple(lines)) for code, lines in replies]


# --- Any bytes, cut anywhere, beside a second reader that is written for clearness ---

_GOOD_LINE = st.tuples(
    st.sampled_from([b"250", b"250", b"250", b"251", b"550"]),
    st.sampled_from([b"-", b"-", b"-", b" ", b""]),
    st.sampled_from([b"", b"Ok", b"5.1.1 \xff\r\0", b"x" * 2001, b"x" * 4000]),
    st.sampled_from([b"\r\n", b"\n"]),
).map(lambda parts: b"".join(parts) if parts[1] else parts[0] + parts[3])
_FRAGMENT = st.one_of(
    st.sampled_from([b"250 Ok\r\n", b"250-", b"250 ", b"550", b"250", b"2", b"\r\n", b"\n", b"\r", b" ", b"-", b"\0"]),
    st.binary(max_size=6),
    st.sampled_from([MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 2000, 2001]).map(lambda size: b"x" * size),
    st.integers(MAX_LINES - 1, MAX_LINES + 1).map(lambda lines: b"250-x\r\n" * lines),
    st.integers(15, 17).map(lambda lines: (b"250-" + b"x" * 4000 + b"\r\n") * lines),
)


def _second_opinion(data: bytes) -> tuple[list[Reply], bool]:
    """The replies in a stream so far, and whether it is broken."""
    replies, lines = list[Reply](), list[tuple[bytes, bytes]]()
    *whole, rest = data.split(b"\n")
    for line in whole:
        match = re.fullmatch(rb"([2-5][0-9]{2})(|[ -].*)", line.removesuffix(b"\r"), re.DOTALL)
        if len(line) > MAX_LINE or not match or (lines and lines[0][0] != match[1]):
            return replies, True
        lines.append((match[1], match[2][1:]))
        if len(lines) > MAX_LINES or sum(len(text) for _, text in lines) > MAX_REPLY:
            return replies, True
        if match[2][:1] != b"-":
            replies.append(Reply(int(match[1]), tuple(text for _, text in lines)))
            lines = []
    return replies, len(rest) > MAX_LINE


class Stream(RuleBasedStateMachine):
    """A parser that is fed and asked in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.parser, self.fed, self.read = ReplyParser(), b"", list[Reply]()
        self.is_broken = self.is_empty = False

    @precondition(lambda self: not self.is_broken)
    @rule(
        lines=st.lists(_GOOD_LINE, min_size=1, max_size=4).map(b"".join),
        cuts=st.lists(st.integers(0, 5000), max_size=3),
    )
    def feed_lines(self, lines: bytes, cuts: list[int]) -> None:
        ends = sorted({min(cut, len(lines)) for cut in cuts} | {0, len(lines)})
        for start, end in pairwise(ends):
            self.feed(lines[start:end])
            self.ask()

    @precondition(lambda self: not self.is_broken)
    @rule(data=_FRAGMENT)
    def feed(self, data: bytes) -> None:
        self.parser.feed(data)
        self.fed += data
        self.is_empty = False

    @precondition(lambda self: not self.is_broken)
    @rule()
    def ask(self) -> None:
        if self.is_broken:
            return
        try:
            reply = self.parser.next_reply()
        except ReplyError:
            self.is_broken = True
            return
        self.is_empty = reply is None
        self.read += [] if reply is None else [reply]

    @precondition(lambda self: self.is_broken)
    @rule()
    def connect_anew(self) -> None:
        self.begin()

    @invariant()
    def agrees(self) -> None:
        replies, is_broken = _second_opinion(self.fed)
        if self.is_broken:
            assert is_broken
            assert self.read == replies
        elif self.is_empty:
            assert self.read == replies
            assert not is_broken
        else:
            assert self.read == replies[: len(self.read)]


TestStream = Stream.TestCase
TestStream.settings = settings(max_examples=150, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"x", b"250 " + b"x" * 100, b"\r", b"\0" * 4097])
def test_a_line_without_end_is_cut_off_at_its_limit(piece: bytes) -> None:
    parser, fed = ReplyParser(), 0
    with pytest.raises(ReplyError, match="over 4096"):
        for _ in range(2**20 // len(piece)):
            parser.feed(piece)
            fed += len(piece)
            parser.next_reply()
    assert fed <= MAX_LINE + len(piece)


@pytest.mark.parametrize("line", [b"250-x\r\n", b"250-" + b"x" * 4000 + b"\r\n", b"250-\n"])
def test_a_reply_without_end_is_cut_off_at_its_limit(line: bytes) -> None:
    parser, fed = ReplyParser(), 0
    with pytest.raises(ReplyError, match="over 128 lines or 65536 octets"):
        for _ in range(2**20 // len(line)):
            parser.feed(line)
            fed += len(line)
            parser.next_reply()
    assert fed <= min(MAX_LINES * len(line), MAX_REPLY) + len(line) + 4 * MAX_LINES


def test_the_time_grows_with_the_octets_and_not_faster() -> None:
    """A hundred times what it takes; a reader that looks at everything again for each piece takes minutes."""
    started = time.perf_counter()
    assert len(_parse([b"250 Ok\r\n" * 100_000])) == 100_000
    longest = (b"250-" + b"x" * 500 + b"\r\n") * 127 + b"250 x\r\n"
    assert len(_parse([bytes([octet]) for octet in longest])) == 1
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (250, b"2.1.5 Ok", "2.1.5"),
        (550, b"5.1.1 No such user", "5.1.1"),
        (550, b" 5.007.01 padded", "5.7.1"),
        (250, b"5.1.1 class of another reply", ""),
        (550, b"No code", ""),
        (550, b"5.1 too short", ""),
        (550, b"5.1.1.1 too long", ""),
        (421, b"4.3.2", "4.3.2"),
    ],
)
def test_an_enhanced_code_counts_only_if_its_class_is_the_replys(code: int, text: bytes, enhanced: str) -> None:
    assert Reply(code, (text,)).enhanced == enhanced


def test_what_was_said_is_one_printable_line_of_bounded_length() -> None:
    said = Reply(550, (b"\x1b[2J<script>\0", "\u2028\u202e".encode(), b"x" * 3000)).said
    assert said.startswith(r"550 \x1b[2J<script>\x00")
    assert said.isprintable()
    assert len(said) <= 512


def test_what_a_connection_says_again_is_read_as_the_first_time() -> None:
    lines = [
        b"250 ok\r\n",
        b"250 no\r\n",
        b"250 ok\n",
        b"354 ok\r\n",
        b"250-ok\r\n250 ok\r\n",
        b"250 " + b"x" * 300 + b"\r\n",
    ]
    alone = [_parse([line])[0] for line in lines]

    assert _parse([b"".join(lines * 3)]) == alone * 3
    assert _parse([octet.to_bytes(1, "big") for octet in b"".join(lines * 3)]) == alone * 3


def test_a_connection_that_always_says_something_new_takes_no_more_memory_for_it() -> None:
    parser = ReplyParser()
    tracemalloc.start()
    try:
        for number in range(10_000):
            parser.feed(b"250 2.0.0 queued as %d\r\n" % number)
            assert parser.next_reply() is not None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 20_000


def test_a_half_reply_is_something_more() -> None:
    parser = ReplyParser()
    parser.feed(b"250 Ok\r\n")
    assert parser.next_reply() is not None
    assert not parser.has_more
    parser.feed(b"2")
    assert parser.has_more
    parser.feed(b"50-a\r\n")
    assert parser.next_reply() is None
    assert parser.has_more
