"""check_plugin passes a plugin in order, ours too, and each of its cases catches one that is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from strangers_package import GOOD, METADATA, installed, lay_down

from postroad.plugins import available
from postroad.testing import check_plugin
from postroad.testing.duties import plugin_duties
from postroad.testing.plugin_cases import CASES
from postroad.testing.plugin_suite import PluginFailed, try_plugin
from postroad.testing.results import Report

SETTINGS: Mapping[str, Mapping[str, Any]] = {"stranger": {"level": 1}}
OURS: Mapping[str, Mapping[str, Any]] = {
    "smtp": {"smarthost": "127.0.0.1:2525"},
    "file": {"folder": "mail"},
    "appengine": {"url": "http://127.0.0.1:8080"},
    "http": {"provider": "postmark", "api_key": "a-secret-key"},
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder):
        yield folder


def problems(report: Report) -> dict[str, str]:
    return {result.case: result.problem for result in report.problems}


@pytest.mark.parametrize("name", [name for name, point in available().items() if point.value.startswith("postroad_")])
def test_our_own_plugins_are_in_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = check_plugin(name, settings=OURS if name in OURS else {})
    skipped = {result.case for result in report.results if result.skipped} - {"stores_leave_nothing_behind"}
    assert skipped <= (set() if name in OURS else {"transports_leave_nothing_behind", "unknown_settings_are_refused"})


def test_a_strangers_plugin_in_order_passes(site: Path) -> None:
    lay_down(site)
    report = check_plugin("stranger", settings=SETTINGS)
    assert [result.case for result in report.results if result.skipped] == ["stores_leave_nothing_behind"]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


HOOK = GOOD + "\n\n@hookimpl\n"
SPOILED: list[tuple[str, str, str]] = [
    ("loads", "import no_such_module\n" + GOOD, "stranger_plugin cannot be loaded: ModuleNotFoundError"),
    ("fits_the_contract", "x = 1\n", "no function marked with hookimpl"),
    ("fits_the_contract", HOOK + "async def postroad_notice(event): ...\n", "hooks are synchronous"),
    ("fits_the_contract", HOOK + "def postroad_notcie(event): ...\n", "postroad_notcie"),
    ("fits_the_contract", HOOK + "def postroad_notice(event, mood): ...\n", "mood"),
    ("fits_the_contract", changed('"stranger", open_it', '"sqlite", 7'), "cannot be called"),
    (
        "typed_as_specified",
        HOOK + "def postroad_route(tags: list): ...\n",
        "tags is annotated list, specified is tuple",
    ),
    ("typed_as_specified", HOOK + "def postroad_admit(submission) -> 'bool': ...\n", "return is annotated bool"),
    ("hooks_answer", HOOK + "def postroad_route(tags):\n    return 1 / 0\n", "postroad_route raised ZeroDivisionError"),
    ("hooks_answer", HOOK + "def postroad_admit():\n    return True\n", "postroad_admit answered True"),
    (
        "hooks_answer",
        HOOK + "def postroad_notice(event):\n    __import__('time').sleep(0.06)\n",
        "postroad_notice took",
    ),
    ("called_alike", changed('"stranger", open_it', '"other", open_it'), "call the entry point 'other'"),
    ("no_name_is_taken", GOOD + '    register("smtp", open_it)\n', "'smtp'"),
    ("unknown_settings_are_refused", changed("read_settings(settings, Settings)", "pass"), "took 'no_such_setting'"),
    ("unknown_settings_are_refused", changed("read_settings(settings, Settings)", "1 / 0"), "instead of a ConfigError"),
    (
        "unknown_settings_are_refused",
        changed(
            "read_settings(settings, Settings)",
            "from postroad import ConfigError\n    if len(settings) > 1: raise ConfigError('level', 'is odd')",
        ),
        "does not name it",
    ),
    (
        "transports_leave_nothing_behind",
        changed("    yield object()", "    import os\n    os.open(os.devnull, 0)\n    yield object()"),
        "left 1 descriptors",
    ),
    (
        "transports_leave_nothing_behind",
        changed(
            "    yield object()",
            "    import threading\n    for _ in 'ab': threading.Thread(target=threading.Event().wait, args=(1,)).start()\n"
            "    yield object()",
        ),
        "left 2 threads",
    ),
    ("transports_leave_nothing_behind", changed("    yield object()", "    raise OSError('no')\n    yield"), "no"),
    (
        "refused_leaves_nothing_behind",
        changed("    read_settings(", "    import os\n    os.open(os.devnull, 0)\n    read_settings("),
        "left 1 descriptors",
    ),
    ("import_is_quick", GOOD + "\nfor _ in range(60_000_000):\n    pass\n", "of the processor"),
    ("import_is_quick", GOOD + '\nprint("hello")\n', "prints 'hello'"),
    (
        "import_is_quick",
        GOOD + "\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        "leaves 1 threads",
    ),
    ("import_is_quick", GOOD + "\nimport os\nos.open(os.devnull, 0)\n", "leaves 1 descriptors"),
    ("imports_are_public", GOOD + "\nfrom postroad.decide import retry\n", "imports postroad.decide.retry in line"),
    ("imports_are_public", GOOD + "\nimport postroad.engine\n", "imports postroad.engine.* in line"),
    ("imports_are_public", GOOD + "\nfrom postroad.config import _about\n", "imports postroad.config._about"),
    ("settings_are_documented", changed('"""level: of noise."""', "pass"), "Settings.level has no description"),
]


@pytest.mark.parametrize(
    ("case", "source", "said"), SPOILED, ids=[f"{n}-{case}" for n, (case, _, _) in enumerate(SPOILED)]
)
def test_each_case_catches_what_is_not_in_order(site: Path, case: str, source: str, said: str) -> None:
    lay_down(site, source)
    with pytest.raises(PluginFailed) as caught:
        check_plugin("stranger", settings=SETTINGS, only={case})
    assert said in problems(caught.value.report)[case]


STORE = """\
from contextlib import contextmanager

