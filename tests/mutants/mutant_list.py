"""All mutants, by what they break, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mutant import Mutant
from mutants_callbacks import CALLBACKS
from mutants_contents import CONTENTS
from mutants_damage import DAMAGE
from mutants_decide import DECISIONS, ROADS
from mutants_door import AROUND, DOOR
from mutants_events import EVENTS
from mutants_http import HTTP
from mutants_mime import MIME
from mutants_ring import REPORTS, RING
from mutants_store import STORE
from mutants_stub import STUB
from mutants_transports import FILE, SMTP

__all__ = ["GROUPS", "MUTANTS"]

GROUPS: Mapping[str, Sequence[Mutant]] = {
    "The store": STORE,
    "Damage": DAMAGE,
    "Damaged contents": CONTENTS,
    "Spool, start and end": AROUND,
    "What comes in": DOOR,
    "The ring": RING,
    "Reports and the log": REPORTS,
    "Decisions": DECISIONS,
    "Fail-over": ROADS,
    "SMTP": SMTP,
    "Mail in files": FILE,
    "Mail through providers": HTTP,
    "What providers tell later": EVENTS,
    "Callbacks": CALLBACKS,
    "Strangers' mail": MIME,
    "The stub for tests of applications": STUB,
}
MUTANTS = tuple(mutant for group in GROUPS.values() for mutant in group)
