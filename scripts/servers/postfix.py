"""Postfix from a configuration and a queue of its own: nothing of an installed one is touched.

Its master works only as root, and gives up its privileges by itself; the accounts it needs are borrowed from those that every
Debian has.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .debian import Unpacked, fetch, find

__all__ = ["Programs", "closed_to_others", "find_programs", "why_not", "write_postfix"]

_INSTALLED = Path("/usr/lib/postfix/sbin")


@dataclass(frozen=True)
class Programs:
    """Where Postfix's programs are.  libraries: a folder for LD_LIBRARY_PATH, None where they are installed."""

    sbin: Path
    daemons: Path
    origin: str
    libraries: Path | None
    unpacked: Unpacked | None = None

    def environment(self) -> Mapping[str, str]:
        return dict(os.environ) if self.unpacked is None else self.unpacked.environment()


def find_programs(cache: Path, *, may_fetch: bool = True) -> Programs | str:
    """The programs: those installed on this machine, else unpacked ones; or why there are none."""
    if (_INSTALLED / "master").exists():
        return Programs(Path("/usr/sbin"), _INSTALLED, "installed", None)
    found = fetch(cache, "postfix") if may_fetch else find(cache, "postfix")
    if found is None:
        return "Postfix is not installed, and its package was not fetched"
    if isinstance(found, str):
        return found
    daemons = found.root / "usr/lib/postfix/sbin"
    missing = {
        name for program in ("master", "smtp", "smtpd", "cleanup") for name in found.linked(daemons / program)[1]
    }
    if missing:
        return f"Postfix was unpacked, but lacks {', '.join(sorted(missing))}; install these libraries"
    return Programs(found.root / "usr/sbin", daemons, "unpacked", found.root / "usr/lib/postfix", found)


def why_not() -> str | None:
    """Why Postfix cannot run here, or None."""
    if os.geteuid() != 0:
        return "Postfix's master runs only as root"
    if _accounts() is None:
        return "Postfix needs the accounts daemon and nobody and the group mail"
    return None


def closed_to_others(folder: Path) -> str | None:
    """Postfix's processes change to an account without rights: every folder on the way must let them pass."""
    for part in (folder, *folder.parents):
        if not part.stat().st_mode & 0o001:
            return f"Postfix cannot enter {part} (its processes are not root)"
    return None


def _accounts() -> tuple[str, str] | None:
    try:
        pwd.getpwnam("nobody")
        return pwd.getpwnam("daemon").pw_name, grp.getgrnam("mail").gr_name
    except KeyError:
        return None


# --- Its configuration and its queue ---

# The queue's folders that belong to the mail owner alone, as Postfix's own post-install makes them.
_PRIVATE = [
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
]

# service, type, private, unprivileged, chroot, wakeup, processes, command: Debian's, but chroot and what is not used.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


def write_postfix(
    folder: Path, programs: Programs, port: int, settings: Mapping[str, object], services: Sequence[str] = ()
) -> Path:
    """Write a configuration and an empty queue into a folder; return the configuration's folder.

    settings: of main.cf, beside those that say where everything is.  services: further lines of master.cf.
    """
    accounts = _accounts()
    assert accounts is not None, "why_not() said None before"
    owner, group = accounts
    queue, data, config = folder / "queue", folder / "data", folder / "config"
    folder.chmod(0o755)
    for inner in (queue, data, config):
        inner.mkdir(mode=0o755)
    _make_queue(queue, owner, group)
    shutil.chown(data, owner)
    places = {
        "compatibility_level": "3.6",
        "queue_directory": queue,
        "data_directory": data,
        "daemon_directory": programs.daemons,
        "command_directory": programs.sbin,
        "shlib_directory": programs.libraries or "/usr/lib/postfix",
        "meta_directory": config,
        "mail_owner": owner,
        "setgid_group": group,
        "default_privs": "nobody",
        "import_environment": "MAIL_CONFIG TZ LD_LIBRARY_PATH",
    }
    lines = [f"{name} = {value}\n" for name, value in {**places, **settings}.items()]
    (config / "main.cf").write_text("".join(lines), encoding="utf-8")
    (config / "master.cf").write_text(_MASTER.format(port=port) + "".join(f"{line}\n" for line in services))
    for name in ("main.cf", "master.cf"):
        os.utime(config / name, (0, 0))  # Postfix waits for seconds where a file may still be being written
    return config


def _make_queue(queue: Path, owner: str, group: str) -> None:
    for name in _PRIVATE:
        (queue / name).mkdir(mode=0o700)
        shutil.chown(queue / name, owner)
    (queue / "pid").mkdir(mode=0o755)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (queue / name).mkdir()
        shutil.chown(queue / name, owner, group)
        (queue / name).chmod(mode)
