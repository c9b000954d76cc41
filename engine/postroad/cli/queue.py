"""`postroad queue`: look at the queue and operate it, whether or not an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from .show import as_json_option, message_record, show_json, show_message, show_queue, show_status
from .where import Where

if TYPE_CHECKING:
    from ..handover import Handover
    from ..store.contract import Filter, StoredMessage, StoredRecipient

__all__ = ["queue"]

_PAGE = 500  # messages asked for at once
_UNFINISHED = ("waiting", "in_doubt", "leased", "held", "parked", "failed")
_STATES = (*_UNFINISHED, "accepted", "reported", "unreported", "cancelled")


@click.group()
def queue() -> None:
    """Look at the queue and operate it, whether or not an engine runs."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option("--recipient", metavar="ADDRESS", help="Only this recipient."),
            click.option("--domain", metavar="DOMAIN", help="Only recipients of this domain."),
            click.option("--sender", metavar="ADDRESS", help="Only messages of this sender."),
            click.option("--lane", metavar="LANE", help="Only this lane, such as outbound/example.org."),
        )
    ):
        command = option(command)
    return command


def _which(id: str | None, states: Iterable[str] = (), **given: Any) -> Filter:
    from ..store.contract import Filter
    from ..store.states import State

    return Filter(id=id, states=tuple(State[name.upper()] for name in states), **given)


# --- looking ---


@queue.command("list")
@_filters
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES), help="Only recipients in this state; repeatable."
)
@click.option("--in-doubt", is_flag=True, help="Only recipients that may have been delivered unseen.")
@click.option("--all", "is_all", is_flag=True, help="Finished ones too, as far as they are remembered.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Messages at the most.")
@click.option("--after", metavar="ID", default="", help="Begin behind this message.")
@as_json_option
@click.pass_obj
def list_(
    where: Where,
    /,
    states: tuple[str, ...],
    in_doubt: bool,
    is_all: bool,
    limit: int,
    after: str,
    as_json: bool,
    **given: Any,
) -> None:  # click's signature
    """List messages, oldest first, one line for each recipient."""
    filter = _which(None, states or (() if is_all else _UNFINISHED), in_doubt=in_doubt or None, **given)
    with where.door() as door:
        messages = _find(door, filter, limit, after)
    if as_json:
        show_json([message_record(stored) for stored in messages])
    else:
        show_queue([(stored, _meant(stored, filter)) for stored in messages])


def _find(door: Handover, filter: Filter, limit: int, after: str) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    while len(found) < limit:
        page = door.find(filter, min(_PAGE, limit - len(found)), after)
        found += page
        if not page:
            break
        after = page[-1].message.id
    return found


def _meant(stored: StoredMessage, filter: Filter) -> list[StoredRecipient]:
    """Of a message that the filter found, the recipients that it meant."""
    return [
        recipient
        for recipient in stored.recipients
        if (not filter.states or recipient.state in filter.states)
        and filter.lane in (None, recipient.lane)
        and filter.in_doubt in (None, recipient.in_doubt)
        and filter.recipient in (None, recipient.address)
        and (filter.domain is None or recipient.address.lower().endswith("@" + filter.domain.lower()))
    ]


@queue.command()
@click.argument("id")
@as_json_option
@click.pass_obj
def show(where: Where, id: str, as_json: bool) -> None:  # click's signature
    """Show all that is known of a message but its content."""
    with where.door() as door:
        stored = door.message(id)
    if as_json:
        show_json(message_record(stored))
    else:
        show_message(stored)


@queue.command()
@as_json_option
@click.pass_obj
def status(where: Where, as_json: bool) -> None:  # click's signature
    """Count what is in the spool, and tell whether an engine runs."""
    with where.door() as door:
        found = door.status()
        runs = bool(door.went_by_gate)
    if as_json:
        show_json({"engine": runs, **msgspec.to_builtins(found)})
    else:
        show_status(found, engine_runs=runs)


# --- operating ---


def _operation(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(
        (
            click.argument("id", required=False),
            _filters,
            click.option("--all", "is_all", is_flag=True, help="Everything in the queue."),
            as_json_option,
            click.pass_obj,
        )
    ):
        command = decorate(command)
    return command


def _chosen(id: str | None, is_all: bool, given: dict[str, Any]) -> Filter:  # as click gives it
    """What an operation means; it must not be everything by accident."""
    if not is_all and id is None and not any(given.values()):
        raise click.UsageError("say which: an ID, --recipient, --domain, --sender, --lane, or --all")
    return _which(id, **given)


def _require(door: Handover, filter: Filter) -> None:
    """An id that is not there is a mistake, not an empty choice."""
    if filter.id is not None:
        door.message(filter.id)


def _tell(done: str, counts: dict[str, int], as_json: bool) -> None:  # as click gives it
    if as_json:
        show_json(counts)
        return
    click.echo(f"{done} {counts['recipients']:,} recipients")
    if counts.get("marked"):
        click.echo(f"{counts['marked']:,} more are being tried now and end unless that succeeds")
    if counts.get("lost"):
        click.echo(f"{counts['lost']:,} more were lost by damage and are given up")


@queue.command()
@_operation
def retry(
    where: Where, /, id: str | None, is_all: bool, as_json: bool, **given: str | None
) -> None:  # click's signature
    """Try what is waiting at once."""
    filter = _chosen(id, is_all, given)
    with where.door() as door:
        _require(door, filter)
        moved = door.retry(filter)
    _tell("to be tried now:", {"recipients": moved.recipients}, as_json)


@queue.command()
@click.option("--reason", default="held by an operator", show_default=True, help="Shown in the queue and in events.")
@_operation
def hold(
    where: Where, /, id: str | None, is_all: bool, as_json: bool, reason: str, **given: str | None
) -> None:  # click's signature
    """Hold what is waiting until it is released."""
    filter = _chosen(id, is_all, given)
    with where.door() as door:
        _require(door, filter)
        moved = door.hold(filter, reason)
    _tell("held:", {"recipients": moved.recipients}, as_json)


@queue.command()
@click.option("--parked", is_flag=True, help="Try to read what was parked because it could not be read.")
@_operation
def release(
    where: Where, /, id: str | None, is_all: bool, as_json: bool, parked: bool, **given: str | None
) -> None:  # click's signature
    """End holds: what is held is tried now."""
    filter = _chosen(id, is_all, given)
    if parked:
        filter = msgspec.structs.replace(filter, states=_which(None, ("held", "parked")).states)
    with where.door() as door:
        _require(door, filter)
        moved = door.release(filter)
    _tell("released:", {"recipients": moved.recipients}, as_json)


@queue.command()
@_operation
def settle(
    where: Where, /, id: str | None, is_all: bool, as_json: bool, **given: str | None
) -> None:  # click's signature
    """Take what is held in doubt as delivered; nothing else is touched."""
    filter = _chosen(id, is_all, given)
    with where.door() as door:
        _require(door, filter)
        taken = door.take_as_delivered(filter)
    _tell("taken as delivered:", {"recipients": taken.recipients}, as_json)


@queue.command()
@_operation
def cancel(
    where: Where, /, id: str | None, is_all: bool, as_json: bool, **given: str | None
) -> None:  # click's signature
    """Withdraw mail: it is neither delivered nor reported."""
    filter = _chosen(id, is_all, given)
    with where.door() as door:
        _require(door, filter)
        cancelled = door.cancel(filter)
    _tell(
        "cancelled:", {"recipients": cancelled.recipients, "marked": cancelled.marked, "lost": cancelled.lost}, as_json
    )
