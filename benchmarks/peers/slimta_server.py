"""The server of python-slimta.  Runs where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gevent import monkey

monkey.patch_all()

from slimta.diskstorage import DiskStorage  # noqa: E402  # after the patch, as gevent asks
from slimta.edge.smtp import SmtpEdge  # noqa: E402
from slimta.queue import Queue  # noqa: E402
from slimta.relay.smtp.static import StaticSmtpRelay  # noqa: E402

_RETRY_SECONDS = 300.0


def _wait(_envelope: object, _attempts: int) -> float:
    """Seconds to the next try; without such a function it tries once and gives up."""
    return _RETRY_SECONDS


def main() -> None:
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    storage = DiskStorage(str(folder / "envelopes"), str(folder / "meta"), str(folder / "tmp"))
    relay = StaticSmtpRelay("127.0.0.1", settings["sink"], pool_size=20, idle_timeout=10)
    queue = Queue(storage, relay, backoff=_wait)
    queue.start()
    edge = SmtpEdge(("127.0.0.1", settings["port"]), queue, hostname="slimta.example")
    edge.start()
    edge.get()


if __name__ == "__main__":
    main()
