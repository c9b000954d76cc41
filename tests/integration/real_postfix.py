"""Postfix with mailboxes of its own: known@, other@ and utf8 users at example.org, each stored in a Maildir."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from boxes import NOBODY, Boxes
from real_server import RealServer
from trustme import LeafCert

from servers.postfix import Programs, write_postfix

SIZE_LIMIT = 1_000_000
_USERS = ("known", "other", "third", "sender", "jörg", "bounced")
_MAIN = {
    "myhostname": "postfix.test",
    "mydestination": "",
    "alias_maps": "",
    "local_recipient_maps": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "disable_dns_lookups": "yes",
    "smtpd_peername_lookup": "no",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_recipient_restrictions": "check_recipient_access inline:{{later@example.org=450 4.2.1 Come back later}}",
    "smtpd_client_connection_count_limit": "0",
    "smtputf8_enable": "yes",
    "message_size_limit": SIZE_LIMIT,
    "virtual_mailbox_limit": "0",
    "virtual_minimum_uid": "1",
    "virtual_uid_maps": f"static:{NOBODY}",
    "virtual_gid_maps": f"static:{NOBODY}",
    "virtual_mailbox_domains": "inline:{example.org=}, inline:{example.com=}",
    "virtual_mailbox_maps": "inline:{" + " ".join(f"{{{user}@example.org={user}/}}" for user in _USERS) + "}",
    "transport_maps": "inline:{bounced@example.org=unwilling:}",
    "default_transport": "error:nothing leaves this machine",
    "local_header_rewrite_clients": "",
    "in_flow_delay": "0",
    "maillog_file_prefixes": "/",
}
_SERVICES = (
    "unwilling unix - n n - - pipe user=nobody argv=/bin/sh -c {exit 67}",  # a bounce, of what was accepted before
    "virtual unix - n n - - virtual",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "postlog unix-dgram n - n - 1 postlogd",
)
_PIPING = {
    "relay_domains": "app.example",
    "transport_maps": "inline:{{bounced@example.org=unwilling:}, {app.example=app:}}",
}
_LOGIN = {"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_authenticated_header": "yes"}


class RealPostfix(RealServer):
    """certificate: for STARTTLS.  login_port: of a Dovecot that knows passwords; the login is offered even without TLS.

    pipe: what mail for app.example goes into, as `pipe`'s words in master.cf.
    """

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        *,
        certificate: LeafCert | None = None,
        login_port: int | None = None,
        pipe: str = "",
    ) -> None:
        super().__init__(folder)
        self._programs = programs
        self.boxes = Boxes(folder / "boxes")
        self.log = folder / "mail.log"
        own = {"virtual_mailbox_base": self.boxes.folder, "maillog_file": self.log}
        tls = {} if certificate is None else _tls(folder / "certificate.pem", certificate)
        login = {} if login_port is None else {**_LOGIN, "smtpd_sasl_path": f"inet:127.0.0.1:{login_port}"}
        settings = {**_MAIN, **own, **tls, **login, **(_PIPING if pipe else {})}
        services = (*_SERVICES, f"app unix - n n - 10 pipe {pipe}") if pipe else _SERVICES
        self._config = write_postfix(folder, programs, self.port, settings, services)

    def argv(self) -> Sequence[str | Path]:
        return [self._programs.daemons / "master", "-c", self._config, "-d"]

    def environment(self) -> Mapping[str, str]:
        return self._programs.environment()

    def flush(self) -> None:
        """Have it try all that it keeps now: what `postqueue -f` asks of qmgr, which itself wants a pickup service, too."""
        command = [self._programs.sbin / "postkick", "-c", self._config, "public", "qmgr", "FAD"]
        subprocess.run(command, env=self.environment(), check=False, capture_output=True, timeout=20)  # it may hang up

    def last_words(self) -> str:
        return super().last_words() + self.logged()[-3000:]

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def _tls(path: Path, certificate: LeafCert) -> Mapping[str, object]:
    certificate.private_key_and_cert_chain_pem.write_to_path(path)
    path.chmod(0o600)
    return {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": path, "smtpd_tls_received_header": "yes"}
