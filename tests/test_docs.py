"""The papers speak of things that exist: every name, module and file in `backticks`, every link, every picture made from code."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import re
import sys
import typing
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from postroad import hookspecs
from postroad.config import Config
from postroad.decide.admission import Refusal
from postroad.errors import StoreError
from postroad.events import RecipientFailed
from postroad.message import Submission

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ENGINE, PLUGINS = ROOT / "engine" / "postroad", ROOT / "plugins"
EXAMPLES = sorted((ROOT / "examples" / "plugins").glob("postroad-*"))  # docs/plugins.md speaks of their files
PAPERS = sorted([ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
CHECKED = [
    ROOT / "CONTRIBUTING.md",
    DOCS / "api.md",
    DOCS / "house.md",
    DOCS / "life-of-a-message.md",
    DOCS / "plugins.md",
    *sorted((DOCS / "decisions").glob("*.md")),
]
EXTERNAL = ("trio", "pluggy", "msgspec", "apsw")
MADE_LATER = {".venv"}  # files that a checkout does not have yet
LANGUAGE = {*keyword.kwlist, *dir(builtins), *dir(typing)}
SUFFIXES = (".py", ".md", ".toml", ".txt", ".in", ".sh")
NAME = re.compile(r"^(\.?[A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?$")


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


class Names:
    """Everything in the source that has a name: modules, classes with their members, functions, parameters, words it uses."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.members: dict[str, set[str]] = defaultdict(set)
        self.bases: dict[str, set[str]] = defaultdict(set)
        for path in [*ENGINE.rglob("*.py"), *PLUGINS.rglob("*.py")]:
            self.words.add(path.parent.name if path.name == "__init__.py" else path.stem)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                self._note(node)

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.ClassDef(name=name):
                self.words.add(name)
                self.bases[name] |= {base.id for base in node.bases if isinstance(base, ast.Name)}
                self.members[name] |= {name for part in node.body for name in _names_bound_by(part)}
                self.members[name] |= {
                    each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and _is_self(each.value)
                }
                self.words |= self.members[name]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.words.add(node.name)
                self.words |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
            case ast.Assign() | ast.AnnAssign():
                self.words |= set(_names_bound_by(node))
            case ast.Constant(value=str(text)) if text.isidentifier():
                self.words.add(text)

    def has_member(self, owner: str, member: str) -> bool:
        return member in self.members[owner] or any(self.has_member(base, member) for base in self.bases[owner])


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign():
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        case _:
            pass


NAMES = Names()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def exists_as_file(token: str) -> bool:
    return any((base / token).exists() for base in (ROOT, ENGINE, PLUGINS, DOCS, ROOT / "requirements", *EXAMPLES))


def exists_outside(parts: list[str]) -> bool:
    thing: Any = import_module(parts[0])
    for part in parts[1:]:
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


def exists_as_module(parts: list[str]) -> bool:
    """A module of ours, or a name in one."""
    top = ENGINE.parent if parts[0] == "postroad" else PLUGINS
    place = top.joinpath(*parts)
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    return len(parts) > 1 and exists_as_module(parts[:-1]) and parts[-1] in NAMES.words


def exists_as_name(name: str) -> bool:
    parts = name.lstrip(".").split(".")
    if parts[0] in EXTERNAL:
        return exists_outside(parts)
    if parts[0].startswith("postroad") and (exists_as_module(parts) or len(parts) > 1):
        return exists_as_module(parts)
    if len(parts) == 1:
        return parts[0] in NAMES.words
    if parts[0] in NAMES.members:
        return NAMES.has_member(parts[0], parts[1])
    if parts[0] in Config.__struct_fields__:
        return hasattr(getattr(Config(), parts[0]), parts[1])
    return all(part in NAMES.words for part in parts)


def exists(token: str) -> bool | None:
    """Whether what a token names exists; None where it names nothing that could be looked up."""
    if token.startswith("make "):
        return token.split()[1] in make_targets()
    if "://" in token or " " in token:
        return None
    if "/" in token or token.endswith(SUFFIXES):
        return exists_as_file(token.removeprefix("./")) if "*" not in token else bool(list(ROOT.glob(token)))
    section = re.fullmatch(r"\[+([\w.]+)\]+", token)
    if section:
        return section[1].partition(".")[0] in Config.__struct_fields__
    if token in LANGUAGE or token in MADE_LATER or exists_as_file(token):
        return True
    found = NAME.match(token)
    return exists_as_name(found[1]) if found else None


