"""Compares what was acknowledged with what a spool says after something went wrong; knows no disk, no kill and no engine.

Both sides are a `Spooled`: one is read from a store, the other from whatever noted the acknowledgements.  Each broken promise
begins with the invariant that it breaks (I1: nothing acknowledged is without its outcome; I3: one final outcome each), or with
"damaged".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from postroad.errors import StoreError
from postroad.store.contract import ContentPlace, Filter, Store, StoredMessage
from postroad.store.states import ENDS, State

__all__ = ["Kept", "Spooled", "broken_promises", "said_by"]

_MANY = 1_000_000
GONE = "gone"  # instead of a digest


@dataclass(frozen=True)
class Kept:
    """One message.  states: by (number, address); None: acknowledged, and nothing is known of what came then.

    content: its digest, "" where nobody needs it any more.
    """

    states: Mapping[tuple[int, str], State | None]
    content: str = ""


@dataclass(frozen=True)
class Spooled:
    """failures, delays: ids of the messages whose failure or delay is to be reported.  problems: what the store finds wrong."""

    messages: Mapping[str, Kept]
    failures: frozenset[str] = frozenset()
    delays: frozenset[str] = frozenset()
    facts: Mapping[str, bytes | None] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def said_by(store: Store, read: Callable[[ContentPlace], bytes], facts: tuple[str, ...] = ()) -> Spooled:
    """What a store says.  read: the octets of a content that lies in a file; raises StoreError where they are gone."""
    return Spooled(
        messages={one.message.id: _kept(store, one, read) for one in store.find(Filter(), _MANY)},
        failures=frozenset(one.message.id for one in store.failures(_MANY)),
        delays=frozenset(one.message.id for one in store.delays(_MANY)),
        facts={name: store.recall(name) for name in facts},
        problems=tuple(store.check()),
    )


def _kept(store: Store, one: StoredMessage, read: Callable[[ContentPlace], bytes]) -> Kept:
    states = {(recipient.number, recipient.address): recipient.state for recipient in one.recipients}
    return Kept(states, "" if one.finished_at is not None else _digest(store, one.handle, read))


def _digest(store: Store, handle: int, read: Callable[[ContentPlace], bytes]) -> str:
    try:
        content = store.content(handle)
        octets = read(content) if isinstance(content, ContentPlace) else content
    except StoreError:
        return GONE
    return hashlib.sha256(octets).hexdigest()


def broken_promises(acknowledged: Spooled, now: Spooled, perhaps: Spooled | None = None) -> list[str]:
    """What of the acknowledged is not there any more; one sentence each, none where all promises are kept.

    perhaps: what would have been acknowledged next, had it been answered: it may be there as a whole.
    """
    if perhaps is not None and now == perhaps:
        return []
    found = [f"damaged: {problem}" for problem in now.problems]
    for id, kept in acknowledged.messages.items():
        found += _broken_of(id, kept, now.messages.get(id))
    found += [f"I1: the failure of {id} is reported to nobody" for id in acknowledged.failures - now.failures]
    found += [f"I1: the delay of {id} is reported to nobody" for id in acknowledged.delays - now.delays]
    found += [
        f"I1: the fact {name!r} is forgotten"
        for name in acknowledged.facts
        if acknowledged.facts[name] != now.facts[name]
    ]
    if perhaps is not None and not found and now != acknowledged:
        found.append("damaged: a commit is there in part")
    return sorted(found)


def _broken_of(id: str, kept: Kept, found: Kept | None) -> Iterator[str]:
    if found is None:
        yield f"I1: {id} is lost"
        return
    for place, state in kept.states.items():
        now = found.states.get(place)
        if now is None:
            yield f"I1: {id} has lost {place}"
        elif state in ENDS and now is not state:
            yield f"I3: {id} {place} was {state.name} and is {now.name}"
        elif state is not None and now is not state:
            yield f"I1: {id} {place} was {state.name} and is {now.name}"
    if kept.content and found.content != kept.content:
        yield f"I1: the content of {id} is {'gone' if found.content == GONE else 'another one'}"
