"""What `scripts/servers` finds or fetches, Postfix's programs and Python environments: the same as the integration tests use."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from servers.environment import make_environment
from servers.postfix import Programs, closed_to_others, find_programs, why_not, write_postfix

__all__ = ["Programs", "closed_to_others", "find_programs", "make_environment", "why_not", "write_postfix"]
