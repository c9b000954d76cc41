"""What the command prints: JSON for programs, aligned columns for people.  Whatever a peer said is made harmless first."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..log import printable
from .moments import ago, clock_time

if TYPE_CHECKING:
    from ..status import Status
    from ..store.contract import StoredMessage, StoredRecipient

__all__ = [
    "as_json_option",
    "facts",
    "message_record",
    "show_json",
    "show_message",
    "show_queue",
    "show_status",
    "table",
]

_GAP = "  "
_NARROW = 100  # columns where the output is no terminal
_UNSETTLED = ("WAITING", "IN_DOUBT", "LEASED", "HELD", "PARKED")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def show_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, the last one cut to the terminal's width."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    room = max(20, _columns() - sum(widths) - len(_GAP) * len(widths))
    return "\n".join(_line(line, widths, room) for line in lines)


def _line(line: Sequence[str], widths: Sequence[int], room: int) -> str:
    last = line[-1] if len(line[-1]) <= room else line[-1][: room - 1] + "…"
    return _GAP.join([*(text.ljust(width) for text, width in zip(line[:-1], widths, strict=True)), last]).rstrip()


def _columns() -> int:
    return shutil.get_terminal_size((_NARROW, 24)).columns if sys.stdout.isatty() else 10_000


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, one a line; empty values are left out."""
    known = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0) + 1
    return "\n".join(f"{name + ':':<{width}} {value}" for name, value in known)


# --- the queue ---


def message_record(stored: StoredMessage) -> dict[str, Any]:
    """A message as JSON: states by name, moments in Unix seconds."""
    message = stored.message
    return {
        "id": message.id,
        "kind": message.kind.name.lower(),
        "sender": message.sender,
        "message_id": message.message_id,
        "size": message.size,
        "priority": message.priority,
        "tags": message.tags,
        "accepted_at": message.accepted_at,
        "send_at": message.send_at,
        "expires_at": message.expires_at,
        "finished_at": stored.finished_at,
        "recipients": [_recipient_record(recipient) for recipient in stored.recipients],
    }


def _recipient_record(recipient: StoredRecipient) -> dict[str, Any]:
    return {
        "address": recipient.address,
        "state": recipient.state.name.lower(),
        "lane": recipient.lane,
        "due": recipient.due,
        "attempts": recipient.attempts,
        "in_doubt": recipient.in_doubt,
        "status": recipient.status,
        "reply": recipient.reply,
        "remote": recipient.remote,
        "reason": recipient.reason,
        "settled_at": recipient.settled_at if _is_settled(recipient) else None,
        "last_word_at": recipient.settled_at,
    }


def _is_settled(recipient: StoredRecipient) -> bool:
    """What still waits has a last word, but no end."""
    return recipient.state.name not in _UNSETTLED


def show_queue(messages: Iterable[tuple[StoredMessage, Sequence[StoredRecipient]]]) -> None:
    """One line for each recipient given with its message."""
    now = time.time()
    rows = [_row(stored, recipient, now) for stored, recipients in messages for recipient in recipients]
    if not rows:
        click.echo("nothing")
        return
    click.echo(table(("ID", "STATE", "TRIES", "NEXT TRY", "SENDER", "RECIPIENT", "LAST WORD"), rows))


def _row(stored: StoredMessage, recipient: StoredRecipient, now: float) -> tuple[str, ...]:
    return (
        stored.message.id,
        _state(recipient),
        str(recipient.attempts),
        _next_try(recipient, now),
        printable(stored.message.sender) or "<>",
        printable(recipient.address),
        printable(recipient.reason or recipient.reply),
    )


def _state(recipient: StoredRecipient) -> str:
    """The state by name, and a doubt that the state itself does not tell."""
    name = recipient.state.name.lower()
    return f"{name}, in doubt" if recipient.in_doubt and name != "in_doubt" else name


def _next_try(recipient: StoredRecipient, now: float) -> str:
    if recipient.state.name not in ("WAITING", "IN_DOUBT"):
        return "-"
    return ago(recipient.due, now) if recipient.due > now else "now"


def show_message(stored: StoredMessage) -> None:
    message = stored.message
    click.echo(
        facts(
            (
                ("id", message.id),
                ("kind", message.kind.name.lower()),
                ("sender", printable(message.sender) or "<> (the null sender)"),
                ("message-id", f"<{printable(message.message_id)}>"),
                ("size", f"{message.size:,} octets"),
                ("priority", str(message.priority)),
                ("tags", ", ".join(printable(tag) for tag in message.tags)),
                ("accepted", clock_time(message.accepted_at)),
                ("not before", clock_time(message.send_at)),
                ("expires", clock_time(message.expires_at)),
                ("finished", clock_time(stored.finished_at)),
            )
        )
    )
    for recipient in stored.recipients:
        click.echo()
        _show_recipient(recipient)


def _show_recipient(recipient: StoredRecipient) -> None:
    is_waiting = recipient.state.name in ("WAITING", "IN_DOUBT")
    click.echo(
        facts(
            (
                ("recipient", printable(recipient.address)),
                ("state", recipient.state.name.lower()),
                ("in doubt", "an attempt may have delivered it unseen" if recipient.in_doubt else ""),
                ("why held", printable(recipient.reason)),
                ("lane", printable(recipient.lane)),
                ("next try", clock_time(recipient.due) if is_waiting else ""),
                ("tries", str(recipient.attempts)),
                ("last word", printable(f"{recipient.status} {recipient.reply}".strip())),
                ("by", printable(recipient.remote)),
                ("settled" if _is_settled(recipient) else "last word at", clock_time(recipient.settled_at)),
            )
        )
    )


def show_status(status: Status, *, engine_runs: bool) -> None:
    click.echo(
        facts(
            (
                ("engine", ("draining" if status.is_draining else "running") if engine_runs else "not running"),
                (
                    "unfinished",
                    f"{status.messages:,} messages, {status.recipients:,} recipients, {status.content_bytes:,} octets",
                ),
                ("in doubt", f"{status.in_doubt:,} recipients" if status.in_doubt else ""),
                ("under way", f"{status.in_flight:,} leases, {status.intake:,} submissions waiting for a commit"),
                *((f"  {name}", f"{count:,}") for name, count in status.by_state.items()),
            )
        )
    )
