"""The counting sink, as clients see it: it is the judge of the benchmark, so it must not miscount."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Family
from sinks import CountingSink, FolderSink
from workload import Template

_ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    with family.ended_at_exit():
        yield family


@pytest.fixture
def sink(family: Family, tmp_path: Path) -> CountingSink:
    sink = CountingSink(family, tmp_path)
    sink.reset()
    return sink


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.said = b""
        self.wait_said(b"220 ", 1)
        self.send(b"EHLO client\r\n")
        self.wait_said(b"250 SIZE", 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def wait_said(self, reply: bytes, times: int) -> None:
        while self.said.count(reply) < times:
            data = self.socket.recv(65536)
            assert data, f"the sink closed after {self.said!r}"
            self.said += data

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def client(sink: CountingSink) -> Iterator[Client]:
    client = Client(sink.port)
    yield client
    client.close()


def _mail(number: int, octets: int = 600) -> bytes:
    return _ENVELOPE + Template(octets, "test").message(number) + b".\r\n"


def test_counts_every_message_of_a_pipelined_session(sink: CountingSink, client: Client) -> None:
    client.send(b"".join(_mail(number) for number in range(50)))
    received = sink.wait(50, 10.0)
    assert (received.messages, received.distinct) == (50, 50)
    assert received.problem(50) == ""
    client.wait_said(b"250 2.0.0 ok\r\n", 50)


def test_counts_a_message_that_comes_byte_by_byte(sink: CountingSink, client: Client) -> None:
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in _mail(1, 300):
        client.send(bytes([octet]))
    received = sink.wait(1, 10.0)
    assert (received.messages, received.distinct) == (1, 1)


def test_a_copy_is_seen_and_the_run_does_not_count(sink: CountingSink, client: Client) -> None:
    client.send(_mail(1) + _mail(1))
    client.wait_said(b"250 2.0.0 ok\r\n", 2)
    received = sink.wait(1, 10.0)
    assert (received.messages, received.distinct) == (2, 1)
    assert received.problem(2) == "the sink received 2 (1 distinct) of 2 messages"


def test_a_client_that_leaves_with_its_last_content_has_its_replies_in_order(
    sink: CountingSink, client: Client
) -> None:
    client.send(_mail(1) + b"QUIT\r\n")
    client.wait_said(b"221 bye\r\n", 1)
    assert client.said.endswith(b"354 go on\r\n250 2.0.0 ok\r\n221 bye\r\n")
    assert client.socket.recv(10) == b""


def test_every_recipient_of_a_message_is_a_delivery(sink: CountingSink, client: Client) -> None:
    envelope = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example> NOTIFY=NEVER\r\nDATA\r\n"
    client.send(envelope + Template(600, "test").message(1) + b".\r\n" + _mail(1))  # c@d.example twice
    client.wait_said(b"250 2.0.0 ok\r\n", 2)
    received = sink.wait(2, 10.0)
    assert (received.messages, received.distinct) == (3, 2)


def test_a_share_of_the_messages_is_put_off_once(family: Family, tmp_path: Path) -> None:
    sink = CountingSink(family, tmp_path, deferred=0.2)
    client = Client(sink.port)
    client.send(b"".join(_mail(number) for number in range(20)))
    client.wait_said(b"451 4.3.2 later\r\n", 4)
    assert sink.wait(16, 10.0).messages == 16
    client.send(b"".join(_mail(number) for number in range(20)))
    received = sink.wait(20, 10.0)
    assert (received.messages, received.distinct, client.said.count(b"451 ")) == (36, 20, 4)
    client.close()


def test_a_message_that_comes_by_http_counts_with_its_recipients(family: Family, tmp_path: Path) -> None:
    sink = CountingSink(family, tmp_path, speaks_http=True)
    form = (
        b'--b\r\nContent-Disposition: form-data; name="to"\r\n\r\na@d.example\r\n'
        b'--b\r\nContent-Disposition: form-data; name="message"; filename="m"\r\n\r\n'
    )
    body = form + Template(600, "test").message(1) + b"--b--\r\n"
    with socket.create_connection(("127.0.0.1", sink.port), timeout=10) as client:
        client.sendall(b"POST /v3/x/messages.mime HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 411 ")
    assert (sink.wait(1, 10.0).messages, sink.wait(1, 10.0).distinct) == (1, 1)


def test_files_count_once_they_have_their_name(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "mail")
    (tmp_path / "mail/new").mkdir()
    (tmp_path / "mail/tmp").mkdir()
    for place in ("new/1", "new/2", "tmp/3", ".4"):
        (tmp_path / "mail" / place).write_bytes(Template(600, "test").message(1))
    before = time.monotonic()
    received = sink.wait(3, 0.05)
    assert (received.messages, received.distinct) == (2, 1)
    assert before - 5 <= received.at <= time.monotonic() + 1
    sink.reset()
    assert sink.wait(0, 0.05).messages == 0


def test_a_missing_message_ends_the_wait_and_the_run_does_not_count(sink: CountingSink, client: Client) -> None:
    client.send(_mail(1))
    client.wait_said(b"250 2.0.0 ok\r\n", 1)
    received = sink.wait(2, 0.05)
    assert received.problem(2) == "the sink received 1 (1 distinct) of 2 messages"


def test_tells_when_the_last_message_came_and_how_long_it_took(sink: CountingSink, client: Client) -> None:
    before = time.monotonic()
    client.send(_mail(1))
    received = sink.wait(1, 10.0)
    assert before <= received.at <= time.monotonic()
    assert 0 <= received.latency["p50_ms"] <= 1000 * (time.monotonic() - before)


def test_a_reset_forgets_the_run_before(sink: CountingSink, client: Client) -> None:
    client.send(_mail(1))
    sink.wait(1, 10.0)
    sink.reset()
    client.send(_mail(2))
    assert sink.wait(1, 10.0).messages == 1


def test_a_folder_wants_a_file_for_each_recipient_of_each_message(tmp_path: Path) -> None:
    sink, template = FolderSink(tmp_path / "mail", recipients=2), Template(1000, "tag")
    for number in range(2):
        for recipient in range(2):
            (tmp_path / f"mail/{number}-{recipient}").write_bytes(template.message(number))
    assert sink.wait(4, 5.0).problem(4) == ""
    (tmp_path / "mail/1-1").write_bytes(template.message(0))
    assert sink.wait(4, 5.0).problem(4) == "the sink received 4 (3 distinct) of 4 messages"
