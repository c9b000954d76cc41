"""The page and the plots of a run of the suite."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import results
from peers.debian import find_python
from places import cache_folder
from plots import COLOURS, bars_by_scenario, bars_of, plain
from processes import BENCHMARKS
from results import is_doubtful, page, publish
from versions import checkout, versions


def _spread(median: float) -> Mapping[str, float]:
    return {"least": median / 2, "median": median, "most": 2 * median}


def _figures(level: str, factor: float) -> dict[str, Any]:
    names = ["per_second", "cpu_ms", "pss_mb", "durable_p50_ms", "durable_p99_ms", "durable_max_ms", "received_p50_ms"]
    spreads = {name: _spread(factor * number) for number, name in enumerate([*names, "received_p99_ms"], 1)}
    about = {"level": level, "durability": f"{level} so", "settings": "none", "counted_runs": 3}
    return {**about, **spreads, "postfix_ratio": _spread(factor), "subject_ratio": None, "syncs_per_message": 0.25}


@pytest.fixture
def told() -> dict[str, Any]:
    summary = {
        "postroad": _figures("synced", 8.0),
        "postfix": _figures("synced", 1.0),
        "other": _figures("no queue", 3.0),
    }
    scenario = {
        "about": "as usual",
        "messages": 1000,
        "sink": "a sink",
        "subject": "postroad",
        "summary": summary,
        "absent": {"haraka": "there is no npm"},
        "problems": ["other, round 2: the sink received 9 of 10 messages"],
        "runs": [],
    }
    machine = {
        "cpus": 2,
        "cpu": "Z80",
        "kernel": "6",
        "python": "3.11",
        "packages": {"trio": "0.31"},
        "file_system": "ext4",
    }
    backlog = {
        "postroad": {"queued": 10_000, "pss_mb": 50.0, "empty_pss_mb": 30.0, "problem": ""},
        "exim": {"problem": "no"},
    }
    return {
        "made": "2026-01-01",
        "is_short": False,
        "rounds": 3,
        "machine": {**machine, "load_before": 0.1},
        "disk_syncs_per_second": 2000.0,
        "scenarios": {"api": scenario},
        "pairs": {"pairs": 10, "ratio": _spread(1.5), "accept_ms": 0.6, "sync_ms": 0.4},
        "backlog": {"messages": 10_000, "systems": backlog, "absent": {}},
    }


def test_the_page_tells_machine_durability_figures_and_what_is_absent(told: dict[str, Any]) -> None:
    text = page(told, ["throughput.svg"])
    assert "2 CPUs (Z80), Linux 6, ext4, Python 3.11, trio 0.31" in text
    assert "![throughput](plots/throughput.svg)" in text
    row = "| postroad | synced | 8 (4 - 16) | 8.00 (4.00 - 16.00) | 16.000 (8.000 - 32.000) | 24 | 32.0 / 40.0 / 48.0 |"
    assert f"{row} 56.0 / 64.0 | 0.250 |" in text
    assert "- **other** (no queue): no queue so; none" in text
    assert "- haraka: there is no npm" in text
    assert "Does not count: other, round 2: the sink received 9 of 10 messages." in text
    assert "1.50 (0.75 - 3.00) times the disk's own write" in text
    assert "| postroad | 50 | 30 | 10,000 |" in text
    assert "short run" not in text


def test_a_row_says_of_how_few_runs_it_is(told: dict[str, Any]) -> None:
    assert "runs) |" not in page(told, [])
    told["scenarios"]["api"]["summary"]["postfix"]["counted_runs"] = 2
    assert "| postfix (2 of 3 runs) |" in page(told, [])


def test_numbers_in_plots_are_plain() -> None:
    assert [plain(value) for value in (0.3125, 10.0, 99.94, 1220.4)] == ["0.312", "10", "99.9", "1,220"]


def test_a_short_run_says_so_and_a_system_without_a_counted_run_has_no_row(told: dict[str, Any]) -> None:
    told["is_short"] = True
    told["scenarios"]["api"]["summary"]["other"]["counted_runs"] = 0
    text = page(told, [])
    assert "these figures only show that everything works" in text
    assert "| other |" not in text


@pytest.mark.parametrize(
    ("level", "syncs", "doubtful"),
    [
        ("synced", 0.02, False),
        ("synced", 0.0, True),
        ("synced", None, False),
        ("not synced", 0.001, False),
        ("not synced", 1.0, True),
        ("no queue", 0.0, False),
    ],
)
def test_a_durability_that_strace_contradicts_is_named(
    told: dict[str, Any], level: str, syncs: float | None, doubtful: bool
) -> None:
    figures = told["scenarios"]["api"]["summary"]["other"]
    figures |= {"level": level, "syncs_per_message": syncs}
    assert is_doubtful(figures) is doubtful
    assert ("of other, which is called" in page(told, [])) is doubtful


def test_bars_are_ranked_and_bear_their_level(told: dict[str, Any]) -> None:
    bars = bars_of(told["scenarios"]["api"], "postfix_ratio")
    assert bars == [
        ("postfix", 0.5, 1.0, 2.0, "synced"),
        ("other", 1.5, 3.0, 6.0, "no queue"),
        ("postroad", 4.0, 8.0, 16.0, "synced"),
    ]
    told["scenarios"]["api"]["summary"]["postfix"]["postfix_ratio"] = None
    assert len(bars_of(told["scenarios"]["api"], "postfix_ratio")) == 2
    assert bars_by_scenario(told) == [("api", 4.0, 8.0, 16.0, "synced")]
    assert {"synced", "not synced", "no queue"} == set(COLOURS)


def test_without_matplotlib_everything_else_is_written(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list(publish(told, tmp_path, tmp_path / "cache", may_fetch=False))
    assert any(line.startswith("the plots are absent: matplotlib") for line in said)
    assert "api: DOES NOT COUNT: other, round 2: the sink received 9 of 10 messages" in said
    assert "api: absent: haraka: there is no npm" in said
    assert json.loads((tmp_path / "plots/results.json").read_text())["rounds"] == 3
    assert "plots/throughput" not in (tmp_path / "RESULTS.md").read_text()


def test_the_page_shows_the_plots_that_were_drawn(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(source: Path, cache: Path, *, may_fetch: bool) -> str:
        (source.parent / "cpu.svg").touch()
        return ""

    monkeypatch.setattr(results, "draw", draw)
    list(publish(told, tmp_path, tmp_path / "cache"))
    assert "![cpu](plots/cpu.svg)" in (tmp_path / "RESULTS.md").read_text()


def test_every_plot_is_drawn_as_png_and_svg(told: dict[str, Any], tmp_path: Path) -> None:
    _, absent = find_python(cache_folder(), "bench-plots", "matplotlib", may_fetch=False)
    if absent:
        pytest.skip(f"{absent}; `make bench-full` makes this environment")
    assert not any("absent: matplotlib" in line for line in publish(told, tmp_path, cache_folder(), may_fetch=False))
    text = (tmp_path / "RESULTS.md").read_text()
    for name in ("throughput", "scenarios", "latency", "cpu"):
        assert f"plots/{name}.svg" in text
        assert (tmp_path / f"plots/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"plots/{name}.svg").read_text()


def test_the_page_tells_how_to_make_it_again(told: dict[str, Any]) -> None:
    assert "by `make bench-full` in 3 rounds" in page(told, [])
    told |= {"options": ["--scale 0.1", "--no-syncs"], "checkout": "abc123 with changes", "versions": {"exim": "4.96"}}
    text = page(told, [])
    assert 'by `make bench-full ARGS="--scale 0.1 --no-syncs"` of commit abc123 with changes in 3 rounds' in text
    assert "The systems: exim 4.96." in text


def test_the_page_leads_to_the_docs_from_wherever_it_lies(told: dict[str, Any]) -> None:
    for folder in (BENCHMARKS, BENCHMARKS / "out", BENCHMARKS / "out/mine"):
        link = page(told, [], folder).partition("[docs/benchmarks.md](")[2].partition(")")[0]
        assert (folder / link).resolve() == BENCHMARKS.parent / "docs/benchmarks.md"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load_before": 1.1}, "A busy machine: the load before the run was 1.1 on 2 CPUs"),
        ({"file_system": "tmpfs"}, "The spools were in memory"),
    ],
)
def test_a_machine_that_spoils_figures_is_told_of(told: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    assert said not in page(told, [])
    told["machine"] |= changes
    assert said in page(told, [])


def test_results_are_not_lost_where_the_folder_takes_nothing(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = list(publish(told, Path("/proc/nope"), tmp_path / "cache", may_fetch=False))
    assert said[0].startswith("cannot write in /proc/nope: ")
    assert Path(said[-1].removeprefix("page: ")).is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.json", "none.json: No such file or directory"),
        ("empty.json", "empty.json is no JSON of a run of the suite: KeyError"),
        ("text.json", "text.json is no JSON of a run of the suite: JSONDecodeError"),
    ],
)
def test_what_is_no_result_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "text.json").write_text("text")
    with pytest.raises(SystemExit):
        results.main([str(tmp_path / name)])
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"empty.json", "text.json"}


def test_versions_are_asked_of_those_that_played(tmp_path: Path) -> None:
    (tmp_path / "exim/usr/share/doc/exim4-base").mkdir(parents=True)
    (tmp_path / "exim/complete").touch()
    with gzip.open(tmp_path / "exim/usr/share/doc/exim4-base/changelog.Debian.gz", "wt") as log:
        log.write("exim4 (2:4.96-15) bookworm; urgency=high\n")
    assert versions(["exim", "opensmtpd", "smtplib"], tmp_path) == {"exim": "4.96-15"}
    assert list(versions(["slimta", "celery", "httpx2"], tmp_path)) == ["slimta", "celery", "httpx2"]
    assert checkout().split()[0].isalnum()
