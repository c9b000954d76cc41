"""Fetches the real servers of tests/integration into .servers: Debian's packages, unpacked and not installed, and moto (SES).

Runs on any Python 3.11; `make servers` calls it.  As root it runs `apt-get update` where the lists of packages are absent or old.
"""

from __future__ import annotations

import sys
from pathlib import Path

from servers.debian import SERVERS, Unpacked, fetch
from servers.environment import find_python

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".servers"


def main() -> int:
    CACHE.mkdir(exist_ok=True)
    CACHE.chmod(0o755)
    failed = False
    for name in SERVERS:
        found = fetch(CACHE, name, may_update=True)
        failed |= not isinstance(found, Unpacked)
        print(f"{name}: in .servers/{name}" if isinstance(found, Unpacked) else found, flush=True)
    _, absent = find_python(CACHE, "moto", "moto")
    print(f"moto: {absent or 'in .servers'}", flush=True)
    return 1 if failed or absent else 0


if __name__ == "__main__":
    sys.exit(main())
