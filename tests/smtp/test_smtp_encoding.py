"""Content for the wire: nothing that ends it early gets through, and nothing is sent that is not what was accepted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.errors import StoreError
from postroad_smtp.emit import Unsafe
from postroad_smtp.encoding import ChunkEncoder, ContentEncoder, encode_content


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"\r\n\r\n..\r\n", b"\r\n\r\n...\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_and_the_end_is_one_dot(content: bytes, wire: bytes) -> None:
    assert encode_content(content, eight_bit=False) == wire


SMUGGLING = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
]  # fmt: skip


@pytest.mark.parametrize("sequence", SMUGGLING)
def test_the_nine_smuggling_sequences_never_leave(sequence: bytes) -> None:
    content = b"Subject: x\r\n\r\nbody" + sequence + b"MAIL FROM:<evil@example.com>\r\n"
    with pytest.raises(Unsafe):
        encode_content(content, eight_bit=False)
    for size in (1, 2, 3, 7):
        with pytest.raises(Unsafe):
            _in_pieces(content, size)


@pytest.mark.parametrize("bad", [b"a\rb\r\n", b"a\nb\r\n", b"a\r", b"a\n", b"\0\r\n", b"x" * 999 + b"\r\n", b"x" * 999])
def test_content_that_is_not_canonical_is_refused(bad: bytes) -> None:
    with pytest.raises(Unsafe):
        encode_content(b"ok\r\n" + bad, eight_bit=True)
    with pytest.raises(Unsafe):
        _in_pieces(b"ok\r\n" + bad, 5)


def test_a_line_of_998_octets_is_allowed_wherever_the_pieces_end() -> None:
    content = b"a\r\n" + b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n" + b"z" * 998
    for size in (1, 2, 997, 998, 999, 1000, 1001, 1003):
        assert _in_pieces(content, size) == encode_content(content, eight_bit=False)


@pytest.mark.parametrize("size", [5, 7])
def test_a_content_that_is_not_as_long_as_it_was_never_gets_its_end(size: int) -> None:
    """What a damaged spool has left of a message must not pass for the whole; nor a line more, which a chunk has no room for."""
    for encoder in (ContentEncoder(size, eight_bit=False), ChunkEncoder(size, eight_bit=False)):
        with pytest.raises(StoreError, match="damaged"):
            for piece in (b"abc\r", b"\n."):
                list(encoder.feed(piece))
            encoder.finish()


def test_octets_over_127_need_to_be_announced() -> None:
    assert encode_content(b"\xe4\r\n", eight_bit=True) == b"\xe4\r\n.\r\n"
    with pytest.raises(Unsafe, match="7-bit"):
        encode_content(b"\xe4\r\n", eight_bit=False)


def _in_pieces(content: bytes, size: int) -> bytes:
    encoder = ContentEncoder(len(content), eight_bit=True)
    parts = [encoder.feed(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join([*parts, encoder.finish()])


def _wire_or_none(encode: Callable[[], bytes]) -> bytes | None:
    try:
        return encode()
    except Unsafe:
        return None


@pytest.mark.parametrize("length", range(6))
def test_every_short_content_fares_the_same_whole_and_in_pieces(length: int) -> None:
    for octets in itertools.product(b"\r\n.x\0\xe4", repeat=length):
        content = bytes(octets)
        whole = _wire_or_none(lambda content=content: encode_content(content, eight_bit=True))
        assert whole == _wire_or_none(lambda content=content: _in_pieces(content, 2)), content


_TEXT = st.lists(st.sampled_from([b".", b"..", b".x", b"", b"abc", b"\xe4", b"x" * 998]), max_size=30).map(b"\r\n".join)


@given(_TEXT, st.integers(1, 1200))
def test_pieces_give_the_same_bytes_as_the_whole_and_the_dots_come_off_again(text: bytes, size: int) -> None:
    wire = encode_content(text, eight_bit=True)
    assert _in_pieces(text, size) == wire
    *lines, dot, rest = wire.split(b"\r\n")
    assert (dot, rest) == (b".", b"")
    assert b"." not in lines
    undone = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert undone == text.removesuffix(b"\r\n")


_PARTS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n.", b"a", b".", b"\r", b"\n", b"\0", b"\xe4", b"x" * 997])


@given(
    st.lists(_PARTS, max_size=12).map(b"".join), st.lists(st.integers(1, 1500), min_size=1, max_size=12), st.booleans()
)
def test_wherever_pieces_end_what_is_sent_is_the_same(content: bytes, sizes: list[int], eight_bit: bool) -> None:
    whole = _wire_or_none(lambda: encode_content(content, eight_bit=eight_bit))
    ends = [0, *itertools.accumulate(itertools.islice(itertools.cycle(sizes), len(content)))]
    pieces = [content[start:end] for start, end in itertools.pairwise(ends) if start < len(content)]
    encoder = ContentEncoder(len(content), eight_bit=eight_bit)
    assert whole == _wire_or_none(lambda: b"".join([*map(encoder.feed, pieces), encoder.finish()]))


@pytest.mark.parametrize("bad", [b"\n", b"\r", b"\0", b"\xe4", b"a\nb\rc", b"\n\r\n", b"x" * 999, b"x" * 999 + b"\r\n"])
def test_one_bad_octet_anywhere_in_a_long_piece_is_found(bad: bytes) -> None:
    line = b"y" * 70 + b"\r\n"
    for content in (
        bad + line * 900,
        line * 450 + bad + line * 450,
        line * 900 + bad,
        line * 450 + b"yy" + bad + line * 9,
    ):
        with pytest.raises(Unsafe):
            list(_sent(ContentEncoder(len(content) + 2, eight_bit=False), b"ok" + content))


@pytest.mark.parametrize("seam", [b"\r\n", b"\r\n.", b"x" * 990])
def test_a_line_goes_on_in_the_next_piece(seam: bytes) -> None:
    """How much of it there was before counts, and a dot is doubled at a line's beginning alone."""
    lines = (b"y" * 70 + b"\r\n") * 900
    content = lines + seam + lines
    for cut in range(len(lines), len(lines) + len(seam) + 1):
        if seam == b"x" * 990:
            with pytest.raises(Unsafe):
                list(_sent(ContentEncoder(len(content), eight_bit=False), content[:cut], content[cut:]))
        else:
            sent = list(_sent(ContentEncoder(len(content), eight_bit=False), content[:cut], content[cut:]))
            assert b"".join(sent) == encode_content(content, eight_bit=False)


def _sent(encoder: ContentEncoder, *pieces: bytes) -> Iterator[bytes]:
    yield from map(encoder.feed, pieces)
    yield encoder.finish()


@given(st.binary(max_size=200))
def test_any_bytes_are_sent_as_they_are_or_refused(content: bytes) -> None:
    try:
        wire = encode_content(content, eight_bit=True)
    except Unsafe:
        return
    assert wire.count(b"\r\n.\r\n") + wire.startswith(b".\r\n") == 1
    assert wire.replace(b"\r\n", b"").find(b"\n") < 0
