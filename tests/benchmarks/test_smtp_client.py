"""The parts of the SMTP client's benchmark: its clients, its link, and the arithmetic of an outcome."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from clients.rivals import WorkerClient
from load import Load
from peers import Place, Sent
from processes import Family
from rounds import Run
from sinks import CountingSink, Received
from smtp_client import ROUND_TRIP_SECONDS, SCENARIOS, FarSink, Outcome, measure, parse
from workload import set_aside

_SHAPE = {"sessions": 3, "kept": True, "tls": False}


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    with family.ended_at_exit():
        yield family


@pytest.mark.parametrize("module", ["postroad_client", "smtplib_client"])
@pytest.mark.parametrize("more", [{}, {"kept": False}, {"tls": True}, {"kept": False, "tls": True}], ids=str)
def test_a_client_sends_every_message_once(family: Family, tmp_path: Path, module: str, more: dict[str, bool]) -> None:
    certificate = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    sink = CountingSink(family, tmp_path, certificate if more.get("tls") else None)
    client = WorkerClient("one", module, {**_SHAPE, **more})
    client.start(Place(family, tmp_path, sink, Load(octets=1000)))
    for _ in range(2):
        sink.reset()
        client.send(20, 30.0)
        received = sink.wait(20, 30.0)
        assert received.problem(20) == ""
    assert client.finish(1.0).cpu_seconds >= 0
    if not more.get("kept", True):
        assert received.connections == 20
    client.stop()


def test_the_usual_way_arrives_too(family: Family, tmp_path: Path) -> None:
    sink = CountingSink(family, tmp_path)
    client = WorkerClient("usual", "smtplib_client", {**_SHAPE, "kept": False, "usual": True})
    client.start(Place(family, tmp_path, sink, Load(octets=1000)))
    sink.reset()
    client.send(10, 30.0)
    assert sink.wait(10, 30.0).problem(10) == ""


def test_the_link_delays_both_ways_and_passes_everything_on(family: Family, tmp_path: Path) -> None:
    sink = FarSink(CountingSink(family, tmp_path), family, tmp_path)
    with socket.create_connection(("127.0.0.1", sink.port), timeout=10) as client:
        assert client.recv(1000) == b"220 sink.example ESMTP\r\n"
        asked = time.monotonic()
        client.sendall(b"NOOP\r\n" * 1000)
        answers = b""
        while len(answers) < 8 * 1000:
            answers += client.recv(65_536)
        assert time.monotonic() - asked >= ROUND_TRIP_SECONDS
        assert answers == b"250 ok\r\n" * 1000


def _run(peer: str, number: int, seconds: float, cpu: float) -> Run:
    return Run(peer, number, 100, Sent(10.0, cpu), Received(100, 100, 10.0 + seconds, 0.0))


def test_ratios_are_taken_within_a_round() -> None:
    runs = [_run("postroad", 1, 1.0, 0.1), _run("aiosmtplib", 1, 4.0, 0.4), _run("postroad", 2, 2.0, 0.2)]
    runs += [_run("aiosmtplib", 2, 4.0, 0.2), Run.failed("aiosmtplib", 3, 100, RuntimeError("no"))]
    (link,) = (scenario for scenario in SCENARIOS if scenario.link)
    outcome = Outcome(link, "sink", runs, {"smtplib": "gone"})
    told = outcome.summary()["aiosmtplib"]
    assert told["rate_ratio"] == {"least": 2.0, "median": 3.0, "most": 4.0}
    assert told["cpu_ratio"] == {"least": 0.25, "median": 0.625, "most": 1.0}
    assert told["round_trips"]["median"] == pytest.approx(4.0 / ROUND_TRIP_SECONDS / 100)
    assert outcome.problems == ["link: aiosmtplib, round 3: RuntimeError: no"]
    assert "absent: smtplib: gone" in outcome.text()


def test_without_smtp_sink_its_scenario_is_absent_and_the_others_run(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtp_client.find_programs", lambda cache, may_fetch: "not here")
    (foreign,) = (scenario for scenario in SCENARIOS if scenario.foreign_sink)
    outcome = measure(foreign, parse([]), family, tmp_path / "foreign")
    assert outcome.problems == []
    assert "absent: smtp-sink: not here" in outcome.text()
    assert outcome.summary()["postroad"]["per_second"] is None


def test_a_measured_client_that_waits_pays_for_no_message_that_waits_with_it() -> None:
    waiting = [[number] for number in range(1000)]
    set_aside()
    try:
        assert gc.get_freeze_count() > len(waiting)
    finally:
        gc.unfreeze()


def test_an_unknown_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--scenarios", "kept,nothing"])
    assert "nothing" in capsys.readouterr().err
