"""OpenSMTPD in a root folder of its own (its paths are compiled in), with limits that do not hold it back.

With those it comes with it sends a dozen messages a second to one destination.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import Level
from .debian import build_root
from .injected import RESOLV_CONF, UnpackedServer, count_files

__all__ = ["OpenSmtpd"]

_USER, _QUEUE_USER = 1, 2  # numbers that mean something inside the root folder only
_FILES = ("usr/sbin/smtpd", "usr/sbin/smtpctl", "usr/libexec/opensmtpd/*", "/bin/sh")
_SPOOL = "var/spool/smtpd"
_CONFIG = """\
mta max-deferred 100000
smtp limit max-mails 1000000
smtp max-message-size 100M
{limits}
listen on 127.0.0.1 port {port}
action "relay" relay{way}
match from any for any action "relay"
"""
_MTA = {
    "max-conn-per-host": 50,
    "max-conn-per-route": 50,
    "max-conn-per-connector": 50,
    "max-conn-per-source": 50,
    "max-conn-per-relay": 50,
    "max-conn-per-domain": 50,
    "conn-delay-host": 0,
    "conn-delay-source": 0,
    "conn-delay-relay": 0,
    "conn-delay-route": 0,
    "conn-delay-domain": 0,
    "conn-delay-connector": 0,
    "reconn-delay-route": 0,
    "session-mail-max": 100000,
    "session-keepalive": 0,
    "task-hiwat": 5000,
}
_SCHEDULER = {"max-inflight": 20000, "max-evp-batch-size": 1000, "max-msg-batch-size": 1000, "max-schedule": 1000}


class OpenSmtpd(UnpackedServer):
    name = "opensmtpd"
    level: Level = "not synced"
    durability = "a queue file, written and renamed before its 250, and not synced"

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        super().__init__(cache, may_fetch=may_fetch)
        self.settings = (
            f"{self._sessions} kept connections inject; limits of mta and scheduler lifted (50 connections, no delays)"
        )

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        self._root = self._place.folder / "root"
        self._root.mkdir()
        accounts = {"opensmtpd": (_USER, _USER), "opensmtpq": (_QUEUE_USER, _QUEUE_USER)}
        build_root(self._root, self._package, _FILES, accounts)
        for name, mode in (("var/run", 0o755), ("var/lib/opensmtpd/empty", 0o755), (_SPOOL, 0o711)):
            (self._root / name).mkdir(parents=True)
            (self._root / name).chmod(mode)
        (self._root / "etc/smtpd.conf").write_text(_config(port, self._way()))
        (self._root / "etc/mailname").write_text("opensmtpd.bench\n")
        (self._root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        lookup = f"{RESOLV_CONF}lookup file bind\n" if self._place.load.by_mx else "lookup file\n"
        (self._root / "etc/resolv.conf").write_text(lookup)  # nobody else is asked for the names of clients
        return self.run(["chroot", self._root, "/usr/sbin/smtpd", "-d"])

    def _way(self) -> str:
        """To the sink; by MX it goes to port 25, which nothing can change."""
        return "" if self._place.load.by_mx else f" host smtp://127.0.0.1:{self._place.sink.port}"

    def queued(self) -> int:
        """An envelope each, which is named by 16 digits; contents are called `message`."""
        queue = self._root / _SPOOL / "queue"
        return count_files(queue) - count_files(queue, ending="message")


def _config(port: int, way: str) -> str:
    limits = [f"mta limit {name} {value}" for name, value in _MTA.items()]
    limits += [f"scheduler limit {name} {value}" for name, value in _SCHEDULER.items()]
    return _CONFIG.format(limits="\n".join(limits), port=port, way=way)
