"""What was measured: the checkout's commit, and the versions of the systems.  Asked without starting a server."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from peers.debian import find_programs, unpacked
from peers.haraka import HARAKA_VERSION
from processes import BENCHMARKS

__all__ = ["checkout", "versions"]

_SECONDS = 10.0
_FIRST_LINE = re.compile(r"\((?:\d+:)?([^)]+)\)")  # of a Debian changelog: package (epoch:version) suite


def checkout() -> str:
    """The commit, with a mark where files differ from it; "" where git does not say."""
    commit = _said("git", "-C", BENCHMARKS, "rev-parse", "--short=12", "HEAD")
    return f"{commit} with changes" if commit and _said("git", "-C", BENCHMARKS, "status", "--porcelain") else commit


def versions(played: Collection[str], cache: Path) -> dict[str, str]:
    """Of those systems, by their names on the command line, that tell one."""
    makers = _ways(cache)
    parts = {part: makers[part] for name in played for part in _PARTS.get(name, (name,)) if part in makers}
    return {part: said for part, ask in parts.items() if (said := ask())}


_PARTS: Mapping[str, tuple[str, ...]] = {
    "postfix-8": ("postfix",),
    "smtp-source": ("postfix",),
    "celery": ("celery", "redis"),
    "haraka": ("haraka", "node"),
}


def _ways(cache: Path) -> Mapping[str, Callable[[], str]]:
    return {
        "postfix": lambda: _postfix(cache),
        "opensmtpd": lambda: _debian(cache, "opensmtpd"),
        "exim": lambda: _debian(cache, "exim"),
        "redis": lambda: _debian(cache, "redis"),
        "celery": lambda: _pinned("bench-celery", "celery"),
        "slimta": lambda: _pinned("bench-slimta", "python-slimta"),
        "aiosmtplib": lambda: _pinned("bench", "aiosmtplib"),
        "haraka": lambda: HARAKA_VERSION,
        "node": lambda: _said("node", "--version").removeprefix("v"),
        "requests": lambda: _installed("requests"),
        "httpx2": lambda: _installed("httpx2"),
    }


def _said(*argv: str | Path, env: Mapping[str, str] | None = None) -> str:
    """What a program says on standard output, if it ends well."""
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _postfix(cache: Path) -> str:
    programs = find_programs(cache, may_fetch=False)
    if isinstance(programs, str):
        return ""
    return _said(programs.sbin / "postconf", "-d", "-h", "mail_version", env=programs.environment())


def _debian(cache: Path, name: str) -> str:
    """By the changelog in its unpacked package."""
    found = unpacked(cache, name, may_fetch=False)
    logs = [] if isinstance(found, str) else sorted(found.root.glob(f"usr/share/doc/{name}*/changelog.Debian*.gz"))
    if not logs:
        return ""
    with gzip.open(logs[0], "rt", encoding="utf-8") as log:
        told = _FIRST_LINE.search(log.readline())
    return told[1] if told else ""


def _pinned(requirements: str, package: str) -> str:
    text = (BENCHMARKS.parent / f"requirements/{requirements}.txt").read_text(encoding="utf-8")
    told = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
    return told[1] if told else ""


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
