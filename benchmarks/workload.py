"""The messages of the benchmark: one sender, one recipient, a body of text lines, an id and the moment of submission each.

The id lets a sink count distinct messages; the moment (monotonic seconds, the same clock in every process of a machine)
lets it tell how long a message took from submission to receipt.
"""

from __future__ import annotations

import gc
import re
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "HEAD_OCTETS",
    "MESSAGE_ID",
    "RECIPIENT",
    "SENDER",
    "SUBMITTED",
    "Template",
    "burn",
    "own_cpu_seconds",
    "percentiles",
    "set_aside",
    "together",
]

SENDER = "sender@bench.example"
RECIPIENT = "recipient@sink.example"
_STAMPED = b"%012d@bench.example>\r\nX-Submitted: %017.6f"
_MADE_BEFORE = _STAMPED.replace(b"Submitted", b"Made-When")
HEAD_OCTETS = 4096  # in which a sink looks for the header fields
MESSAGE_ID = re.compile(rb"^message-id:[ \t]*<([^>]*)>", re.IGNORECASE | re.MULTILINE)
SUBMITTED = re.compile(rb"^X-Submitted: ([0-9.]+)", re.MULTILINE)
_LINE = b"The quick brown fox jumps over the lazy dog, and then it does it again.\r\n"


class Template:
    """Makes messages of `octets` octets.  tag: tells the messages of one run from those of all others.

    is_sent_at_once: else they are made before the run, and their moment tells nothing of how long they took.
    """

    def __init__(self, octets: int, tag: str, *, is_sent_at_once: bool = True) -> None:
        self._stamp = _STAMPED if is_sent_at_once else _MADE_BEFORE
        self._head = (
            f"From: Sender <{SENDER}>\r\nTo: Recipient <{RECIPIENT}>\r\nSubject: A message of the benchmark\r\n"
            "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Message-ID: <{tag}."
        ).encode()
        rest = octets - len(self.message(0))
        self._tail += (_LINE * (rest // len(_LINE) + 1))[: max(0, rest - 2)] + b"\r\n"

    _tail = b"\r\n\r\n"

    def message(self, number: int) -> bytes:
        return self._head + self._stamp % (number, time.monotonic()) + self._tail


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and max in milliseconds; empty for no values."""
    if not seconds:
        return {}
    ranked = sorted(seconds)
    at = {"p50_ms": 0.50, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(1000 * ranked[min(len(ranked) - 1, int(part * len(ranked)))], 3) for name, part in at.items()}


def together(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several senders tell of one run: its beginning, and all of their `seconds` ranked as one."""
    seconds = [one for answer in answers for one in answer["seconds"]]
    return {"began": min(answer["began"] for answer in answers), "durable": percentiles(seconds)}


def own_cpu_seconds() -> float:
    """What this process has used so far, in user and in kernel."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def set_aside() -> None:
    """Spare the garbage collector what was made so far, so that a run does not pay for the messages that wait for it."""
    gc.collect()
    gc.freeze()


def burn(microseconds: int) -> None:
    """Use so much CPU time of this thread, as a signature would."""
    until = time.thread_time_ns() + 1000 * microseconds
    while time.thread_time_ns() < until:
        pass
