"""Packages as strangers ship them, laid down as an installer would: a module, its metadata, its entry points."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GOOD = '''\
"""A transport that drops everything."""

from contextlib import asynccontextmanager

import msgspec

from postroad.config import read_settings
from postroad.hookspecs import hookimpl


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """level: of noise."""

    level: int = 0


@asynccontextmanager
async def open_it(settings):
    read_settings(settings, Settings)
    yield object()


@hookimpl
def postroad_register_transports(register):
    register("stranger", open_it)
'''
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: postroad\n"


def lay_down(
    folder: Path,
    source: str = GOOD,
    *,
    entry: str = "stranger",
    module: str = "stranger_plugin",
    name: str = "",
    metadata: str = METADATA,
) -> None:
    """Write the module and its distribution's folder."""
    name = name or f"a-{entry}"
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata.format(name=name), encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[postroad]\n{entry} = {module}\n", encoding="utf-8")


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """The folder on the way, and its modules forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        importlib.invalidate_caches()
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
