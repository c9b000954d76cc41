"""The house's rules, read from the source itself: who may import what, who opens nurseries, who prints.

The four rooms' prohibitions stand in docs/house.md.  A rule on a file that does not exist is skipped by name.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "engine" / "postroad"
PLUGINS = ROOT / "plugins"
SOURCES = sorted([*ENGINE.rglob("*.py"), *PLUGINS.rglob("*.py")])

STORES = ("postroad.store.memory", "postroad.store.sqlite", "postroad.store.executor", "apsw", "sqlite3")
NETWORK = ("socket", "ssl", "select", "selectors", "asyncio", "http", "smtplib", "urllib", "dns")
NETWORK_OF_TRIO = re.compile(r"trio\.(socket|Socket|SSL|open_(tcp|unix|ssl)|serve_)")
CLOCKS = ("time", "datetime")
NURSERIES = ("opening.py", "actors/__init__.py", "actors/delivery.py", "testing")
MODULE_NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


@dataclass(frozen=True)
class Rule:
    """Files (a glob below the engine's package) that may not import some modules, nor anything inside these."""

    files: str
    forbidden: tuple[str, ...]
    why: str


RULES = (
    Rule("decide/*.py", ("trio", *CLOCKS, *STORES, *NETWORK), "decisions are pure: `now` is given to them"),
    Rule("actors/queue.py", ("postroad.decide.retry", "postroad.decide.limits"), "queue decides nothing"),
    Rule("actors/policy.py", (*STORES, *NETWORK), "policy touches no store and no network"),
    Rule("actors/delivery.py", ("postroad.decide",), "delivery judges nothing"),
    Rule("actors/bounce.py", ("postroad.decide.retry",), "bounce never retries"),
    Rule("dsn.py", ("trio", *CLOCKS[:1], *STORES, *NETWORK, "postroad.actors"), "reports are written and read purely"),
    Rule(
        "dsn/*.py", ("trio", *CLOCKS[:1], *STORES, *NETWORK, "postroad.actors"), "reports are written and read purely"
    ),
    Rule("compose*.py", ("trio", *STORES, *NETWORK, "postroad.actors"), "composing is pure but for the date"),
    Rule("dkim.py", ("trio", *STORES, *NETWORK, "postroad.actors"), "signing is pure but for the key"),
    Rule("verdict.py", ("trio", "postroad"), "the vocabulary depends on nothing"),
    Rule("errors.py", ("trio", "postroad"), "the errors depend on nothing"),
    Rule("store/contract.py", ("trio", *STORES, "postroad.actors"), "a store is synchronous"),
    Rule("store/states.py", ("trio", "postroad"), "the state table depends on nothing"),
    Rule("store/*.py", ("postroad.actors", "postroad.decide", "postroad.engine"), "a store keeps and finds"),
    Rule("**/*.py", ("postroad_smtp", "postroad_file", "postroad_http"), "plugins are found by entry point only"),
    Rule("actors/*.py", ("postroad.engine", "postroad.cli", "postroad.appengine"), "the ring knows no door"),
)
MAY_BE_ABSENT = {"compose*.py", "dkim.py", "dsn.py", "dsn/*.py"}  # dsn is a module or a package; signing comes later


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    top = ENGINE.parent if path.is_relative_to(ENGINE) else PLUGINS
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def base_of(node: ast.ImportFrom, path: Path) -> str:
    """The absolute name of the module that an import takes from."""
    if not node.level:
        return node.module or ""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, absolute; `from a import b` counts as a, and as a.b in case that is a module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, path)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def dotted_names_of(path: Path) -> Iterator[str]:
    return (ast.unparse(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute))


def lies_in(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.files}: {rule.why}")
def test_a_room_imports_nothing_that_it_may_not(rule: Rule) -> None:
    files = sorted(ENGINE.glob(rule.files))
    if not files:
        assert rule.files in MAY_BE_ABSENT, f"there is no {rule.files} any more: change the rule"
        pytest.skip(f"there is no {rule.files}")
    found = [
        f"{show(path)} imports {name}"
        for path in files
        for name in imports_of(path)
        for module in rule.forbidden
        if lies_in(name, module)
    ]
    assert not found, f"{rule.why}: {found}"


