"""Writes a plugin's package from the skeleton beside this module: for `postroad plugin new`.  Overwrites nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from .._version import __version__
from ..errors import PostroadError

__all__ = ["Kind", "NewPlugin", "write_package"]

Kind: TypeAlias = Literal["transport", "store", "hooks"]
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_TAKEN = {"memory", "sqlite", "smtp", "file", "testing", "http", "appengine"}
_LONGEST = 24  # the lines that hold it stay within a linter's limit
_SUMMARIES: Mapping[str, str] = {
    "transport": "A Postroad transport.",
    "store": "A Postroad store.",
    "hooks": "Hooks for Postroad.",
}
_PLACES: Mapping[str, str] = {
    "pyproject.toml.txt": "pyproject.toml",
    "gitignore.txt": ".gitignore",
    "workflow.yml.txt": ".github/workflows/test.yml",
    "README.md.txt": "README.md",
    "init.py.txt": "src/@PACKAGE@/__init__.py",
    "transport.py.txt": "src/@PACKAGE@/transport.py",
    "store.py.txt": "src/@PACKAGE@/store.py",
    "tests.py.txt": "tests/test_@NAME@.py",
}


class NewPlugin:
    """What a plugin of that name is called, everywhere.  Raises PostroadError for a name that cannot be used."""

    def __init__(self, name: str) -> None:
        short = name.removeprefix("postroad-").removeprefix("postroad_")
        if not _NAME.fullmatch(short):
            raise PostroadError(
                f"{name!r} is no name for a plugin: use lower-case letters, digits and single hyphens, beginning with a letter"
            )
        self.name = short.replace("-", "_")
        if len(self.name) > _LONGEST:
            raise PostroadError(f"{name!r} is too long for the name of a plugin: {_LONGEST} characters at the most")
        if self.name in _TAKEN:
            raise PostroadError(f"Postroad has a plugin or store {self.name!r} of its own: choose another name")
        self.distribution = f"postroad-{short.replace('_', '-')}"
        self.package = f"postroad_{self.name}"

    def fill(self, text: str, kind: Kind) -> str:
        words = {
            "NAME": self.name,
            "PACKAGE": self.package,
            "DISTRIBUTION": self.distribution,
            "CLASS": "".join(part.capitalize() for part in self.name.split("_")),
            "SUMMARY": _SUMMARIES[kind],
            "POSTROAD": __version__,
        }
        return re.sub(r"@([A-Z]+)@", lambda found: words[found[1]], text)


def write_package(plugin: NewPlugin, kind: Kind, folder: Path) -> list[Path]:
    """Write the package's files below the folder, which must not exist yet or be empty; gives them.  Raises PostroadError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PostroadError(f"{folder} is there already: name another folder with --folder, or remove it")
    files = {folder / plugin.fill(place, kind): plugin.fill(text, kind) for place, text in _skeleton(kind)}
    files[folder / "src" / plugin.package / "py.typed"] = ""
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PostroadError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return sorted(files)


def _skeleton(kind: Kind) -> Iterator[tuple[str, str]]:
    top = resources.files("postroad.cli") / "skeleton"
    for part in ("any", kind):
        for file in (top / part).iterdir():
            if file.name in _PLACES:
                yield _PLACES[file.name], file.read_text(encoding="utf-8")