from postroad.hookspecs import hookimpl
from postroad.store.memory import MemoryStore


@contextmanager
def open_it(url, *, folder):
    {leak}
    yield MemoryStore()


@hookimpl
def postroad_register_stores(register):
    register("stranger", open_it)
"""


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("__import__('os').open(str(folder), 0)", "left 1 descriptors"),
        ("__import__('threading').Thread(target=__import__('time').sleep, args=(1,)).start()", "1 threads"),
        ("1 / 0", "division by zero"),
    ],
)
def test_a_store_that_does_not_open_or_leaves_something_is_caught(site: Path, leak: str, said: str) -> None:
    lay_down(site, STORE.format(leak=leak))
    report = try_plugin("stranger", stores={"stranger": ""}, only={"stores_leave_nothing_behind"})
    assert said in problems(report)["stores_leave_nothing_behind"]


def test_a_store_in_order_passes(site: Path) -> None:
    lay_down(site, STORE.format(leak="pass"))
    report = check_plugin("stranger", stores={"stranger": ""})
    assert "stores_leave_nothing_behind" in {result.case for result in report.results if not result.skipped}
    skipped = {result.case: result.skipped for result in try_plugin("stranger").results}
    assert skipped["stores_leave_nothing_behind"] == "needs `stores` for 'stranger'"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (METADATA.replace("Requires-Dist: postroad\n", "Requires-Dist: postroad-else\n"), "does not require postroad"),
        (METADATA.replace("1.0", "0.0.0"), "has no version"),
    ],
)
def test_metadata_that_say_too_little_are_caught(site: Path, metadata: str, said: str) -> None:
    lay_down(site, metadata=metadata)
    assert said in problems(try_plugin("stranger"))["metadata_is_honest"]


def test_a_setting_may_be_described_in_the_readme(site: Path) -> None:
    lay_down(
        site, changed('"""level: of noise."""', "pass"), metadata=METADATA + "\nThe setting `level` is of noise.\n"
    )
    assert not problems(try_plugin("stranger", settings=SETTINGS))


def test_two_distributions_with_one_name_are_both_named(site: Path) -> None:
    lay_down(site)
    lay_down(site, module="stranger_again", name="an-impostor")
    assert problems(try_plugin("stranger"))["found_once"] == "2 have it: a-stranger, an-impostor"


def test_a_plugin_that_is_not_there_is_told_with_the_remedy(site: Path) -> None:
    assert "is its distribution installed" in problems(try_plugin("absent"))["loads"]


def test_a_broken_neighbour_is_no_fault_of_ours(site: Path) -> None:
    lay_down(site)
    lay_down(site, "1 / 0\n", entry="broken", module="broken_plugin")
    assert not problems(try_plugin("stranger", settings=SETTINGS))
    assert "ZeroDivisionError" in problems(try_plugin("broken"))["loads"]


def test_what_cannot_be_tried_says_what_it_needs(site: Path) -> None:
    lay_down(site, changed("level: int = 0", "place: str").replace("level: of", "place: of"))
    skipped = {result.case: result.skipped for result in try_plugin("stranger").results if result.skipped}
    assert skipped["transports_leave_nothing_behind"] == "needs settings for 'stranger'"


def test_the_report_names_case_expectation_and_duty(site: Path) -> None:
    lay_down(site, "import no_such_module\n")
    with pytest.raises(
        PluginFailed, match=r"(?s)loads: .*expected: the entry point loads.*duty: H1 Found: the distribution"
    ):
        check_plugin("stranger")


def test_a_case_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="there is no case laods"):
        check_plugin("file", skip={"laods"})


def test_no_case_cannot_fail_and_every_duty_is_tried() -> None:
    elsewhere = {"found_once", "metadata_is_honest", "stores_leave_nothing_behind"}
    assert {case.name for case in CASES} == {case for case, _, _ in SPOILED} | elsewhere
    assert {case.duty for case in CASES} == set(plugin_duties())
