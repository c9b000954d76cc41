"""The plugin contract: the hooks that a plugin may implement.

Hooks are synchronous and must not block (one over 50 ms is logged with its name): they name things or veto them; objects
such as transports do the asynchronous work.  A coroutine function as a hook implementation is refused at registration.
Every hook is documented in docs/plugins.md and used by a plugin in this repository.  `PLUGIN_DUTIES` are what
`postroad.testing.check_plugin` tries; the duties of a transport stand in `transport.py`, a store's in `store/contract.py`.
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
    "PLUGIN_DUTIES",
    "hookimpl",
    "hookspec",
    "postroad_admit",
    "postroad_notice",
    "postroad_register_stores",
    "postroad_register_transports",
    "postroad_route",
]

PLUGIN_DUTIES = """
H1 Found: the distribution names the plugin once in the entry-point group `postroad`, it loads, and no other plugin that is
    installed has its name.
H2 Called alike: what it registers, a transport or a store, includes one of the entry point's name, by which a configuration
    finds it; nothing is registered under a name that another plugin or Postroad itself has.
H3 As specified: hooks have the names and arguments of `postroad.hookspecs`, are synchronous and no wrappers, and an annotation
    that they have is the specification's.
H4 Quick answers: a hook raises nothing, takes less than 50 ms, and answers what its specification names.
H5 Settings: a factory refuses what it does not know with a ConfigError that names the key, and only reads what it is given.
H6 Nothing left: a factory's context leaves no task, thread or open file behind, also where it refuses its settings.
H7 Quick import: importing the plugin takes less than half a second of the processor beside Postroad itself, prints nothing,
    starts no thread and opens nothing; what is heavy is imported when a transport is made.
H8 Public names: only what docs/plugins.md lists under "What a plugin may import" is imported of Postroad, and nothing that
    begins with an underscore.
H9 Documented: each setting is described, in its `Meta`, in its Struct's or module's docstring, or in the distribution's readme.
H10 Honest metadata: the distribution has a version and requires `postroad`.
"""

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
