"""Every error Postroad raises at its users.

All derive from PostroadError.  What is wrong with one submission is a SubmissionError: it names the field and the remedy,
and nothing of that submission was stored.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

__all__ = [
    "ConfigError",
    "ContentDamaged",
    "EngineClosed",
    "EngineCrashed",
    "IdempotencyConflict",
    "NotAuthorized",
    "PluginError",
    "PostroadError",
    "QueueFull",
    "QuotaExceeded",
    "SpoolDamaged",
    "SpoolForeign",
    "SpoolInUse",
    "SpoolTooNew",
    "StoreBroken",
    "StoreError",
    "StoreFull",
    "SubmissionError",
    "SubmissionTooLarge",
    "UnknownMessage",
]

_REMEDIES = {
    errno.EROFS: "its file system is read-only: mount it writable, or name another place in [spool] url",
    errno.EACCES: "let this user write there, or name another place in [spool] url",
    errno.EPERM: "let this user write there, or name another place in [spool] url",
    errno.ENOSPC: "free some room on its disk",
    errno.EDQUOT: "free some room within this user's quota",
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n, LimitNOFILE of systemd)",
    errno.ENFILE: "this machine has too many files open: raise fs.file-max, or end what has them",
}


class PostroadError(Exception):
    """Base of every error that Postroad raises on purpose."""


class SubmissionError(PostroadError, ValueError):
    """A submission was refused before anything was stored.

    `field` is the name of the argument at fault ("to", "subject", "attachments[2].filename"); the text says what to do.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[SubmissionError], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class NotAuthorized(SubmissionError):
    """The sender is not among the authorized senders of the configuration (`[senders] authorized`)."""


class SubmissionTooLarge(SubmissionError):
    """The message is larger than the configuration allows (`[limits] message_bytes`)."""


class IdempotencyConflict(SubmissionError):
    """The idempotency key was already used by this sender for a submission with other fields.

    `receipts` is filled in by `submit_many`, where all other submissions were accepted: their receipts, in the order of the
    submissions, and None for each that was refused by such a conflict (`field` names the first of them).
    """

    receipts: Sequence[Any] = ()


class QueueFull(PostroadError):
    """The spool holds as much as the configuration allows (`[limits] queue_messages`, `queue_bytes`); try again later."""


class QuotaExceeded(PostroadError):
    """The message would exceed a quota (`[quotas]`); the text says which, and when there is more.  Nothing was stored.

    `receipts`: as for IdempotencyConflict.
    """

    receipts: Sequence[Any] = ()


class ConfigError(PostroadError, ValueError):
    """The configuration cannot be used; `key` is the setting at fault, written as in TOML ("retry.max_seconds")."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class PluginError(PostroadError):
    """A plugin is missing, broken, or breaks its contract; the text names it."""


class StoreError(PostroadError):
    """The store failed: nothing of this call can be taken as stored.  Already accepted messages are kept."""


class StoreBroken(StoreError):
    """The storage failed in a way after which its file cannot be trusted any more (a failed sync): the engine stops."""


class SpoolDamaged(StoreBroken):
    """The spool's file or its log is not what was written: starting again does not help, `postroad salvage` or a backup does."""


class ContentDamaged(StoreError):
    """A message's content is gone, or not what was accepted: it is delivered to nobody, and its recipients are parked."""


class StoreFull(StoreError):
    """The disk is full: nothing of this call is stored.  What was accepted before is kept, and goes on."""


class SpoolInUse(StoreError):
    """Another engine (or a command that changes the spool) works on this spool right now."""


class SpoolForeign(StoreError):
    """The file is a database of another program, and stays as it is: `[spool] url` names the wrong place."""


class SpoolTooNew(StoreError):
    """The spool was written by a newer version of Postroad; use that version or another spool."""


class UnknownMessage(PostroadError, KeyError):
    """No message with that id is in the spool: never accepted, or finished longer ago than `[limits] history_seconds`."""

    def __str__(self) -> str:  # KeyError would show the repr of its argument
        return str(self.args[0]) if self.args else ""


class EngineClosed(PostroadError):
    """The engine is draining or closed; it takes no more submissions."""


class EngineCrashed(PostroadError):
    """The engine stopped itself because it could no longer trust its own state; what was accepted is in the spool."""


def remedy_of(error: OSError) -> str:
    """What went wrong with a file of the spool, and what to do about it where that is known."""
    said = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{said}; {remedy}" if remedy else said
