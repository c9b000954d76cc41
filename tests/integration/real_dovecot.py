"""Dovecot in a root folder of its own, as the user nobody: LMTP by TCP and by a unix socket, and logins for Postfix.

Its modules' folder is compiled in, hence the root folder; it needs no privileges but the right to enter that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from boxes import NOBODY, Boxes
from real_server import RealServer, free_port

from servers.chroot import build_root
from servers.debian import Unpacked

_FILES = (
    "usr/sbin/dovecot",
    "usr/bin/doveconf",
    "usr/lib/dovecot/[!l]*",  # its master looks for every program; libraries come with those that need them
    "usr/lib/dovecot/l[mo]*",
    "usr/lib/dovecot/modules/libssl_iostream_openssl.so",
)
_CONFIG = """\
base_dir = /run
state_dir = /run
log_path = /srv/log
protocols = lmtp
ssl = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_location = maildir:/boxes/%n
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
auth_mechanisms = plain login cram-md5 scram-sha-256
disable_plaintext_auth = no
auth_username_format = %Ln
passdb {{
  driver = passwd-file
  args = scheme=PLAIN /srv/users
}}
userdb {{
  driver = passwd-file
  args = /srv/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener /srv/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  inet_listener sasl {{
    address = 127.0.0.1
    port = {login_port}
  }}
}}
"""
PASSWORD = "correct horse"


class RealDovecot(RealServer):
    """login_port: where Postfix asks whether a password is right.  socket: LMTP by unix socket."""

    def __init__(self, folder: Path, server: Unpacked) -> None:
        super().__init__(folder)
        self.login_port = free_port()
        self.root = folder / "root"
        self.socket = self.root / "srv/lmtp"
        self.root.mkdir()
        build_root(self.root, server, _FILES, {})
        self.boxes = Boxes(self.root / "boxes")
        self._write()

    def _write(self) -> None:
        config = _CONFIG.format(user="nobody", group="nobody", port=self.port, login_port=self.login_port)
        for name in ("srv", "run"):
            (self.root / name).mkdir()
            os.chown(self.root / name, NOBODY, NOBODY)
        (self.root / "srv/dovecot.conf").write_text(config)
        users = [f"{user}:{PASSWORD}::::::" for user in ("known", "other")]
        users.append(
            f"broken:{PASSWORD}::::::userdb_mail=maildir:/srv/users/no-folder"
        )  # the server learns late that it fails
        (self.root / "srv/users").write_text("\n".join(users) + "\n")

    def argv(self) -> Sequence[str | Path]:
        return ["chroot", "--userspec=65534:65534", self.root, "/usr/sbin/dovecot", "-F", "-c", "/srv/dovecot.conf"]

    def last_words(self) -> str:
        return super().last_words() + (self.root / "srv/log").read_text(encoding="utf-8", errors="replace")
