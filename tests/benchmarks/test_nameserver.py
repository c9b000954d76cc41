"""The benchmark's DNS server, and the network in which it has port 53."""

from __future__ import annotations

import os
import socket

import dns.message
import pytest

from nameserver import answer
from network import ANY_HOST, own_network


def _asked(name: str, kind: str, *, is_one_host: bool = False) -> list[str]:
    query = dns.message.make_query(name, kind, use_edns=True)
    reply = dns.message.from_wire(answer(query.to_wire(), is_one_host=is_one_host))
    assert query.is_response(reply)
    return [record.to_text() for rrset in reply.answer for record in rrset]


def test_every_domain_has_a_mail_host_with_an_address_of_its_own() -> None:
    assert _asked("d1.sink.example", "MX") == ["10 mx.d1.sink.example."]
    addresses = {_asked(f"mx.d{number}.sink.example", "A")[0] for number in range(1000)}
    assert len(addresses) > 990
    assert all(address.startswith("127.") and not address.startswith("127.0.") for address in addresses)
    assert _asked("mx.d1.sink.example", "A") == _asked("MX.d1.sink.example", "A")
    assert _asked("mx.d1.sink.example", "A", is_one_host=True) == ["127.0.0.1"]


@pytest.mark.parametrize(("name", "kind"), [("mx.d1.example", "AAAA"), ("mx.d1.example", "MX"), ("d1.example", "A")])
def test_there_is_nothing_else(name: str, kind: str) -> None:
    assert _asked(name, kind) == []


def _network() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_network_of_its_own_has_every_address_and_is_left_again() -> None:
    before = _network()
    with own_network() as lacking:
        if lacking:
            pytest.skip(lacking)
        assert _network() != before
        with socket.create_server((ANY_HOST, 25)) as server, socket.create_connection(("127.7.8.9", 25), 5.0):
            accepted, (host, _) = server.accept()
            accepted.close()
            assert host.startswith("127.")
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert _network() == before


def test_it_is_left_after_a_failure_too() -> None:
    before = _network()
    with pytest.raises(ZeroDivisionError), own_network():
        raise ZeroDivisionError
    assert _network() == before


def test_who_may_not_have_one_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("network._NEW_NETWORK", 1)  # nothing that a kernel could give
    before = _network()
    with own_network() as lacking:
        assert "cannot be had here" in lacking
        assert _network() == before
