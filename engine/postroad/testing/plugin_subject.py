"""A plugin as it is installed: its entry point, its distribution, and its source, read without running it where possible."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ..errors import PluginError
from ..plugins import ENTRY_POINT_GROUP, Plugins
from ..strangers import as_exceptions, words_for

__all__ = ["PUBLIC_MODULES", "Subject", "described_fields"]

PUBLIC_MODULES = frozenset(
    {
        "postroad",
        "postroad.bounded_mail",
        "postroad.callbacks",
        "postroad.charsets",
        "postroad.config",
        "postroad.errors",
        "postroad.events",
        "postroad.hookspecs",
        "postroad.log",
        "postroad.message",
        "postroad.outlasting",
        "postroad.remote",
        "postroad.secret",
        "postroad.store",
        "postroad.store.contract",
        "postroad.store.memory",
        "postroad.store.states",
        "postroad.testing",
        "postroad.testing.fakes",
        "postroad.transport",
        "postroad.verdict",
    }
)
"""What docs/plugins.md lists; a test compares the two."""


@dataclass(eq=False)
class Subject:
    """name: of the entry point.  settings, stores: with which its transports and stores can be opened, by their names."""

    name: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    stores: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def points(self) -> list[importlib.metadata.EntryPoint]:
        return [each for each in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP) if each.name == self.name]

    @cached_property
    def others(self) -> list[str]:
        found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        return sorted({each.name for each in found} - {self.name})

    @property
    def distribution(self) -> importlib.metadata.Distribution | None:
        return self.points[0].dist if self.points else None

    @cached_property
    def trouble(self) -> str:
        """Why it cannot be loaded, "" where it can."""
        if not self.points:
            there = ", ".join(self.others) or "none"
            group = f"the entry-point group {ENTRY_POINT_GROUP!r} (there: {there})"
            return f"it is not in {group}: is its distribution installed, and this its entry point's name?"
        try:
            with as_exceptions():
                self.points[0].load()
        except Exception as error:
            return f"{self.points[0].value} cannot be loaded: {words_for(error)}"
        return ""

    @cached_property
    def misfit(self) -> str:
        """Why it does not fit the contract, "" where it does."""
        try:
            self.plugins.load(self.name)
        except PluginError as error:
            return str(error)
        return ""

    @cached_property
    def plugins(self) -> Plugins:
        return Plugins()

    def registered(self, kind: str) -> list[str]:
        """Names of the transports or stores ("transports", "stores") that it registers."""
        if self.trouble or self.misfit:
            return []
        return [name for name in getattr(self.plugins, kind) if name not in getattr(Plugins(), kind)]

    # --- Its source ---

    @property
    def module(self) -> str:
        return self.points[0].module if self.points else ""

    @cached_property
    def sources(self) -> Mapping[str, ast.Module]:
        """By module name, those of the package that the entry point's module is or lies in."""
        with suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(self.module)
            if spec is not None and spec.origin:
                return dict(_sources_of(self.module, Path(spec.origin)))
        return {}

    def settings_structs(self) -> Iterator[type[msgspec.Struct]]:
        """Structs whose names end in Settings, as they are when their modules are imported."""
        for module, tree in self.sources.items():
            names = [
                node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")
            ]
            for name in names:
                found = getattr(importlib.import_module(module), name, None)
                if inspect.isclass(found) and issubclass(found, msgspec.Struct):
                    yield found

    @property
    def readme(self) -> str:
        """The distribution's description."""
        if self.distribution is None:
            return ""
        metadata = self.distribution.metadata
        return str(metadata.get("Description", "")) or str(metadata.get_payload())  # type: ignore[attr-defined]


def _sources_of(module: str, file: Path) -> Iterator[tuple[str, ast.Module]]:
    is_package = file.name == "__init__.py"
    top = module if is_package else module.rpartition(".")[0]
    if not top:
        yield module, _parsed(file)
        return
    folder = file.parent
    for path in sorted(folder.rglob("*.py")):
        steps = path.relative_to(folder).with_suffix("").parts
        yield ".".join([top, *(steps[:-1] if steps[-1] == "__init__" else steps)]), _parsed(path)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def described_fields(struct: type[msgspec.Struct]) -> set[str]:
    """Fields with a description in their `Meta`."""
    with suppress(NameError, TypeError):
        hints = typing.get_type_hints(struct, include_extras=True)
        return {name for name, hint in hints.items() if any(map(_description, getattr(hint, "__metadata__", ())))}
    return set()


def _description(note: object) -> str:
    return note.description or "" if isinstance(note, msgspec.Meta) else ""
