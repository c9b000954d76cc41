"""The reply parser: whole, byte by byte, with trailing bytes; and whatever else a network may bring."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_smtp.reply import MAX_LINE, MAX_LINES, Reply, ReplyError, ReplyParser

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


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_replies_or_one_kind_of_error(pieces: list[bytes]) -> None:
    try:
        replies = _parse(pieces)
    except ReplyError:
        return
    assert all(200 <= reply.code <= 599 and reply.lines and reply.said.isprintable() for reply in replies)


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
