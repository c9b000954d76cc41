"""The scripts that set a checkout up say in one line what is missing, and the build declares what it should."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def stand_in(folder: Path, body: str) -> str:
    """An executable that plays a python3."""
    file = folder / "python3"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


def set_up_with(python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "scripts" / "make_venv.sh")],
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('case "$1" in -V) echo "Python 3.9.2";; *) exit 1;; esac', "Python 3.11 or newer is needed, {} is 3.9.2"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "{} has no venv module; install it"),
    ],
    ids=["too old", "no venv"],
)
def test_an_unfit_python_is_named_in_one_line(tmp_path: Path, body: str, said: str) -> None:
    python = stand_in(tmp_path, body)
    done = set_up_with(python)
    assert done.returncode == 1
    assert said.format(python) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_python_is_named_in_one_line(tmp_path: Path) -> None:
    done = set_up_with(str(tmp_path / "absent"))
    assert done.returncode == 1
    assert "there is no" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "script", [".ci/run", "scripts/make_venv.sh", "scripts/compile_requirements.sh", "scripts/fuzz.sh"]
)
def test_shell_scripts_are_executable_and_well_formed(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=60)


def test_help_names_every_target() -> None:
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": $(STAMP)" in line}
    help_text = subprocess.run(
        ["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert {"test", "demo", "lint", "types", "wheel"} <= targets
    assert all(f"  {target} " in help_text for target in targets)


def test_every_plugin_has_an_entry_point_and_a_place_in_the_wheel() -> None:
    folders = {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}
    entry_points = set(PROJECT["project"]["entry-points"]["postroad"].values())
    packages = {Path(package).name for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert folders == {value.partition(":")[0].partition(".")[0] for value in entry_points} == packages - {"postroad"}


def test_every_import_package_is_marked_as_typed() -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").exists()
