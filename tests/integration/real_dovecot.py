"""Dovecot in a root folder of its own, without privileges: LMTP by TCP and by a unix socket, and logins for Postfix.

Its modules' folder is compiled in, hence the root folder.  Who is not root enters it by a namespace of his own, where he may.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from boxes import NOBODY, Boxes, give_away
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
default_internal_user = {account}
default_internal_group = {account}
default_login_user = {account}
mail_location = maildir:/boxes/%n
mail_uid = {account}
mail_gid = {account}
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
_ACCOUNT = "postroad"
_IS_ROOT = os.geteuid() == 0
_OWN_NAMESPACE = ("unshare", "--user", "--map-current-user")


def why_not() -> str | None:
    """Why Dovecot cannot run here, or None."""
    if _IS_ROOT or subprocess.run([*_OWN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0:
        return None
    return "Dovecot needs root, or a system that allows user namespaces"


class RealDovecot(RealServer):
    """login_port: where Postfix asks whether a password is right.  socket: LMTP by unix socket."""

    def __init__(self, folder: Path, server: Unpacked) -> None:
        super().__init__(folder)
        self.login_port = free_port()
        self.root = folder / "root"
        self.socket = self.root / "srv/lmtp"
        self.root.mkdir()
        account = (NOBODY, NOBODY) if _IS_ROOT else (os.geteuid(), os.getegid())
        build_root(self.root, server, _FILES, {_ACCOUNT: account})
        self.boxes = Boxes(self.root / "boxes")
        self._write()

    def _write(self) -> None:
        for name in ("srv", "run"):
            (self.root / name).mkdir()
            give_away(self.root / name)
        config = _CONFIG.format(account=_ACCOUNT, port=self.port, login_port=self.login_port)
        (self.root / "srv/dovecot.conf").write_text(config)
        users = {"known": "", "other": "", "broken": "userdb_mail=maildir:/srv/users/no-folder"}  # the last fails late
        lines = [f"{user}:{PASSWORD}::::::{more}\n" for user, more in users.items()]
        (self.root / "srv/users").write_text("".join(lines))

    def argv(self) -> Sequence[str | Path]:
        enter = ["chroot", f"--userspec={NOBODY}:{NOBODY}"] if _IS_ROOT else [*_OWN_NAMESPACE, "--root"]
        return [*enter, self.root, "/usr/sbin/dovecot", "-F", "-c", "/srv/dovecot.conf"]

    def last_words(self) -> str:
        return super().last_words() + (self.root / "srv/log").read_text(encoding="utf-8", errors="replace")
