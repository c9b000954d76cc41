"""Postfix's programs: those installed on this machine, or Debian's package unpacked into a cache folder (nothing is installed).

Its maintainer scripts are never run and no account is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Programs", "find_programs"]

_DOWNLOAD_SECONDS = 120


@dataclass(frozen=True)
class Programs:
    """Where Postfix's programs are.  libraries: a folder for LD_LIBRARY_PATH, None where they are installed."""

    sbin: Path
    daemons: Path
    origin: str
    libraries: Path | None

    def environment(self) -> Mapping[str, str]:
        libraries = {} if self.libraries is None else {"LD_LIBRARY_PATH": str(self.libraries)}
        return {**os.environ, **libraries}


def find_programs(cache: Path, *, may_fetch: bool = True) -> Programs | str:
    """The programs, or why there are none."""
    if Path("/usr/lib/postfix/sbin/master").exists():
        return Programs(Path("/usr/sbin"), Path("/usr/lib/postfix/sbin"), "installed", None)
    root = cache / "postfix-root"
    if not (root / "usr/lib/postfix/sbin/master").exists():
        if not may_fetch:
            return "Postfix is not installed, and fetching its package was not allowed (--no-fetch)"
        if reason := _unpack(cache / "packages", root):
            return reason
    if missing := _missing_libraries(root):
        return f"Postfix was unpacked, but lacks {missing}; install these libraries"
    return Programs(root / "usr/sbin", root / "usr/lib/postfix/sbin", "unpacked", root / "usr/lib/postfix")


def _unpack(packages: Path, root: Path) -> str | None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return "Postfix is not installed, and there is no apt-get to fetch its package with"
    packages.mkdir(parents=True, exist_ok=True)
    packages.chmod(0o755)
    try:
        _call(["apt-get", "-q", "-q", "download", "postfix"], packages)
        (package,) = sorted(packages.glob("postfix_*.deb"))[-1:]
        _call(["dpkg", "-x", package.name, str(root)], packages)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"Postfix's package could not be fetched: {error}"
    return None


def _call(argv: list[str], folder: Path) -> None:
    subprocess.run(
        argv,
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_DOWNLOAD_SECONDS,
    )


def _missing_libraries(root: Path) -> str:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib/postfix")}
    said = ""
    for program in ("sbin/master", "sbin/smtp", "sbin/smtpd", "sbin/cleanup"):
        argv = ["ldd", str(root / "usr/lib/postfix" / program)]
        said += subprocess.run(argv, env=environment, capture_output=True, text=True, check=False).stdout
    return ", ".join(sorted({line.split()[0] for line in said.splitlines() if "not found" in line}))