def test_policy_and_decide_use_no_network_of_trio() -> None:
    files = [ENGINE / "actors" / "policy.py", *sorted((ENGINE / "decide").glob("*.py"))]
    found = [f"{show(path)}: {name}" for path in files for name in dotted_names_of(path) if NETWORK_OF_TRIO.match(name)]
    assert not found


def public_modules() -> set[str]:
    """What docs/plugins.md promises to plugin authors, listed under "What a plugin may import"."""
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    section = text.partition("## What a plugin may import")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(postroad[\w.]*)` \|", section, re.MULTILINE))


def test_what_plugins_may_import_exists() -> None:
    assert len(public_modules()) > 5
    for name in public_modules():
        place = ENGINE.parent / Path(*name.split("."))
        assert place.with_suffix(".py").exists() or (place / "__init__.py").exists(), name


def test_plugins_import_only_public_modules() -> None:
    public = public_modules()
    found: list[str] = []
    for path in sorted(PLUGINS.rglob("*.py")):
        for name in imports_of(path):
            is_ours = lies_in(name, "postroad")
            if is_ours and name not in public and name.rpartition(".")[0] not in public:
                found.append(f"{show(path)} imports {name}")
    assert not found, "add it to docs/plugins.md, or do without"


def test_nurseries_are_opened_in_few_places_only() -> None:
    found: list[str] = []
    for path in sorted(ENGINE.rglob("*.py")):
        here = str(path.relative_to(ENGINE))
        opens = any(name.endswith("open_nursery") for name in (*dotted_names_of(path), *imports_of(path)))
        if opens and not any(here == place or here.startswith(place + "/") for place in NURSERIES):
            found.append(show(path))
    assert not found, f"nurseries are opened in {', '.join(NURSERIES)} and in plugins"


def test_the_house_names_every_file_that_opens_a_nursery() -> None:
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8").partition("## Where nurseries are opened")[2]
    opening = [
        str(path.relative_to(PLUGINS if path.is_relative_to(PLUGINS) else ENGINE))
        for path in SOURCES
        if any(name.endswith("open_nursery") for name in dotted_names_of(path))
    ]
    named = {place.partition("/")[0] if place.startswith("testing/") else place for place in opening}
    assert named == set(re.findall(r"`([\w/.]+)`", page)) - {"gate.py"}  # there it is trio that opens one


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_nothing_prints(path: Path) -> None:
    prints = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints, f"{show(path)} prints in lines {prints}: log it, raise it, or write it from the command line"


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_a_module_begins_with_what_it_does_in_at_most_twelve_lines(path: Path) -> None:
    tree = tree_of(path)
    if not tree.body:
        pytest.skip(f"{show(path)} is empty")
    said = ast.get_docstring(tree)
    assert said, f"{show(path)} does not say what it does"
    assert len(said.splitlines()) <= 12


def test_module_names_say_something() -> None:
    assert not [show(path) for path in SOURCES if path.stem in MODULE_NAMES_THAT_SAY_NOTHING]


def test_two_helpers_of_the_tests_have_different_names() -> None:
    """Their folders all lie on one search path, where the first of two alike would hide the other."""
    names = Counter(
        path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_nobody_rolls_dice_or_reads_the_wall_clock_where_a_decision_is_made() -> None:
    calls = re.compile(r"(random\.(random|uniform|choice|randint)|secrets\.\w+|os\.urandom|trio\.current_time)$")
    found = [
        f"{show(path)}: {name}"
        for path in sorted((ENGINE / "decide").glob("*.py"))
        for name in dotted_names_of(path)
        if calls.match(name)
    ]
    assert not found, "give the value to the function"


def hook_names() -> list[str]:
    body = tree_of(ENGINE / "hookspecs.py").body
    return [node.name for node in body if isinstance(node, ast.FunctionDef)]


def test_there_are_hooks() -> None:
    assert "postroad_register_transports" in hook_names()


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_documented(hook: str) -> None:
    assert re.search(rf"^### `{hook}\(", (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_tested(hook: str) -> None:
    others = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve()]
    assert any(re.search(rf"\b{hook}\b", path.read_text(encoding="utf-8")) for path in others)


def test_every_hook_says_in_its_signature_what_it_gets() -> None:
    for node in tree_of(ENGINE / "hookspecs.py").body:
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, node.name
            assert all(argument.annotation for argument in node.args.args), node.name
            assert ast.get_docstring(node), node.name
