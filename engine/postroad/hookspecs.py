"""The plugin contract: the hooks that a plugin may implement.

Hooks are synchronous and must not block (one over 50 ms is logged with its name): they name things or veto them; objects
such as transports do the asynchronous work.  A coroutine function as a hook implementation is refused at registration.
Every hook is documented in docs/plugins.md and used by a plugin in this repository.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .decide.admission import Refusal
    from .events import Event
    from .message import Submission
    from .store.contract import StoreFactory
    from .transport import TransportFactory

__all__ = [
    "hookimpl",
    "hookspec",
    "postroad_admit",
    "postroad_notice",
    "postroad_register_stores",
    "postroad_register_transports",
    "postroad_route",
]

hookspec = pluggy.HookspecMarker("postroad")
hookimpl = pluggy.HookimplMarker("postroad")


@hookspec
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    """Call `register(name, factory)` for each transport kind of the plugin.

    `[transports.x] plugin = "name"` in the configuration then makes one by `factory(settings)`, where settings are the
    remaining keys of that table.  The factory refuses settings it does not know or cannot use with a ConfigError.
    """


@hookspec
def postroad_register_stores(register: Callable[[str, StoreFactory], None]) -> None:
    """Call `register(scheme, factory)` for each kind of spool; `[spool] url = "scheme:rest"` selects it."""


@hookspec(firstresult=True)
def postroad_admit(submission: Submission) -> Refusal | None:
    """Return a Refusal to refuse a submission at the door, before anything is stored; None lets others decide.

    A hook that raises refuses that submission, and the error names the plugin.
    """


@hookspec(firstresult=True)
def postroad_route(sender: str, recipient: str, tags: tuple[str, ...]) -> str | None:
    """Return the name of a route for this recipient, or None to leave it to the configuration's rules.

    Called at the door, once for each recipient, and again when the configuration changed while mail was queued.
    """


@hookspec
def postroad_notice(event: Event) -> None:
    """Take notice of an event after it is committed.  Exceptions are logged and change nothing."""
