"""Fetches the real servers of tests/integration from Debian's packages and unpacks them into .servers: nothing is installed.

Runs on any Python 3.11; `make servers` calls it.  As root it runs `apt-get update` where the lists of packages are absent or old.
"""

from __future__ import annotations

import sys
from pathlib import Path

from servers.debian import SERVERS, Unpacked, fetch

CACHE = Path(__file__).resolve().parent.parent / ".servers"


def main() -> int:
    CACHE.mkdir(exist_ok=True)
    CACHE.chmod(0o755)
    failed = False
    for name in SERVERS:
        found = fetch(CACHE, name, may_update=True)
        failed |= not isinstance(found, Unpacked)
        print(f"{name}: in .servers/{name}" if isinstance(found, Unpacked) else found, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
