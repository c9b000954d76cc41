"""`postroad plugin`: lists what is installed, checks one, and writes a package that passes the kit, lint and types as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.cli.plugin_new import NewPlugin
from postroad.errors import PostroadError

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = ("transport", "store", "hooks")
LONG = "a" * 24


def lay_down(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}_plugin.py").write_text(source, encoding="utf-8")
    info = folder / f"a_{name}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: a-{name}\nVersion: 1.5\nRequires-Dist: postroad\n")
    (info / "entry_points.txt").write_text(f"[postroad]\n{name} = {name}_plugin\n")


def python(*words: str | Path, cwd: Path, way: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(way or ""), "POSTROAD_CONFIG": "", "MYPYPATH": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


# --- list and check ---

HOOKS = (
    "from postroad import hookimpl\n@hookimpl\ndef postroad_route(tags): return None\n"
    "@hookimpl\ndef postroad_admit(): open('asked', 'w').close()\n"
)


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    lay_down(folder, "mine", HOOKS)
    lay_down(folder, "broken", "import no_such_module\n")
    return folder


def test_list_names_what_each_registers_and_why_one_is_broken(tmp_path, site):
    said = done(python("-m", "postroad.cli", "plugin", "list", cwd=tmp_path, way=site)).splitlines()
    rows = {line.split()[0]: line for line in said}
    assert "0.1.0" in rows["smtp"]
    assert "transport smtp" in rows["smtp"]
    assert "a-mine" in rows["mine"]
    assert "admit, route" in rows["mine"]
    assert "BROKEN" in rows["broken"]
    assert "no_such_module" in rows["broken"]


def test_list_as_json(tmp_path, site):
    found = {each["name"]: each for each in json.loads(
        done(python("-m", "postroad.cli", "plugin", "list", "--json", cwd=tmp_path, way=site))
    )}  # fmt: skip
    assert found["file"]["transports"] == ["file"]
    assert found["mine"] == {
        "name": "mine",
        "distribution": "a-mine",
        "version": "1.5",
        "module": "mine_plugin",
        "transports": [],
        "stores": [],
        "hooks": ["postroad_admit", "postroad_route"],
        "problem": "",
    }
    assert "no_such_module" in found["broken"]["problem"]


def test_two_of_one_name_are_told_with_the_remedy(tmp_path, site):
    (site / "a_mine-1.5.dist-info").rename(site / "another_mine-1.5.dist-info")
    (site / "another_mine-1.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1\n")
    lay_down(site, "mine", HOOKS)
    said = done(python("-m", "postroad.cli", "plugin", "list", cwd=tmp_path, way=site))
    assert said.count("a-mine, another have the same name: uninstall all but one") == 2


def test_check_tells_what_is_wrong_with_the_duty_and_ends_with_1(tmp_path, site):
    broken = python("-m", "postroad.cli", "plugin", "check", "broken", cwd=tmp_path, way=site)
    assert broken.returncode == 1
    assert "loads: broken_plugin cannot be loaded: ModuleNotFoundError" in broken.stdout
    assert "duty: H1 Found" in broken.stdout
    assert "is its distribution installed" in python("-m", "postroad.cli", "plugin", "check", "x", cwd=tmp_path).stdout


def test_check_calls_hooks_only_when_asked(tmp_path, site):
    words = ("-m", "postroad.cli", "plugin", "check", "mine")
    done(python(*words, cwd=tmp_path, way=site))
    assert not (tmp_path / "asked").exists()
    done(python(*words, "--ask-hooks", cwd=tmp_path, way=site))
    assert (tmp_path / "asked").exists()


def test_check_opens_a_transport_with_the_settings_given_or_configured(command):
    def result(*words):
        found = {each["case"]: each for each in command.json("plugin", "check", "file", *words)}
        return found["transports_leave_nothing_behind"]

    assert result("--set", 'folder="mail"')["skipped"] == ""
    assert result()["skipped"] == ""  # as configured
    command.configure("")
    assert result()["skipped"] == "needs settings for 'file'"
    assert "as in TOML" in command.run("plugin", "check", "file", "--set", "folder=mail").stderr
    assert command.run("plugin", "check", "file", "--set", "folder=7").exit_code == 1


# --- new ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_passes_the_kit(tmp_path, kind):
    words = ("-m", "postroad.cli", "plugin", "new", "my-first", "--kind", kind)
    said = done(python(*words, cwd=tmp_path))
    assert "Next: cd postroad-my-first" in said
    assert "A configuration calls it my_first." in said
    package, site = tmp_path / "postroad-my-first", tmp_path / "site"
    for line in said.partition("\n\n")[0].splitlines():
        assert (tmp_path / line).is_file()
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check")
    done(python("-m", "pip", "install", "-qq", *options, "--target", site, package, cwd=tmp_path))
    assert " passed" in done(python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package, way=site))
    listed = json.loads(done(python("-m", "postroad.cli", "plugin", "list", "--json", cwd=tmp_path, way=site)))
    assert [each["problem"] for each in listed if each["name"] == "my_first"] == [""]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", LONG])
def test_a_new_package_passes_lint(tmp_path, command, kind, name):
    folder = tmp_path / "new"
    command.ok("plugin", "new", name, "--kind", kind, "--folder", str(folder))
    ruff = Path(sys.executable).with_name("ruff")
    for words in (("check",), ("format", "--check")):
        subprocess.run([ruff, *words, "--no-cache", "-q", "."], cwd=folder, check=True)


def test_new_packages_pass_types(tmp_path, command):
    for kind in KINDS:
        command.ok("plugin", "new", f"my-{kind}", "--kind", kind, "--folder", str(tmp_path / kind))
    places = [tmp_path / kind / part for kind in KINDS for part in ("src", "tests")]
    way = Path(os.pathsep.join(str(tmp_path / kind / "src") for kind in KINDS))
    options = ("--config-file", tmp_path / "hooks" / "pyproject.toml", "--cache-dir", tmp_path / "cache")
    done(python("-m", "mypy", *options, *places, cwd=tmp_path, way=way))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Chat", "use lower-case letters"),
        ("9lives", "beginning with a letter"),
        ("a--b", "single hyphens"),
        ("../x", "use lower-case letters"),
        ("a" * 25, "24 characters at the most"),
        ("smtp", "choose another name"),
        ("postroad-memory", "choose another name"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_the_remedy(command, name, said):
    result = command.run("plugin", "new", name)
    assert result.exit_code == 1
    assert said in result.stderr


def test_names_are_made_of_one(command):
    for name in ("postroad-web-chat", "web_chat", "web-chat"):
        made = NewPlugin(name)
        assert (made.name, made.distribution, made.package) == ("web_chat", "postroad-web-chat", "postroad_web_chat")
    with pytest.raises(PostroadError):
        NewPlugin("postroad-")


def test_nothing_is_overwritten(tmp_path, command):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "mine").write_text("x")
    result = command.run("plugin", "new", "chat", "--folder", str(folder))
    assert result.exit_code == 1
    assert "--folder" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["mine"]
    (tmp_path / "file").write_text("")
    assert command.run("plugin", "new", "chat", "--folder", str(tmp_path / "file" / "below")).exit_code == 1


def test_the_wheel_would_hold_the_skeleton():
    held = {path.suffix for path in (ROOT / "engine" / "postroad" / "cli" / "skeleton").rglob("*") if path.is_file()}
    assert held == {".txt"}  # no linter, type checker or importer takes them for code
