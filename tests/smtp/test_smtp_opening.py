"""Opening a connection: Happy Eyeballs over real sockets, sources, unix sockets, and trouble of this machine's own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from smtp_plan import Plan, send
from smtp_wide import open_wide
from trio.testing import MockClock

from postroad.testing import make_request
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope
from postroad_smtp import smtp_transport
from postroad_smtp.plain import connect

ACCEPTED, DEFERRED, POSTPONED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.POSTPONED
ZONE: dict[str, Any] = {
    "example.org": {"MX": ["10 mx.example.org."]},
    "mx.example.org": {"AAAA": ["::1"], "A": ["127.0.0.1"]},
    "v4.example": {"MX": ["10 mx4.example.org."]},
    "mx4.example.org": {"A": ["127.0.0.1"]},
    "v6.example": {"MX": ["10 mx6.example.org."]},
    "mx6.example.org": {"AAAA": ["::1"]},
}


def _has_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_host_whose_ipv6_is_dead_gets_its_mail_by_ipv4() -> None:
    async with open_wide(ZONE) as wide:
        verdict = await wide.send("example.org")
        assert verdict.disposition is ACCEPTED
        assert verdict.remote.startswith("mx.example.org [127.0.0.1]:")


@pytest.mark.skipif(not _has_v6(), reason="this machine has no ::1")
async def test_a_host_that_listens_to_both_gets_its_mail_by_ipv6() -> None:
    async with open_wide(ZONE, host="::1") as wide:
        verdict = await wide.send("example.org")
        assert verdict.remote.startswith("mx.example.org [::1]:")


async def test_a_smarthost_may_have_our_own_name() -> None:
    """Such as the machine's own mail server, which the configuration names."""
    peer = SmtpPeer(Behaviour({"EHLO": "250 host.example.com"}))
    async with peer.listening() as (host, port):
        table = {"smarthost": f"{host}:{port}", "helo": "host.example.com"}
        async with smtp_transport(table) as transport:
            assert (await transport.deliver(make_request()))[0].disposition is ACCEPTED


async def test_a_smarthost_by_name_is_reached_by_the_family_that_works() -> None:
    peer = SmtpPeer()
    async with peer.listening() as (_, port), smtp_transport({"smarthost": f"localhost:{port}"}) as transport:
        (verdict,) = await transport.deliver(make_request())
    assert verdict.disposition is ACCEPTED
    assert verdict.remote == f"localhost [127.0.0.1]:{port}"


# --- By a plan ---


V6, V4, MORE_V6, MORE_V4 = "2606:4700::1", "8.8.8.1", "2606:4700::2", "8.8.8.2"


async def test_addresses_are_started_in_turns_and_the_first_answer_wins(autojump_clock: MockClock) -> None:
    plan = Plan({"mx.example.org": [V6, MORE_V6, V4]}, {V6: 100, V4: 100, MORE_V6: 0.0625})
    async with plan.running(SmtpPeer()) as transport:
        verdict = await send(transport)
        assert verdict.remote == f"mx.example.org [{MORE_V6}]:25"
        assert plan.dialled == [(V6, 0.0), (V4, 0.25), (MORE_V6, 0.5)]


async def test_an_address_that_was_overtaken_comes_later_the_next_time(autojump_clock: MockClock) -> None:
    plan = Plan({"mx.example.org": [V6, V4]}, {V6: 100, V4: 0.0625})
    async with plan.running(SmtpPeer(), messages_per_session=1) as transport:
        for _ in range(3):
            assert (await send(transport)).disposition is ACCEPTED
        assert [address for address, _ in plan.dialled] == [V6, V4, V4, V4]


async def test_an_address_that_lost_is_tried_when_the_winner_is_unwilling(autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({"CONNECT": [Cut(), "220 peer.example ESMTP"]}))
    plan = Plan({"mx.example.org": [V6, V4]}, {V6: 0.5, V4: 0.0})
    async with plan.running(peer) as transport:
        verdict = await send(transport)
        assert verdict.remote == f"mx.example.org [{V6}]:25"
        assert [address for address, _ in plan.dialled] == [V6, V4, V6]


async def test_a_server_that_died_at_ehlo_is_greeted_with_ehlo_when_it_is_back(autojump_clock: MockClock) -> None:
    """With HELO it would offer nothing: mail that needs 8BITMIME would be bounced."""
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), ACCEPT]}))
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    plan = Plan({"mx.example.org": [V4]}, {V4: [0.0, refused, 0.0]})
    async with plan.running(peer) as transport:
        assert (await send(transport)).disposition is DEFERRED
        await trio.sleep(60)
        assert (await send(transport)).disposition is ACCEPTED
        assert [each.commands[0] for each in peer.connections] == ["EHLO client.example"] * 2


