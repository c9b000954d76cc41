"""Prints the demo as it happens: with rich where it is installed, in plain lines elsewhere, not at all under --json."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click

from ...events import (
    AttemptInDoubt,
    Event,
    LaneHeld,
    MaybeDuplicate,
    MessageAccepted,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
    ReportQueued,
)
from .letters import mailbox_of
from .verify import Result

__all__ = ["Timeline", "make_timeline"]

_DESTINATIONS = {
    "first": "example.com: accepts",
    "second": "example.org: refuses connections, then answers 451, then accepts",
    "third": "example.net: answers 550",
}
_STYLES = {
    "on disk": "cyan",
    "delivered": "green",
    "deferred": "yellow",
    "failed": "red",
    "reported": "magenta",
    "passed": "green",
}


class Timeline:
    """Plain lines.  What an event means for a reader is told here; subclasses only write differently."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def opening(self, folder: Path, servers: Mapping[str, tuple[int, int]]) -> None:
        """servers: port and process id by name."""
        self.write("", f"Spool, configuration, log and mailbox: {folder}")
        for name, (port, pid) in servers.items():
            self.write("", f"SMTP server on 127.0.0.1:{port} (process {pid}) for {_DESTINATIONS[name]}")
        self.write("", "")

    def event(self, event: Event) -> None:
        told = _told(event)
        if told is not None:
            self._at_time(*told)

    def aside(self, text: str) -> None:
        self._at_time("", f"({text})")

    def _at_time(self, kind: str, text: str) -> None:
        self.write(kind, f"{time.monotonic() - self._begun:6.2f} s  {kind:<10}  {text}")

    def summary(self, result: Result) -> None:
        self.write("", "")
        for check in result.checks:
            kind, word = ("passed", "ok    ") if check.ok else ("failed", "FAILED")
            self.write(kind, f"{word}  {check.what}" + (f": {check.seen}" if check.seen and not check.ok else ""))
        self.write("", "")
        folder = Path(result.folder)
        self.write("", f"Look again:  postroad --config {folder / 'postroad.toml'} queue list --all")
        self.write("", f"The bounce:  {mailbox_of(folder)}")
        if result.ok:
            self.write("passed", f"All of it happened, in {result.seconds:.1f} s.")
        else:
            self.write(
                "failed", f"Not all of it happened ({result.seconds:.1f} s).  The engine's log: {folder / 'engine.log'}"
            )

    def write(self, kind: str, text: str) -> None:
        click.echo(text)


class _Silent(Timeline):
    def write(self, kind: str, text: str) -> None:
        pass


def make_timeline(*, is_silent: bool) -> Timeline:
    if is_silent:
        return _Silent()
    try:
        from rich.console import Console
    except ImportError:
        click.echo("(plain output: rich is not installed; pip install 'postroad[demo]')")
        return Timeline()

    class Rich(Timeline):
        _console = Console(highlight=False, soft_wrap=True)

        def write(self, kind: str, text: str) -> None:
            self._console.print(text, style=_STYLES.get(kind), markup=False)

    return Rich()


def _told(event: Event) -> tuple[str, str] | None:
    """A kind and a sentence, or None where there is nothing to say."""
    match event:
        case MessageAccepted(id=id, sender=sender) if sender:
            return "on disk", f"message {id} is accepted"
        case RecipientDelivered():
            return "delivered", f"{event.recipient}: {event.reply}"
        case RecipientDeferred():
            return "deferred", f"{event.recipient}: {event.reply}; next try in {max(0.0, event.due - event.at):.1f} s"
        case RecipientFailed():
            return "failed", f"{event.recipient}: {event.reply}"
        case ReportQueued():
            return "reported", f"a report on {', '.join(event.recipients)} goes to the sender ({event.report_id})"
        case AttemptInDoubt() | MaybeDuplicate():
            return "in doubt", f"{event.recipient}: {event.reply}"
        case LaneHeld():
            return "held", f"{event.lane}: {event.reply}"
        case _:
            return None
