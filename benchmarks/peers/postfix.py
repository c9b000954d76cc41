"""Postfix, from a configuration and a queue of its own, with smtp-source as the application: its best settings.

Nothing of an installed Postfix is touched, and it works only as root (`scripts/servers/postfix.py`).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from measure import cpu_of_tree
from processes import Family
from sinks import free_port, wait_for_port
from workload import RECIPIENT, SENDER

from . import Place, Sent
from .debian import Programs, closed_to_others, find_programs, why_not, write_postfix

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


class Postfix:
    name = "postfix"
    durability = "one fsync per message before its 250 (queue file)"
    settings = (
        "smtp-source -s 5 on kept connections injects (its CPU is not counted); destination concurrency 20; no mail log"
    )

    def __init__(self, cache: Path, *, may_fetch: bool, sessions: int = 5) -> None:
        self._cache = cache
        self._may_fetch = may_fetch
        self._sessions = sessions
        self._programs: Programs | None = None
        self._began = self._cpu = 0.0

    def available(self) -> str | None:
        if reason := why_not():
            return reason
        found = find_programs(self._cache, may_fetch=self._may_fetch)
        if isinstance(found, str):
            return found
        self._cache.mkdir(parents=True, exist_ok=True)
        if reason := closed_to_others(found.daemons) or closed_to_others(self._cache):
            return f"{reason}; choose another folder with --cache"
        self._programs = found
        return None

    def start(self, place: Place) -> None:
        programs = self._programs
        assert programs is not None, "available() said None before"
        self._family: Family = place.family
        self._place = place
        self._port = free_port()
        sink = f"[127.0.0.1]:{place.sink.port}"
        settings = {**_SETTINGS, "relayhost": sink, "smtp_connection_cache_destinations": sink}
        config = write_postfix(place.folder, programs, self._port, settings)
        self._master = self._start([programs.daemons / "master", "-c", config, "-d"], programs)
        wait_for_port(self._port, self._master)

    @property
    def pid(self) -> int:
        return self._master.pid

    def send(self, count: int, seconds: float) -> None:
        assert self._programs is not None
        argv: list[str | Path] = [
            self._programs.sbin / "smtp-source",
            *["-d", "-s", str(self._sessions), "-m", str(count)],
            *["-l", str(self._place.octets), "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{self._port}"],
        ]
        self._cpu, self._began = cpu_of_tree(self.pid), time.monotonic()
        source = self._start(argv, self._programs)
        try:
            source.wait(seconds)
        finally:
            self._family.end(source)

    def _start(self, argv: Sequence[str | Path], programs: Programs) -> subprocess.Popen[bytes]:
        with (self._place.folder / "postfix.out").open("ab") as said:
            return self._family.start(argv, stdout=said, stderr=subprocess.STDOUT, env=programs.environment())

    def finish(self, seconds: float) -> Sent:
        """Every queue file is gone."""
        deadline = time.monotonic() + seconds
        while (left := _queued(self._place.folder / "queue")) and time.monotonic() < deadline:
            time.sleep(0.02)
        problem = f"{left} messages were left in its queue" if left else ""
        return Sent(began=self._began, cpu_seconds=cpu_of_tree(self.pid) - self._cpu, problem=problem)

    def stop(self) -> None:
        self._family.end(self._master)


def _queued(queue: Path) -> int:
    return sum(1 for part in ("incoming", "active", "deferred") for _, _, names in os.walk(queue / part) for _ in names)