async def test_refused_addresses_do_not_take_part(autojump_clock: MockClock) -> None:
    plan = Plan({"mx.example.org": ["fe80::1", "::ffff:127.0.0.1", "10.0.0.1", "127.0.0.1", V4]}, {V4: 0.0})
    async with plan.running(SmtpPeer()) as transport:
        assert (await send(transport)).disposition is ACCEPTED
        assert plan.dialled == [(V4, 0.0)]


async def test_no_more_than_five_addresses_are_tried_and_three_of_one_host(autojump_clock: MockClock) -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    hosts = {f"mx{number}.example.org": [f"8.8.{number}.{last}" for last in range(6)] for number in range(1, 4)}
    plan = Plan(dict(hosts), {address: refused for found in hosts.values() for address in found})
    async with plan.running(SmtpPeer()) as transport:
        verdict = await send(transport)
        assert (verdict.disposition, verdict.status, verdict.scope) == (DEFERRED, "4.4.1", Scope.SITE)
        assert verdict.remote == "mx1.example.org [8.8.1.0]:25"
        assert [address for address, _ in plan.dialled] == ["8.8.1.0", "8.8.1.1", "8.8.1.2", "8.8.2.0", "8.8.2.1"]


async def test_no_more_than_two_servers_are_spoken_to(autojump_clock: MockClock) -> None:
    hosts = {f"mx{number}.example.org": [f"8.8.8.{number}"] for number in range(1, 4)}
    plan = Plan(dict(hosts), {address: 0.0 for (address,) in hosts.values()})
    async with plan.running(SmtpPeer(Behaviour({"CONNECT": "421 4.3.2 Busy"}))) as transport:
        verdict = await send(transport)
        assert (verdict.reply, verdict.remote) == ("421 4.3.2 Busy", "mx1.example.org [8.8.8.1]:25")
        assert [address for address, _ in plan.dialled] == ["8.8.8.1", "8.8.8.2"]


async def test_each_address_has_its_own_time(autojump_clock: MockClock) -> None:
    plan = Plan({"mx.example.org": [V6, V4]}, {V6: 100, V4: 100})
    async with plan.running(SmtpPeer(), connect_seconds=10.0) as transport:
        verdict = await send(transport)
        assert verdict.reply == "cannot connect: no answer within 10 seconds"
        assert trio.current_time() == 10.25


async def test_a_machine_without_ipv6_delivers_by_ipv4(autojump_clock: MockClock) -> None:
    """Where IPv6 is switched off the system says that it has no address, which says nothing about the next one."""
    absent = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    for order in ({V6: absent, V4: 0.0}, {V6: OSError(errno.ENETUNREACH, "Network is unreachable"), V4: 0.0}):
        async with Plan({"mx.example.org": [V6, V4]}, dict(order)).running(SmtpPeer()) as transport:
            assert (await send(transport)).disposition is ACCEPTED


async def test_no_own_address_at_all_postpones_and_a_dead_server_beside_it_defers(autojump_clock: MockClock) -> None:
    absent, refused = OSError(errno.EADDRNOTAVAIL, "Cannot assign"), ConnectionRefusedError(errno.ECONNREFUSED, "No")
    for plan, expected in (({V6: absent, V4: absent}, POSTPONED), ({V6: absent, V4: refused}, DEFERRED)):
        async with Plan({"mx.example.org": [V6, V4]}, dict(plan)).running(SmtpPeer()) as transport:
            assert (await send(transport)).disposition is expected


async def test_without_descriptors_nothing_more_is_tried(autojump_clock: MockClock) -> None:
    full = OSError(errno.EMFILE, "Too many open files")
    plan = Plan({"mx1.example.org": [V4], "mx2.example.org": [MORE_V4]}, {V4: full, MORE_V4: 0.0})
    async with plan.running(SmtpPeer()) as transport:
        verdict = await send(transport)
        assert (verdict.disposition, verdict.scope) == (POSTPONED, Scope.LOCAL)
        assert [address for address, _ in plan.dialled] == [V4]


# --- Sources ---


@asynccontextmanager
async def _seeing(host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[str], SmtpPeer]]:
    """A peer, and where each connection to it comes from."""
    peer, seen = SmtpPeer(), list[str]()

    async def serve(stream: trio.SocketStream) -> None:
        seen.append(stream.socket.getpeername()[0])
        await peer.serve(stream)

    listeners = await trio.open_tcp_listeners(0, host=host)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1], seen, peer
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.3"])
async def test_mail_leaves_from_the_source_address(source: str) -> None:
    async with (
        _seeing() as (port, seen, _),
        smtp_transport({"smarthost": f"127.0.0.1:{port}", "source_addresses": [source]}) as transport,
    ):
        assert (await transport.deliver(make_request()))[0].disposition is ACCEPTED
    assert seen == [source]


