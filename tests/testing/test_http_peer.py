"""The scripted HTTP server: each mode does on the wire what it says, and what came is kept."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme

from postroad.testing import HttpMode, HttpPeer, HttpReply

HEAD = b"POST /to/here HTTP/1.1\r\nHost: x\r\nX-Name: caf\xe9\r\nContent-Length: 4\r\n\r\n"
BYE = b"POST /bye HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def said(url: str, octets: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """All that a peer says to this until it closes."""
    host, _, port = url.rpartition("/")[2].partition(":")
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, int(port))
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    async with stream:
        await stream.send_all(octets)
        heard = b""
        while piece := await stream.receive_some(65_536):
            heard += piece
        return heard


def that(**says) -> HttpPeer:
    return HttpPeer(script=lambda _: HttpReply(**says))


async def test_it_answers_on_a_kept_connection_and_keeps_what_came():
    peer = HttpPeer(lambda asked: HttpReply(201 if asked.body else 404, b"<%b>" % asked.body, reason="Well"))
    async with peer.listening() as url:
        heard = await said(url, HEAD + b"body" + BYE)
    assert heard.startswith(b"HTTP/1.1 201 Well\r\nContent-Length: 6\r\n\r\n<body>HTTP/1.1 404 Well\r\n")
    assert [(asked.method, asked.target, asked.body) for asked in peer.taken] == [("POST", "/to/here", b"body")]
    assert peer.asked[0].headers == {"host": "x", "x-name": "caf\xe9", "content-length": "4"}
    assert [asked.target for asked in peer.asked] == peer.heads == ["/to/here", "/bye"]
    assert peer.connections == 1
    assert peer.arrived.is_set()


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        ({"mode": HttpMode.CUT_AFTER}, b""),
        ({"mode": HttpMode.CUT_ANSWER, "body": b"0123"}, b"HTTP/1.1 200 \r\nContent-Length: 4\r\n\r\n01"),
        ({"mode": HttpMode.RAW, "body": b"\xffhello"}, b"\xffhello"),
        ({"mode": HttpMode.EARLY}, b"HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ({"mode": HttpMode.CUT_BEFORE}, b""),
    ],
)
async def test_what_it_says_before_it_closes(says, heard):
    peer = that(**says)
    is_early = says["mode"] in (HttpMode.EARLY, HttpMode.CUT_BEFORE)
    async with peer.listening() as url:
        assert await said(url, HEAD if is_early else HEAD + b"body") == heard
    assert peer.heads == ["/to/here"]
    assert len(peer.asked) == (not is_early)


@pytest.mark.parametrize("mode", [HttpMode.SILENT, HttpMode.DEAF])
async def test_it_says_nothing_for_as_long_as_the_client_waits(mode, autojump_clock):
    peer = that(mode=mode)
    async with peer.listening() as url:
        with trio.move_on_after(1000) as wait:
            await said(url, HEAD + b"body")
        assert wait.cancelled_caught
    assert len(peer.asked) == (mode is HttpMode.SILENT)


async def test_it_takes_its_time_and_says_that_it_is_still_there(autojump_clock):
    peer = that(interim=2, after_seconds=50)
    async with peer.listening() as url, trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(said, url, HEAD + b"body")
        (asked,) = await peer.wait_asked(1)
        assert asked.body == b"body"
        heard = await said(url, BYE)
        assert trio.current_time() - begun == pytest.approx(50, abs=1)
        nursery.cancel_scope.cancel()
    assert heard.count(b"HTTP/1.1 103 ") == 2


async def test_it_speaks_https_and_survives_who_speaks_no_http():
    authority, server, client = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    peer = HttpPeer()
    async with peer.listening(tls=server) as url:
        assert url.startswith("https://127.0.0.1:")
        await said(url, b"\x00\xff\r\n\r\n", client)
        assert (await said(url, BYE, client)).startswith(b"HTTP/1.1 200 ")
    assert peer.connections == 2
