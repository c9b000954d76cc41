"""Rounds and their report, with peers that only pretend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from load import Load
from peers import Level, Place, Sent
from places import save_json
from processes import Family, OutOfTime
from report import Report
from rounds import Plan, Run, Spread, Stage, play
from sinks import Received
from workload import Template, percentiles

_PLAN = Plan(rounds=3, messages=100, warm_up=10, seconds=5.0, load=Load(octets=1000))


class PretendedSink:
    name = "pretended"
    port = 1
    folder: Path | None = None

    def __init__(self) -> None:
        self.resets = 0
        self.lost = 0

    def reset(self) -> None:
        self.resets += 1

    def wait(self, count: int, seconds: float) -> Received:
        return Received(messages=count - self.lost, distinct=count - self.lost, at=2.0, cpu_seconds=0.0)


@dataclass
class PretendedPeer:
    name: str
    diary: list[str]
    seconds: float = 1.0
    level: Level = "no queue"
    durability: str = "pretended"
    settings: str = "none"
    pid: int = 0
    folders: list[Path] = field(default_factory=list[Path])

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        self.folders.append(place.folder)
        self.diary.append(f"{self.name} starts")

    def send(self, count: int, seconds: float) -> None:
        self.diary.append(f"{self.name} sends {count}")

    def finish(self, seconds: float) -> Sent:
        return Sent(began=2.0 - self.seconds, cpu_seconds=0.1, commits=4)

    def stop(self) -> None:
        self.diary.append(f"{self.name} stops")


def _stage(tmp_path: Path) -> Stage:
    return Stage(Family(), tmp_path, PretendedSink(), _PLAN)


def test_every_peer_plays_once_a_round_in_turning_order(tmp_path: Path) -> None:
    diary: list[str] = []
    runs = play(_stage(tmp_path), [PretendedPeer("a", diary), PretendedPeer("b", diary)], lambda run: None)
    assert [(run.round, run.peer) for run in runs] == [(1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")]


def test_a_peer_is_fresh_and_warmed_up_for_every_run(tmp_path: Path) -> None:
    diary: list[str] = []
    peer = PretendedPeer("a", diary)
    play(_stage(tmp_path), [peer], lambda run: None)
    assert diary == ["a starts", "a sends 10", "a sends 100", "a stops"] * 3
    assert len(set(peer.folders)) == 3
    assert not any(folder.exists() for folder in peer.folders)


def test_a_failing_peer_is_stopped_and_named_and_its_folder_kept(tmp_path: Path) -> None:
    class Failing(PretendedPeer):
        def send(self, count: int, seconds: float) -> None:
            raise RuntimeError("no")

    peer = Failing("a", [])
    runs = play(_stage(tmp_path), [peer], lambda run: None)
    assert [run.problem for run in runs] == ["RuntimeError: no"] * 3
    assert peer.diary[-1] == "a stops"
    assert peer.folders[0].exists()


def _run(peer: str, number: int, seconds: float, lost: int = 0) -> Run:
    sent = Sent(began=10.0, cpu_seconds=0.05, commits=5)
    return Run(peer, number, 100, sent, Received(100 - lost, 100 - lost, 10.0 + seconds, 0.0))


def _report(runs: list[Run], absent: Mapping[str, str] | None = None) -> Report:
    peers = [PretendedPeer("postroad", []), PretendedPeer("other", [])]
    machine = {"cpus": 2}
    return Report(_PLAN, machine, "pretended", 2000.0, peers, absent or {}, runs, {"other": 1.0}, "postroad")


def test_ratios_compare_runs_of_the_same_round() -> None:
    runs = [_run("postroad", 1, 1.0), _run("other", 1, 2.0), _run("postroad", 2, 1.0), _run("other", 2, 4.0)]
    assert _report(runs).ratio("other") == Spread(2.0, 3.0, 4.0)


def test_a_run_with_a_missing_message_is_named_and_enters_no_figure() -> None:
    runs = [_run("postroad", 1, 1.0), _run("other", 1, 2.0), _run("postroad", 2, 1.0), _run("other", 2, 0.1, lost=1)]
    report = _report(runs)
    assert report.ratio("other") == Spread(2.0, 2.0, 2.0)
    assert report.problems == ["other, round 2: the sink received 99 (99 distinct) of 100 messages"]
    assert "DOES NOT COUNT: other, round 2" in report.text()


def test_the_table_names_durability_and_what_is_absent() -> None:
    text = _report([_run("postroad", 1, 1.0)], {"postfix": "not here"}).text()
    assert "durability: pretended" in text
    assert "absent: postfix: not here" in text


def test_the_json_holds_every_run_and_the_summary(tmp_path: Path) -> None:
    path = save_json(_report([_run("postroad", 1, 0.5), _run("other", 1, 1.0)]).told(), tmp_path / "out", "throughput")
    told = json.loads(path.read_text())
    assert told["summary"]["postroad"]["per_second"] == {"least": 200.0, "median": 200.0, "most": 200.0}
    assert told["summary"]["postroad"]["commits_per_message"]["median"] == 0.05
    assert told["summary"]["other"]["syncs_per_message"] == 1.0
    assert [run["per_second"] for run in told["runs"]] == [200.0, 100.0]


@pytest.mark.parametrize("octets", [500, 2048, 10_240, 102_400])
def test_a_message_has_the_size_asked_for_whatever_its_number(octets: int) -> None:
    template = Template(octets, "tag.1")
    assert {len(template.message(number)) for number in (0, 1, 999_999)} == {octets}
    content = template.message(1)
    assert content.endswith(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) < 100


def test_percentiles_rank_all_values() -> None:
    assert percentiles([n / 1000 for n in range(1, 101)]) == {"p50_ms": 51.0, "p99_ms": 100.0, "max_ms": 100.0}
    assert percentiles([]) == {}


def test_without_the_sink_nobody_plays_and_the_sink_is_named(tmp_path: Path) -> None:
    family = Family()
    with family.ended_at_exit():
        family.start(["false"], title="the sink").wait()
        peer = PretendedPeer("a", [])
        runs = play(Stage(family, tmp_path, PretendedSink(), _PLAN), [peer], lambda run: None)
    assert all(run.problem.startswith("the sink (process ") for run in runs)
    assert runs[0].problem.endswith("ended with status 1")
    assert peer.diary == []


def test_a_server_that_ended_is_named_before_who_waited_for_it(tmp_path: Path) -> None:
    family = Family()

    class Dying(PretendedPeer):
        def send(self, count: int, seconds: float) -> None:
            family.start(["false"], title="master").wait()
            raise OutOfTime("no answer")

    class Stillborn(PretendedPeer):
        def start(self, place: Place) -> None:
            family.start(["false"], title="master").wait()
            raise OutOfTime("no answer")

    with family.ended_at_exit():
        stage = Stage(family, tmp_path, PretendedSink(), _PLAN)
        runs = play(stage, [Dying("a", []), Stillborn("b", []), PretendedPeer("c", [])], lambda run: None)
    told = {run.peer: run.problem for run in runs}
    for peer in "ab":
        assert told[peer].startswith("master (process ")
        assert told[peer].endswith("ended with status 1; then: no answer")
    assert told["c"] == ""


def test_the_wait_for_the_sink_ends_soon_when_the_queue_is_empty(tmp_path: Path) -> None:
    class Emptied(PretendedPeer):
        left = 2

        def queued(self) -> int:
            self.left -= 1
            return self.left

    stage = _stage(tmp_path)
    stage.sink = sink = LackingSink()
    run = stage.run(Emptied("a", []), 1, 100)
    assert run.problem == "the sink received 99 (99 distinct) of 100 messages"
    assert len(sink.waited) == 3  # with one look that found a message in the queue
    assert sink.waited[-1] < min(sink.waited[:-1])


class LackingSink(PretendedSink):
    def __init__(self) -> None:
        super().__init__()
        self.lost = 1
        self.waited: list[float] = []

    def wait(self, count: int, seconds: float) -> Received:
        self.waited.append(seconds)
        return super().wait(count, seconds)