async def test_two_transports_may_leave_from_two_addresses() -> None:
    async with _seeing() as (port, seen, _):
        for source in ("127.0.0.2", "127.0.0.3"):
            async with smtp_transport({"smarthost": f"127.0.0.1:{port}", "source_addresses": [source]}) as transport:
                assert (await transport.deliver(make_request()))[0].disposition is ACCEPTED
    assert seen == ["127.0.0.2", "127.0.0.3"]


async def test_a_family_without_a_source_is_not_used() -> None:
    async with open_wide(ZONE, source_addresses=["127.0.0.2"], host="127.0.0.1") as wide:
        assert (await wide.send("example.org")).remote.startswith("mx.example.org [127.0.0.1]:")
        verdict = await wide.send("v6.example")
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.4.4")
        assert "source_addresses" in verdict.reply


async def test_a_source_that_this_machine_lacks_postpones_and_says_so() -> None:
    async with open_wide(ZONE, source_addresses=["192.0.2.77"]) as wide:
        for _ in range(3):  # and is not held against the server
            verdict = await wide.send("v4.example")
            assert (verdict.disposition, verdict.scope) == (POSTPONED, Scope.LOCAL)
            assert "this machine has no address 192.0.2.77 (source_addresses)" in verdict.reply


async def test_a_source_of_one_family_that_is_missing_leaves_the_other() -> None:
    async with open_wide(ZONE, source_addresses=["2001:db8::77", "127.0.0.2"]) as wide:
        assert (await wide.send("example.org")).disposition is ACCEPTED


# --- Unix sockets ---


@asynccontextmanager
async def _on_unix(peer: SmtpPeer, path: Path) -> AsyncIterator[str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
            await nursery.start(trio.serve_listeners, peer.serve, [listener])
            yield f"unix:{path}"
            nursery.cancel_scope.cancel()


async def test_a_smarthost_may_be_a_unix_socket(tmp_path: Path) -> None:
    peer = SmtpPeer(Behaviour(extensions=("PIPELINING", "STARTTLS")))
    async with _on_unix(peer, tmp_path / "sock") as place, smtp_transport({"smarthost": place}) as transport:
        assert not transport.capabilities.by_domain
        for _ in range(2):
            (verdict,) = await transport.deliver(make_request())
            assert (verdict.disposition, verdict.remote, verdict.site) == (ACCEPTED, place, place)
            assert verdict.tls == "none"
        assert len(peer.connections) == 1
        assert not any("STARTTLS" in command for command in peer.connections[0].commands)


async def test_tls_over_a_unix_socket_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    async with (
        _on_unix(SmtpPeer(), tmp_path / "sock") as place,
        smtp_transport({"smarthost": place, "tls": "required"}) as transport,
    ):
        (verdict,) = await transport.deliver(make_request())
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.7.4")


@pytest.mark.parametrize("exists", [False, True])
async def test_a_unix_socket_where_nobody_listens_defers(tmp_path: Path, *, exists: bool) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as sock:
        if exists:
            sock.bind(str(path))
        before = set(os.listdir("/proc/self/fd"))
        async with smtp_transport({"smarthost": f"unix:{path}"}) as transport:
            (verdict,) = await transport.deliver(make_request())
        assert (verdict.disposition, verdict.status, verdict.remote) == (DEFERRED, "4.4.1", f"unix:{path}")
        assert set(os.listdir("/proc/self/fd")) == before


async def test_a_full_backlog_of_a_unix_socket_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = await connect(path, 0)
        with trio.move_on_after(3) as scope:
            await connect(path, 0)
        assert scope.cancelled_caught
        with pytest.raises(BlockingIOError):
            await connect(path, 0)  # after ten seconds
        listener.accept()[0].close()
        second = await connect(path, 0)
        for stream in (first, second):
            await stream.aclose()


async def test_a_server_that_does_not_greet_leaves_its_time_behind(autojump_clock: MockClock) -> None:
    """Over a stream that takes a task to close: the next host has a time of its own."""
    plan = Plan({"mx1.example.org": ["9.9.9.1"], "mx2.example.org": ["9.9.9.2"]}, {"9.9.9.1": 0, "9.9.9.2": 1})
    peers = {"9.9.9.1": SmtpPeer(Behaviour({"CONNECT": Silence()})), "9.9.9.2": SmtpPeer()}
    async with plan.running(peers, greeting_seconds=7) as transport:
        assert (await send(transport)).disposition is ACCEPTED
    assert [address for address, _ in plan.dialled] == ["9.9.9.1", "9.9.9.2"]
