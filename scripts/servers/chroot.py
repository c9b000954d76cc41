"""A root folder for a server that has its paths and its accounts' names compiled in: only what it needs, copied from its package.

A few megabytes, made in a moment for each run; neither the machine's files nor its accounts are touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from .debian import Unpacked

__all__ = ["build_root"]

_DEFAULT = {"root": (0, 0), "nobody": (65534, 65534)}


def build_root(root: Path, server: Unpacked, files: Iterable[str], accounts: Mapping[str, tuple[int, int]]) -> None:
    """Fill a root folder.

    files: globs within the package; absolute ones are the machine's own.  accounts: user and group number by name.
    Raises FileNotFoundError, where a shared library is missing.
    """
    root.chmod(0o755)
    for pattern in files:
        top = Path("/") if pattern.startswith("/") else server.root
        for path in sorted(top.glob(pattern.lstrip("/"))):
            if path.is_file():
                _copy(path, root / path.relative_to(top), root, server)
    for folder, mode in (("dev", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
        (root / folder).mkdir()
        (root / folder).chmod(mode)
    (root / "dev/null").touch()  # an ordinary file: a device needs a right that containers may lack
    (root / "dev/null").chmod(0o666)
    _write_accounts(root / "etc", {**_DEFAULT, **accounts})


def _copy(path: Path, target: Path, root: Path, server: Unpacked) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)
    libraries, missing = server.linked(path)
    if missing:
        raise FileNotFoundError(f"{path.name} lacks {', '.join(missing)}")
    for library in libraries:
        inside = root / _place(library, server)
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, inside)


def _place(library: Path, server: Unpacked) -> Path:
    """Where it will be found: the machine's own may lie in folders that only its loader's cache knows."""
    if library.is_relative_to(server.root):
        return library.relative_to(server.root)
    return library.relative_to("/") if library.name.startswith("ld-") else Path("lib", library.name)


def _write_accounts(etc: Path, accounts: Mapping[str, tuple[int, int]]) -> None:
    users = [f"{name}:x:{user}:{group}::/:/bin/false\n" for name, (user, group) in accounts.items()]
    groups = [f"{name}:x:{group}:\n" for name, (_, group) in accounts.items()]
    (etc / "passwd").write_text("".join(users))
    (etc / "group").write_text("".join(groups))
