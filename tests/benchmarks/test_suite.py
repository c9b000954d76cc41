"""The suite: its scenarios in small against the counting sink, and what a stranger's transport needs.  No figure is judged."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import suite
from catalogue import BESIDE, PARTS, SCENARIOS, Scenario, choose
from load import Load
from own import Unfit, read_own
from pairs import compare
from peers.postfix import settings_for
from peers.postroad_settings import configure, outbound
from processes import BENCHMARKS
from rounds import Plan
from suite import Field, benchmark, parse
from suite_options import listing, results_folder
from systems import Terms, known_systems

_ROOT = Path(__file__).resolve().parents[2]
_TERMS = {"folder": "/tmp/x", "port": 25, "window": 4, "sink_folder": "", "nameserver": 53}


def _play(tmp_path: Path, *more: str) -> Mapping[str, Any]:
    options = ["--short", "--scale", "0.1", "--no-fetch", "--no-syncs", "--cache", str(tmp_path), "--seconds", "30"]
    return benchmark(parse([*options, *more]))


@pytest.mark.parametrize("name", [one.name for one in SCENARIOS if "postroad" in one.peers])
def test_every_scenario_brings_every_message_to_the_sink(tmp_path: Path, name: str) -> None:
    told = _play(tmp_path, "--scenarios", name, "--peers", "postroad")["scenarios"][name]
    assert told["problems"] == []
    assert told["summary"]["postroad"]["counted_runs"] == 1


def test_submitters_in_other_processes_bring_every_message_to_the_sink(tmp_path: Path) -> None:
    told = _play(tmp_path, "--scenarios", "door", "--peers", "postroad-door")["scenarios"]["door"]
    assert told["problems"] == []
    assert told["summary"]["postroad"]["durable_max_ms"]["most"] > 0


@pytest.mark.parametrize("name", ["api", "signing"])
def test_two_engines_together_bring_every_message_to_the_sink(tmp_path: Path, name: str) -> None:
    told = _play(tmp_path, "--scenarios", name, "--peers", "postroad-2")["scenarios"][name]
    assert told["problems"] == []
    figures = told["summary"]["postroad, 2 engines"]
    assert figures["counted_runs"] == 1
    assert figures["durable_p50_ms"]["median"] > 0
    assert figures["commits_per_message"]["median"] > 0


@pytest.mark.parametrize("scenario", ["recipients-10", "single", "starttls", "signing"])
def test_smtplib_plays_the_same_scenarios(tmp_path: Path, scenario: str) -> None:
    told = _play(tmp_path, "--scenarios", scenario, "--peers", "smtplib")["scenarios"][scenario]
    assert told["problems"] == []
    assert told["summary"]["smtplib, 20 threads"]["counted_runs"] == 1


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("http-client", "http.client, 20 threads"),
        ("requests", "requests, 20 threads"),
        ("httpx2", "httpx2, 20 threads"),
    ],
)
def test_clients_without_a_queue_post_every_message(tmp_path: Path, peer: str, name: str) -> None:
    told = _play(tmp_path, "--scenarios", "http", "--peers", peer)["scenarios"]["http"]
    assert told["problems"] == []
    assert told["summary"][name]["counted_runs"] == 1


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    told = _play(tmp_path, "--scenarios", "http", "--peers", "requests")["scenarios"]["http"]
    assert told["absent"] == {"requests, 20 threads": "requests is not installed here"}


def test_what_is_measured_beside_throughput_has_its_figures(tmp_path: Path) -> None:
    told = _play(tmp_path, "--scenarios", "pairs,backlog", "--peers", "postroad")
    assert told["pairs"]["ratio"]["median"] > 0
    waiting = told["backlog"]["systems"]["postroad"]
    assert waiting["problem"] == ""
    assert waiting["queued"] == told["backlog"]["messages"]
    assert waiting["pss_mb"] > 0


def test_a_strangers_transport_plays_beside_ours(tmp_path: Path) -> None:
    """The example of docs/benchmarks.md."""
    page = (_ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("```toml\n")
    config = tmp_path / "mine.toml"
    config.write_text(rest.partition("```")[0], encoding="utf-8")
    told = _play(tmp_path / "cache", "--transport", "mine", "--config", str(config), "--scenarios", "recipients-10")
    told = told["scenarios"]["recipients-10"]
    assert told["problems"] == []
    assert [told["subject"], *told["summary"]] == ["mine", "mine", "postroad"]


def test_a_strangers_transport_may_speak_to_a_folder(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('[transports.mine]\nplugin = "file"\nfolder = "{folder}"\n')
    more = ["--transport", "mine", "--config", str(config), "--sink", "file", "--scenarios", "api-2k"]
    told = _play(tmp_path / "cache", *more)["scenarios"]["api-2k"]
    assert told["problems"] == []
    assert list(told["summary"]) == ["mine", "postroad"]


@pytest.mark.parametrize("sink", ["http", "file"])
def test_ours_plays_beside_a_strangers_transport_of_each_kind(tmp_path: Path, sink: str) -> None:
    """In a folder, too, each recipient of each message counts."""
    ways = {"http": '{plugin = "http", provider = "mailgun", domain = "b.example", api_key = "k", base_url = "%s"}'}
    way = ways["http"] % "http://127.0.0.1:{port}" if sink == "http" else '{plugin = "file", folder = "{folder}"}'
    config = _config(tmp_path, way)
    more = ["--transport", "mine", "--config", config, "--sink", sink, "--scenarios", "recipients-10"]
    told = _play(tmp_path / "cache", *more)["scenarios"]["recipients-10"]
    assert told["problems"] == []
    assert [figures["counted_runs"] for figures in told["summary"].values()] == [1, 1]
    assert told["summary"]["mine"]["settings"].count("10 connections") == 0


def _config(tmp_path: Path, table: str) -> str:
    (tmp_path / "mine.toml").write_text(f"[transports]\nmine = {table}\n")
    return str(tmp_path / "mine.toml")


def test_a_strangers_wrong_setting_is_named_under_its_own_name_before_anything_is_measured(tmp_path: Path) -> None:
    config = _config(tmp_path, '{plugin = "file", foldr = "{folder}"}')
    with pytest.raises(Unfit, match=r"^--transport mine cannot be opened: .*transports\.mine"):
        _play(tmp_path / "cache", "--transport", "mine", "--config", config, "--sink", "file", "--scenarios", "api")


@pytest.mark.parametrize(
    ("sink", "table", "said"),
    [
        ("smtp", '{plugin = "file", folder = "{folder}"}', "{folder} needs --sink file"),
        ("file", '{plugin = "smtp", hosts = [["127.0.0.1:{port}"]]}', "{port} needs --sink smtp or http"),
    ],
)
def test_a_placeholder_that_nothing_fills_in_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sink: str, table: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        parse(["--transport", "mine", "--config", _config(tmp_path, table), "--sink", sink])
    assert said in capsys.readouterr().err


def test_an_unknown_placeholder_is_left_and_told(tmp_path: Path) -> None:
    own = read_own("mine", Path(_config(tmp_path, '{port = "{prot}", url = "{port}"}')), "smtp", [])
    assert (own.left, own.table["port"]) == (["prot"], "{prot}")


def test_only_the_scenarios_in_which_somebody_plays_are_played() -> None:
    options = parse(["--peers", "haraka"])
    assert [one.name for one in options.chosen] == ["api"]
    assert options.beside == {"backlog": ["haraka"]}
    assert options.chosen[0].peers == ["haraka"]


@pytest.mark.parametrize(
    ("more", "is_published"),
    [
        ([], True),
        (["--rounds", "3"], True),
        (["--scale", "0.05"], False),
        (["--rounds", "1"], False),
        (["--window", "5"], False),
        (["--submitters", "1"], False),
        (["--short"], False),
        (["--no-syncs"], False),
        (["--peers", "postroad"], False),
    ],
)
def test_only_a_whole_run_at_its_usual_settings_is_published(
    tmp_path: Path, more: list[str], is_published: bool
) -> None:
    options = parse(["--publish", "--cache", str(tmp_path), *more])
    assert (results_folder(options) == BENCHMARKS) is is_published
    assert bool(options.given) is not is_published
    assert options.given == [" ".join(more)] or is_published


def test_where_results_go_is_the_callers_choice(tmp_path: Path) -> None:
    assert results_folder(parse(["--publish", "--out", str(tmp_path)])) == tmp_path


def test_what_was_complete_is_told_of_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played: list[str] = []

    def interrupted(field: Field, scenario: Scenario) -> Mapping[str, Any]:
        played.append(scenario.name)
        if len(played) == 2:
            raise KeyboardInterrupt
        return measure(field, scenario)

    measure = suite.measure
    monkeypatch.setattr(suite, "measure", interrupted)
    options = ["--short", "--scale", "0.1", "--no-fetch", "--no-syncs", "--cache", str(tmp_path / "cache"), "--publish"]
    where = ["--scenarios", "api,api-2k", "--peers", "postroad", "--out", str(tmp_path / "out")]
    assert suite.main([*options, *where]) == 130
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert "**Interrupted: only what was complete by then is here.**" in page
    assert ("## api\n" in page, "## api-2k" in page) == (True, False)
    assert not any((tmp_path / "cache").glob("run-*"))
    assert "interrupted; every process was ended" in capsys.readouterr().err


def test_the_list_and_the_docs_name_every_system_and_scenario(tmp_path: Path) -> None:
    listed = "\n".join(listing(tmp_path))
    docs = (_ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    for name in [*known_systems(Terms(tmp_path)), *(one.name for one in SCENARIOS), *BESIDE]:
        assert f"  {name} " in listed
    for name in known_systems(Terms(tmp_path)):
        assert f"`{name}`" in docs


@pytest.mark.parametrize(
    ("module", "argv", "said"),
    [
        ("throughput", ["--octets", "0"], "--octets: must be at least 400"),
        ("throughput", ["--peers", "postroad,nobody"], "unknown peers 'nobody'; known: postroad, postroad-no-log,"),
        ("http_client", ["--octets", "0"], "--octets: must be at least 400"),
        ("http_client", ["--rounds", "0"], "--rounds: must be at least 1"),
        ("appengine", ["--processes", "0"], "--processes: must be at least 1"),
        ("appengine", ["--messages", "-1"], "--messages: must be at least 1"),
        ("scale", ["--scenarios", "none"], "unknown scenarios 'none'; known: backlog, large, neighbours"),
        ("scale", ["--out", "/proc/nope"], "cannot write in /proc/nope"),
        ("smtp_client", ["--scenarios", "none"], "unknown scenarios 'none'; known: kept, smtp-sink,"),
        ("smtp_client", ["--seconds", "x"], "--seconds: invalid positive value: 'x'"),
    ],
)
def test_every_script_refuses_nonsense_by_name(
    module: str, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(module).parse(argv)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--scenarios", "api,nothing"], "unknown scenarios 'nothing'; known: api, api-2k, "),
        (["--scenarios", "nothing"], "floor, pairs, backlog"),
        (["--scenarios", ""], "unknown scenarios ''"),
        (
            ["--peers", "haraka,nonsense"],
            "unknown peers 'nonsense'; known: postroad, postroad-2, postroad-door, postfix,",
        ),
        (
            ["--scenarios", "door", "--peers", "haraka"],
            "no system of --peers plays in door: it has postroad-door, postfix-8",
        ),
        (["--scenarios", "api,pairs", "--peers", "postfix"], "no system of --peers plays in pairs: it has postroad"),
        (["--scale", "0"], "--scale: must be more than 0"),
        (["--scale", "nan"], "--scale: must be more than 0"),
        (["--seconds", "-1"], "--seconds: must be more than 0"),
        (["--window", "0"], "--window: must be at least 1"),
        (["--out", "/proc/nope"], "--out: cannot write in /proc/nope: "),
        (["--cache", "/proc/nope"], "--cache: cannot write in /proc/nope: "),
        (["--transport", "mine", "--config", "nofile.toml"], "--config: nofile.toml: No such file or directory"),
        (["--transport", "postfix", "--config", "pyproject.toml"], "postfix is the name of a system"),
        (["--transport", "mine"], "go together"),
        (["--transport", "mine", "--config", "pyproject.toml"], "has no [transports.mine]"),
        (["--transport", "mine", "--config", "README.md"], "README.md is no TOML"),
        (["--rounds", "0"], "at least 1"),
        (["--out", "README.md"], "README.md is no folder"),
        (["--out", "README.md/in/it"], "README.md is no folder"),
    ],
)
def test_nonsense_on_the_command_line_is_named(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_ROOT)
    with pytest.raises(SystemExit):
        parse(argv)
    assert said in capsys.readouterr().err


def test_every_system_of_a_scenario_is_known(tmp_path: Path) -> None:
    known = set(known_systems(Terms(tmp_path)))
    assert {peer for one in SCENARIOS for peer in one.peers} <= known
    assert set(PARTS) <= known


def test_a_strangers_transport_is_not_asked_for_what_only_ours_can_be_told() -> None:
    assert all(not one.load.by_mx and one.load.kept and not one.load.tls for one in choose(any_transport=True))
    with pytest.raises(LookupError):
        choose(["starttls"], any_transport=True)


@pytest.mark.parametrize("sink", ["http", "file"])
def test_only_a_sink_for_smtp_puts_mail_off(sink: str) -> None:
    names = {one.name for one in choose(any_transport=True)}
    assert names - {one.name for one in choose(any_transport=True, sink=sink)} == {"deferred"}


def test_recipients_and_destinations_take_turns() -> None:
    assert Load().recipients_of(7) == ("recipient@sink.example",)
    assert Load(recipients=2, destinations=3).recipients_of(4) == (
        "recipient0@d1.sink.example",
        "recipient1@d1.sink.example",
    )
    assert len({Load(destinations=100).recipients_of(number) for number in range(1000)}) == 100
    load = Load(octets=5, deferred=0.2, out="http")
    assert Load.read(load.told()) == load


def test_a_load_becomes_a_configuration() -> None:
    assert outbound(_TERMS, Load(kept=False))["messages_per_session"] == 1
    assert outbound(_TERMS, Load(tls=True))["tls"] == "required"
    assert "smarthost" not in outbound(_TERMS, Load(by_mx=True))
    assert configure(_TERMS, Load(deferred=0.2))["retry"]["first_seconds"] == 2.0
    own = {"table": {"plugin": "own", "port": "{port}", "url": "x://h:{port}/", "more": [{"a": 1}]}, "plugins": ["own"]}
    configured = configure({**_TERMS, **own}, Load())
    assert configured["transports"] == {
        "outbound": {"plugin": "own", "port": 25, "url": "x://h:25/", "more": [{"a": 1}]}
    }
    assert configured["plugins"] == ["own"]


def test_postfix_is_told_the_same_load() -> None:
    assert settings_for(Load(), 1, None)["smtp_connection_cache_destinations"] == "[127.0.0.1]:1"
    assert settings_for(Load(kept=False), 1, None)["smtp_connection_cache_on_demand"] == "no"
    assert settings_for(Load(tls=True), 1, None)["smtp_tls_security_level"] == "encrypt"
    assert (
        settings_for(Load(deferred=0.2), 1, None)["minimal_backoff_time"] == "3s"
    )  # less, and it takes what is locked
    by_mx = settings_for(Load(by_mx=True, destinations=10_000), 25, None)
    assert (by_mx["relayhost"], by_mx["disable_dns_lookups"], by_mx["default_transport"]) == ("", "no", "mx")
    assert "smtp_connection_cache_destinations" not in by_mx
    assert settings_for(Load(by_mx=True), 25, None)["smtp_connection_cache_destinations"] == "static:all"


def test_without_a_network_of_its_own_no_smarthost_stands_in_for_looking_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.own_network", lambda: nullcontext("there is none"))
    told = _play(tmp_path, "--scenarios", "destinations-100", "--peers", "postroad,postfix,opensmtpd,exim")
    told = told["scenarios"]["destinations-100"]
    assert told["problems"] == []
    assert list(told["summary"]) == ["postroad"]
    assert set(told["absent"]) == {"postfix", "opensmtpd", "exim"}
    assert all("asks the DNS at port 53" in reason for reason in told["absent"].values())


def test_a_lone_accept_is_compared_with_the_disk_by_medians() -> None:
    compared = compare([0.003, 0.002, 0.1], [0.001, 0.001, 0.5])
    assert compared == {"accept_ms": 3.0, "sync_ms": 1.0, "ratio": 3.0}


def test_slow_systems_send_a_part() -> None:
    plan = Plan(1, 1000, 0, 1.0, parts={"exim": 0.1})
    assert (plan.messages_of("exim"), plan.messages_of("postfix")) == (100, 1000)
