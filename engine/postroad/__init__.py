"""A durable e-mail delivery engine that an async Python application carries inside itself.

    async with postroad.open_engine("postroad.toml") as engine:
        receipt = await engine.send_mail(sender="support@example.com", to="albert@example.org", subject="Hello", body="...")
        outcome = await receipt.settled()

Everything public is here, in `postroad.events`, `postroad.errors`, `postroad.config`, `postroad.testing`, and for plugins in
`postroad.hookspecs`, `postroad.transport`, `postroad.verdict` and `postroad.store`.  Names are looked up when first used,
so that `import postroad` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__
from .lazy import lazy_names

if TYPE_CHECKING:
    from .compose import Attachment
    from .config import Config, load_config
    from .decide.admission import Refusal
    from .engine import Engine
    from .errors import (
        ConfigError,
        EngineClosed,
        EngineCrashed,
        IdempotencyConflict,
        NotAuthorized,
        PluginError,
        PostroadError,
        QueueFull,
        QuotaExceeded,
        SpoolDamaged,
        SpoolForeign,
        SpoolInUse,
        SpoolTooNew,
        StoreBroken,
        StoreError,
        StoreFull,
        SubmissionError,
        SubmissionTooLarge,
        UnknownMessage,
    )
    from .hookspecs import hookimpl
    from .message import DsnOptions, Submission
    from .opening import open_engine
    from .receipt import Outcome, Receipt, RecipientOutcome
    from .store.contract import Filter
    from .verdict import Disposition, Scope, Verdict

_HOMES = {
    "Attachment": "compose",
    "Config": "config",
    "ConfigError": "errors",
    "Disposition": "verdict",
    "DsnOptions": "message",
    "Engine": "engine",
    "EngineClosed": "errors",
    "EngineCrashed": "errors",
    "Filter": "store.contract",
    "IdempotencyConflict": "errors",
    "NotAuthorized": "errors",
    "Outcome": "receipt",
    "PluginError": "errors",
    "PostroadError": "errors",
    "QueueFull": "errors",
    "QuotaExceeded": "errors",
    "Receipt": "receipt",
    "RecipientOutcome": "receipt",
    "Refusal": "decide.admission",
    "Scope": "verdict",
    "SpoolDamaged": "errors",
    "SpoolForeign": "errors",
    "SpoolInUse": "errors",
    "SpoolTooNew": "errors",
    "StoreBroken": "errors",
    "StoreError": "errors",
    "StoreFull": "errors",
    "Submission": "message",
    "SubmissionError": "errors",
    "SubmissionTooLarge": "errors",
    "UnknownMessage": "errors",
    "Verdict": "verdict",
    "hookimpl": "hookspecs",
    "load_config": "config",
    "open_engine": "opening",
}

__all__ = [
    "Attachment",
    "Config",
    "ConfigError",
    "Disposition",
    "DsnOptions",
    "Engine",
    "EngineClosed",
    "EngineCrashed",
    "Filter",
    "IdempotencyConflict",
    "NotAuthorized",
    "Outcome",
    "PluginError",
    "PostroadError",
    "QueueFull",
    "QuotaExceeded",
    "Receipt",
    "RecipientOutcome",
    "Refusal",
    "Scope",
    "SpoolDamaged",
    "SpoolForeign",
    "SpoolInUse",
    "SpoolTooNew",
    "StoreBroken",
    "StoreError",
    "StoreFull",
    "Submission",
    "SubmissionError",
    "SubmissionTooLarge",
    "UnknownMessage",
    "Verdict",
    "__version__",
    "hookimpl",
    "load_config",
    "open_engine",
]


__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
