"""Postfix, from a configuration and a queue of its own, with an SMTP client as the application: its best settings.

Nothing of an installed Postfix is touched, and it works only as root (`scripts/servers/postfix.py`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from load import Load

from . import Level
from .debian import closed_to_others, find_programs, why_not, write_postfix
from .injected import RESOLV_CONF, Injected, count_files

__all__ = ["Postfix"]

# Nothing is looked up, nothing is limited, and connections to the sink are kept: its best settings.
_SETTINGS = {
    "myhostname": "bench.localdomain",
    "mydestination": "",
    "alias_maps": "",
    "local_recipient_maps": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_recipient_restrictions": "",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": 0,
    "smtpd_tls_security_level": "none",
    "smtp_tls_security_level": "none",
    "disable_dns_lookups": "yes",
    "default_destination_concurrency_limit": 20,
    "initial_destination_concurrency": 20,
    "smtp_connection_reuse_count_limit": 0,
    "in_flow_delay": 0,
    "qmgr_message_active_limit": 100000,
    "qmgr_message_recipient_limit": 100000,
    "default_process_limit": 100,
    "max_use": 10000,
}


# Where each is written to again soon, 2.17 ms of CPU a message instead of 2.3; keeping 10,000 connections that nobody uses again
# would cost it 3.1 instead of 2.5, so that there it keeps those of busy destinations only, as it does by itself.
_KEPT_DESTINATIONS = 100
# One to three seconds, two in the mean.  The queue manager counts in whole seconds and takes a message up to one before its time:
# with a backoff of two it may come milliseconds after the last attempt, while its delivery agent still has it locked, and is then
# laid aside for a minute or more (qmgr_active.c).
_RETRY = {"minimal_backoff_time": "3s", "maximal_backoff_time": "3s", "queue_run_delay": "1s"}
_TLS = "tlsmgr unix - - n 1000? 1 tlsmgr"
_BY_MX = "mx unix - - y - - smtp"  # in the queue's folder, which has a resolv.conf of its own
_VIRTUAL = "virtual unix - n n - - virtual"  # into files


def settings_for(load: Load, port: int, folder: Path | None) -> dict[str, Any]:
    """Of main.cf.  port: the sink's.  folder: where the sink looks for files."""
    sink = f"[127.0.0.1]:{port}"
    settings: dict[str, Any] = {**_SETTINGS, "relayhost": sink, "message_size_limit": 0, "queue_minfree": 0}
    if load.by_mx:
        settings |= {"relayhost": "", "disable_dns_lookups": "no", "smtp_host_lookup": "dns", "default_transport": "mx"}
        settings |= {"smtp_tcp_port": port}
        if load.destinations <= _KEPT_DESTINATIONS:
            settings["smtp_connection_cache_destinations"] = "static:all"
    elif load.kept:
        settings["smtp_connection_cache_destinations"] = sink
    else:
        settings |= {"smtp_connection_cache_on_demand": "no", "smtp_connection_cache_destinations": ""}
    if load.tls:
        settings["smtp_tls_security_level"] = "encrypt"
    if load.deferred:
        settings |= _RETRY
    if load.out == "file":
        owners = {"virtual_uid_maps": "static:65534", "virtual_gid_maps": "static:65534"}
        settings |= {"virtual_mailbox_domains": "static:all", "virtual_mailbox_maps": "static:all/", **owners}
        settings |= {"virtual_mailbox_base": folder, "virtual_mailbox_limit": 0}
    return settings


def _services_for(load: Load) -> list[str]:
    """Of master.cf, beside the usual ones."""
    return [line for line, wanted in ((_VIRTUAL, load.out == "file"), (_TLS, load.tls), (_BY_MX, load.by_mx)) if wanted]


class Postfix(Injected):
    name = "postfix"
    level: Level = "synced"
    durability = "one fsync per message before its 250 (queue file)"

    def __init__(self, cache: Path, *, may_fetch: bool, sessions: int = 5) -> None:
        super().__init__(sessions=sessions)
        self._cache = cache
        self._may_fetch = may_fetch
        self.settings = (
            f"{sessions} kept connections inject (the injector's CPU is not counted); destination concurrency 20; "
            "no mail log"
        )

    def available(self) -> str | None:
        if reason := why_not():
            return reason
        found = find_programs(self._cache, may_fetch=self._may_fetch)
        if isinstance(found, str):
            return found
        self._cache.mkdir(parents=True, exist_ok=True)
        if reason := closed_to_others(found.daemons) or closed_to_others(self._cache):
            return f"{reason}; choose another folder with --cache"
        self._source = found
        return None

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        programs, place = self._source, self._place
        assert programs is not None, "available() said None before"
        settings = settings_for(place.load, place.sink.port, place.sink.folder)
        config = write_postfix(place.folder, programs, port, settings, _services_for(place.load))
        if place.load.by_mx:
            (place.folder / "queue/etc").mkdir()
            (place.folder / "queue/etc/resolv.conf").write_text(RESOLV_CONF)
        return self.run([programs.daemons / "master", "-c", config, "-d"], programs.environment())

    def queued(self) -> int:
        return count_files(*(self._place.folder / "queue" / part for part in ("incoming", "active", "deferred")))
