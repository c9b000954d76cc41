"""Exim in a root folder of its own: its paths and the name of its account are compiled in.

A message is queued, and a queue runner delivers it a second later at the most: that is quicker than a process for each message as
it comes, which is what Exim does without being told.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from processes import BENCHMARKS

from . import Level
from .debian import build_root
from .injected import RESOLV_CONF, UnpackedServer, count_files

__all__ = ["Exim"]

_USER = 1  # means something inside the root folder only
_FILES = ("usr/sbin/exim4", "/bin/sh")
_SPOOL = "var/spool/exim4"
# Of a connection it would take 1,000 messages and no more: half of a backlog of 10,000.
_CONFIG = """\
primary_hostname = bench.localdomain
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
host_lookup =
disable_ipv6 = true
rfc1413_hosts =
acl_smtp_rcpt = accept
smtp_accept_max = 200
smtp_accept_max_per_connection = 1000000
smtp_accept_queue_per_connection = 0
deliver_queue_load_max = 1000
queue_only = true
queue_run_max = 20
split_spool_directory = true
remote_max_parallel = 20
message_size_limit = 100M
log_selector = -all
begin routers
out:
{route}
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {sink}
  hosts_avoid_tls = *
  connection_max_messages = 0
begin retry
* * F,1h,1s
"""

_TO_SINK = "  driver = manualroute\n  route_list = * 127.0.0.1 byname"
_BY_MX = "  driver = dnslookup"


class Exim(UnpackedServer):
    name = "exim"
    level: Level = "synced"
    durability = "spool files synced before its 250"

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        super().__init__(cache, may_fetch=may_fetch)
        self.settings = (
            f"{self._sessions} kept connections inject; queue_only, a queue runner each second, at most 20; split spool"
        )

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        self._root = self._place.folder / "root"
        self._root.mkdir()
        build_root(self._root, self._package, _FILES, {"Debian-exim": (_USER, _USER)})
        (self._root / "usr/sbin/exim4").chmod(0o4755)
        for name in (_SPOOL, "var/log/exim4"):
            (self._root / name).mkdir(parents=True)
            os.chown(self._root / name, _USER, _USER)
        (self._root / "run/exim4").mkdir(parents=True)
        (self._root / "etc/exim4").mkdir()
        by_mx = self._place.load.by_mx
        config = _CONFIG.format(port=port, sink=self._place.sink.port, route=_BY_MX if by_mx else _TO_SINK)
        (self._root / "etc/exim4/exim4.conf").write_text(config)
        if by_mx:
            (self._root / "etc/resolv.conf").write_text(RESOLV_CONF)
        (self._root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        reaper = [sys.executable, BENCHMARKS / "reaper.py"]  # its deliveries detach themselves
        return self.run([*reaper, "chroot", self._root, "/usr/sbin/exim4", "-bdf", "-q1s"])

    def queued(self) -> int:
        """A file with the header each."""
        return count_files(self._root / _SPOOL / "input", ending="-H")
