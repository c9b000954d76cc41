"""What `scripts/servers` finds or fetches: programs of servers and Python environments, as the integration tests use them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from servers.chroot import build_root
from servers.debian import Unpacked, fetch, find
from servers.environment import find_python
from servers.postfix import Programs, closed_to_others, find_programs, why_not, write_postfix

__all__ = [
    "Programs",
    "Unpacked",
    "build_root",
    "closed_to_others",
    "find_programs",
    "find_python",
    "unpacked",
    "why_not",
    "write_postfix",
]


def unpacked(cache: Path, name: str, *, may_fetch: bool) -> Unpacked | str:
    """A server's package, unpacked; or why there is none."""
    found = fetch(cache, name) if may_fetch else find(cache, name)
    return f"{name} is not unpacked in {cache}, and nothing may be fetched" if found is None else found
