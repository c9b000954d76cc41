"""The worked examples of docs/plugins.md, installed as strangers' packages: their own tests, lint and types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "plugins"
PACKAGES = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))


def run(*words: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_two() -> None:
    assert PACKAGES == ["postroad-chat", "postroad-s3"]


@pytest.mark.parametrize("package", PACKAGES)
def test_an_examples_own_tests_pass(package: str, tmp_path: Path) -> None:
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check")
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-qq", *options, "--target", site, EXAMPLES / package, cwd=tmp_path)
    said = run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=EXAMPLES / package, PYTHONPATH=str(site)
    )
    assert " passed" in said
    assert "skipped" not in said


def test_the_page_alone_leads_to_a_package_that_works(tmp_path: Path) -> None:
    page = (EXAMPLES.parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
    shown = dict(
        re.findall(r"<!-- file: examples/plugins/(\S+) -->\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    )
    run(sys.executable, "-m", "postroad.cli", "plugin", "new", "chat", cwd=tmp_path)
    package = tmp_path / "postroad-chat"
    for place, text in shown.items():
        if place.startswith("postroad-chat/"):
            (tmp_path / place).write_text(text, encoding="utf-8")
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not installed and not duties")
    assert " passed" in run(sys.executable, *words, cwd=package, PYTHONPATH=str(package / "src"))
    assert len([place for place in shown if place.startswith("postroad-chat/")]) == 4


@pytest.mark.parametrize("package", PACKAGES)
def test_an_example_passes_lint(package: str) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for words in (("check",), ("format", "--check")):
        run(ruff, *words, "--no-cache", "-q", ".", cwd=EXAMPLES / package)


def test_the_examples_pass_types(tmp_path: Path) -> None:
    places = [EXAMPLES / package / part for package in PACKAGES for part in ("src", "tests")]
    way = os.pathsep.join([str(EXAMPLES), *(str(EXAMPLES / package / "src") for package in PACKAGES)])
    options = ("--strict", "--config-file", os.devnull, "--cache-dir", tmp_path / "cache")
    run(sys.executable, "-m", "mypy", *options, *places, cwd=tmp_path, MYPYPATH=way)