def tokens_of(path: Path) -> list[str]:
    """What stands in single backticks, outside of fenced blocks."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("paper", CHECKED, ids=show)
def test_every_name_in_backticks_exists(paper: Path) -> None:
    missing = sorted({token for token in tokens_of(paper) if exists(token) is False})
    assert not missing, f"{show(paper)} speaks of what is not there"


def test_the_check_finds_what_is_not_there() -> None:
    wrong = (
        "actors/postman.py",
        "Engine.teleport",
        "Lettuce",
        "postroad.store.tape",
        "trio.NoSuch",
        "make tea",
        "retry.soon",
    )
    assert [exists(token) for token in wrong] == [False] * len(wrong)
    right = ("store/states.py", "Verdict.status", "State", "postroad.store.contract", "trio.WouldBlock", "make test")
    assert [exists(token) for token in right] == [True] * len(right)


@pytest.mark.parametrize("paper", PAPERS, ids=show)
def test_every_link_to_a_file_leads_somewhere(paper: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (paper.parent / link).exists()]
    assert not missing


def test_every_note_between_actors_stands_in_the_table_of_the_house() -> None:
    page = (DOCS / "house.md").read_text(encoding="utf-8")
    tree = ast.parse((ENGINE / "actors" / "notes.py").read_text(encoding="utf-8"))
    notes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)} - {"Lease"}  # carried, not sent
    assert notes == set(re.findall(r"^\| `([A-Z]\w+)` \| \w+ \| \w+ \|", page, re.MULTILINE))


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_states_is_drawn_from_the_table() -> None:
    draw_states = load(ROOT / "scripts" / "draw_states.py", "draw_states")
    page = (DOCS / "life-of-a-message.md").read_text(encoding="utf-8")
    assert page == draw_states.drawn(page), "run: make docs"
    assert "LEASED --> ACCEPTED: deliver" in page
    with pytest.raises(ValueError, match="markers"):
        draw_states.drawn("# no markers")


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in (DOCS / "decisions").glob("*.md") if f"({path.name})" not in index]
    assert missing == ["README.md"]


def test_requirements_name_no_index() -> None:
    for path in (ROOT / "requirements").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path.name
        assert not re.search(r"^\s*(-i|--(extra-)?index-url|--find-links|-f)\b", text, re.MULTILINE), path.name


def test_every_requirement_has_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        pinned = re.findall(
            r"^[a-z0-9][^\n]*\\\n +--hash=sha256:[0-9a-f]{64}", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        named = re.findall(r"^[a-z0-9]", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(pinned) == len(named) >= (1 if path.name in ("bench.txt", "fuzz.txt") else 6), path.name


# --- The examples in docs/plugins.md ---


def module_from(section: str, folder: Path) -> ModuleType:
    """One module of all Python blocks of a section of docs/plugins.md."""
    text = (DOCS / "plugins.md").read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks, section
    name = "plugins_page_" + section.replace(" ", "_").lower()
    file = folder / f"{name}.py"
    file.write_text("\n".join(blocks), encoding="utf-8")
    return load(file, name)


@pytest.fixture
def hooks_page(tmp_path: Path) -> tuple[pluggy.PluginManager, ModuleType]:
    """A plugin manager with the section "The hooks" as its only plugin."""
    plugin = module_from("The hooks", tmp_path)
    manager = pluggy.PluginManager("postroad")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, "page")
    manager.check_pending()
    return manager, plugin


def test_postroad_register_stores_as_on_the_page(hooks_page: tuple[pluggy.PluginManager, ModuleType]) -> None:
    stores: dict[str, Any] = {}
    hooks_page[0].hook.postroad_register_stores(register=stores.__setitem__)
    with pytest.raises(StoreError, match="not mounted"), stores["tape"]("st0", folder="."):
        pass


@pytest.mark.parametrize(("count", "refused"), [(500, False), (501, True)])
def test_postroad_admit_as_on_the_page(
    hooks_page: tuple[pluggy.PluginManager, ModuleType], count: int, refused: bool
) -> None:
    submission = Submission(sender="a@b.example", recipients=["c@d.example"] * count, content=b"", tags=("newsletter",))
    answer = hooks_page[0].hook.postroad_admit(submission=submission)
    assert isinstance(answer, Refusal) if refused else answer is None


def test_postroad_route_as_on_the_page(hooks_page: tuple[pluggy.PluginManager, ModuleType]) -> None:
    route = hooks_page[0].hook.postroad_route
    assert route(sender="a@b.example", recipient="c@d.example", tags=("newsletter",)) == "bulk"
    assert route(sender="a@b.example", recipient="c@d.example", tags=()) is None


def test_postroad_notice_as_on_the_page(hooks_page: tuple[pluggy.PluginManager, ModuleType]) -> None:
    manager, plugin = hooks_page
    manager.hook.postroad_notice(event=RecipientFailed(at=0.0, id="1", recipient="c@d.example", status="5.1.1"))
    assert plugin.failed == [("c@d.example", "5.1.1")]
