"""Postfix, from a configuration and a queue of its own, with smtp-source as the application: its best settings.

Nothing of an installed Postfix is touched.  It works only as root (its master gives up privileges by itself); the accounts it
needs are borrowed from those that every Debian has.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from measure import cpu_of_tree
from processes import Family
from sinks import free_port, wait_for_port
from workload import RECIPIENT, SENDER

from . import Place, Sent
from .debian import Programs, find_programs

__all__ = ["Postfix"]

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

_MAIN = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
daemon_directory = {daemons}
command_directory = {sbin}
shlib_directory = {libraries}
meta_directory = {config}
mail_owner = {owner}
setgid_group = {group}
default_privs = nobody
myhostname = bench.localdomain
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
smtp_tls_security_level = none
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{sink}
default_destination_concurrency_limit = 20
initial_destination_concurrency = 20
smtp_connection_cache_destinations = [127.0.0.1]:{sink}
smtp_connection_reuse_count_limit = 0
in_flow_delay = 0
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
default_process_limit = 100
max_use = 10000
import_environment = MAIL_CONFIG TZ LD_LIBRARY_PATH
"""

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
        if os.geteuid() != 0:
            return "Postfix's master runs only as root"
        found = find_programs(self._cache, may_fetch=self._may_fetch)
        if isinstance(found, str):
            return found
        if reason := _closed_to_others(found.daemons) or _closed_to_others(self._cache):
            return reason
        if _accounts() is None:
            return "Postfix needs the accounts daemon and nobody and the group mail"
        self._programs = found
        return None

    def start(self, place: Place) -> None:
        programs = self._programs
        assert programs is not None, "available() said None before"
        self._family: Family = place.family
        self._place = place
        self._port = free_port()
        config = _written(place, programs, self._port)
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


def _accounts() -> tuple[str, str] | None:
    try:
        pwd.getpwnam("nobody")
        return pwd.getpwnam("daemon").pw_name, grp.getgrnam("mail").gr_name
    except KeyError:
        return None


def _closed_to_others(folder: Path) -> str | None:
    """Postfix's processes change to an account without rights: every folder on the way must let them pass."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (folder, *folder.parents):
        if not part.stat().st_mode & 0o001:
            return f"Postfix cannot enter {part} (its processes are not root); choose another folder with --cache"
    return None


def _queued(queue: Path) -> int:
    return sum(1 for part in ("incoming", "active", "deferred") for _, _, names in os.walk(queue / part) for _ in names)


def _written(place: Place, programs: Programs, port: int) -> Path:
    """Write a configuration and an empty queue; return the configuration's folder."""
    accounts = _accounts()
    assert accounts is not None
    owner, group = accounts
    queue, data, config = place.folder / "queue", place.folder / "data", place.folder / "config"
    place.folder.chmod(0o755)
    for folder in (queue, data, config):
        folder.mkdir(mode=0o755)
    _make_queue(queue, owner, group)
    shutil.chown(data, owner)
    (config / "main.cf").write_text(
        _MAIN.format(
            queue=queue,
            data=data,
            config=config,
            daemons=programs.daemons,
            sbin=programs.sbin,
            libraries=programs.libraries or "/usr/lib/postfix",
            owner=owner,
            group=group,
            sink=place.sink.port,
        )
    )
    (config / "master.cf").write_text(_MASTER.format(port=port))
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
