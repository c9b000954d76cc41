"""Debian's packages, unpacked into a cache folder: nothing is installed, no maintainer script runs, no account is made.

Postfix and OpenSMTPD cannot be installed together; unpacked they lie beside each other.  What a package needs and the machine
lacks, such as a shared library, is unpacked into the same folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RIVALS", "SERVERS", "Unpacked", "fetch", "find"]

_SECONDS = 180  # for one call of apt-get or dpkg
_MARK = "complete"  # written last, beside the packages


@dataclass(frozen=True)
class Source:
    """packages: Debian's names.  program: is there once it is unpacked.  libraries: folders of private ones."""

    packages: tuple[str, ...]
    program: str
    libraries: tuple[str, ...] = ()


SERVERS: Mapping[str, Source] = {
    "postfix": Source(("postfix",), "usr/lib/postfix/sbin/master", ("usr/lib/postfix",)),
    "opensmtpd": Source(("opensmtpd",), "usr/sbin/smtpd"),
    "dovecot": Source(
        ("dovecot-core", "dovecot-lmtpd"),
        "usr/sbin/dovecot",
        ("usr/lib/dovecot", "usr/lib/dovecot/modules/old-stats"),
    ),
}

# What only benchmarks compare with; `make servers` leaves it alone.
RIVALS: Mapping[str, Source] = {
    "exim": Source(("exim4-daemon-light",), "usr/sbin/exim4"),
    "redis": Source(("redis-server", "redis-tools"), "usr/bin/redis-check-rdb"),
}
_SOURCES = {**SERVERS, **RIVALS}


@dataclass(frozen=True)
class Unpacked:
    """One server's folder, laid out like a root folder."""

    root: Path
    private: tuple[str, ...] = ()

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, self.libraries()))}

    def libraries(self) -> list[Path]:
        """Folders with shared libraries."""
        triplets = [path for top in ("usr/lib", "lib") for path in sorted((self.root / top).glob("*-linux-gnu*"))]
        return [*(self.root / folder for folder in self.private), *triplets]

    def linked(self, program: Path) -> tuple[list[Path], list[str]]:
        """The shared libraries of a program, and the names of those that are missing."""
        said = subprocess.run(
            ["ldd", str(program)], env=self.environment(), capture_output=True, text=True, check=False
        ).stdout
        missing = [line.split()[0] for line in said.splitlines() if "not found" in line]
        return [Path(path) for path in re.findall(r"(/\S+) \(0x", said)], missing


def find(cache: Path, name: str) -> Unpacked | None:
    """A server that was unpacked before."""
    return Unpacked(cache / name, _SOURCES[name].libraries) if (cache / name / _MARK).exists() else None


def fetch(cache: Path, name: str, *, may_update: bool = False) -> Unpacked | str:
    """Unpack a server if it is not there yet; where that fails, why.  may_update: whether `apt-get update` may be run."""
    if found := find(cache, name):
        return found
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return f"{name} cannot be fetched: there is no apt-get here (it comes from Debian's packages)"
    try:
        return _fetch(cache, name)
    except (OSError, subprocess.SubprocessError) as error:
        if not may_update or os.geteuid() != 0:
            return f"{name} cannot be fetched: {_text(error)}; run apt-get update and try again"
    try:
        _call(["apt-get", "-q", "-q", "update"], cache)
        return _fetch(cache, name)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{name} cannot be fetched: {_text(error)}"


def _fetch(cache: Path, name: str) -> Unpacked:
    source, fresh, packages = _SOURCES[name], cache / f"{name}.new", cache / f"{name}.packages"
    for folder in (fresh, packages):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    _call(["apt-get", "-q", "-q", "download", *_wanted(source.packages, packages)], packages)
    for package in sorted(packages.glob("*.deb")):
        _call(["dpkg", "-x", package.name, str(fresh)], packages)
    if not (fresh / source.program).exists():
        raise OSError(f"the package has no {source.program}")
    (fresh / _MARK).touch()
    shutil.rmtree(packages)
    shutil.rmtree(cache / name, ignore_errors=True)
    fresh.rename(cache / name)
    return Unpacked(cache / name, source.libraries)


def _wanted(packages: Sequence[str], folder: Path) -> list[str]:
    """These packages and those they need that are not installed, as apt-get would choose them."""
    said = _call(["apt-get", "-q", "-q", "--simulate", "--no-install-recommends", "install", *packages], folder)
    return sorted({*packages, *re.findall(r"^Inst (\S+)", said, re.MULTILINE)})


def _call(argv: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        argv, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
    )
    return done.stdout


def _text(error: Exception) -> str:
    said = str(getattr(error, "stderr", "") or "").strip().splitlines()
    return f"{error}: {said[-1]}" if said else str(error)
