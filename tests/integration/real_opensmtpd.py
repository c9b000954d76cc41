"""OpenSMTPD in a root folder of its own: its paths and the names of its accounts are compiled in.  It takes everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boxes import Boxes
from real_server import RealServer

from servers.chroot import build_root
from servers.debian import Unpacked

_USER, _QUEUE_USER = 1, 2  # numbers that mean something inside the root folder only
_FILES = ("usr/sbin/smtpd", "usr/sbin/smtpctl", "usr/libexec/opensmtpd/*", "/bin/sh")
_CONFIG = """\
table users {{ {users} }}
listen on 127.0.0.1 port {port}
action "deliver" maildir "/boxes/%{{rcpt.user}}" virtual <users>
match from any for any action "deliver"
"""
_USERS = {**dict.fromkeys(("known", "other", "third", "sender"), "nobody"), "later": "error:450 4.2.1 Come back later"}


class RealOpenSmtpd(RealServer):
    def __init__(self, folder: Path, server: Unpacked) -> None:
        super().__init__(folder)
        self.root = folder / "root"
        self.root.mkdir()
        accounts = {"opensmtpd": (_USER, _USER), "opensmtpq": (_QUEUE_USER, _QUEUE_USER)}
        build_root(self.root, server, _FILES, accounts)
        for name, mode in (("var/run", 0o755), ("var/lib/opensmtpd/empty", 0o755), ("var/spool/smtpd", 0o711)):
            (self.root / name).mkdir(parents=True)
            (self.root / name).chmod(mode)
        (self.root / "etc/smtpd.conf").write_text(self._config())
        (self.root / "etc/mailname").write_text("opensmtpd.test\n")
        self.boxes = Boxes(self.root / "boxes")

    def _config(self) -> str:
        users = ", ".join(f'"{name}" = "{account}"' for name, account in _USERS.items())
        return _CONFIG.format(port=self.port, users=users)

    def argv(self) -> Sequence[str | Path]:
        return ["chroot", self.root, "/usr/sbin/smtpd", "-d"]
