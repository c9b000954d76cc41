"""`postroad salvage`: saves what can be read of a damaged spool into a new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..log import printable
from .exits import USER
from .show import as_json_option, show_json
from .where import Where

if TYPE_CHECKING:
    from ..salvage import Incomplete, Salvaged

__all__ = ["salvage"]

_LISTED = 20  # of each kind, for people; --json lists all


@click.command()
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option("--dry-run", "is_dry", is_flag=True, help="Only look; write nothing.")
@as_json_option
@click.pass_obj
def salvage(where: Where, new: Path, is_dry: bool, as_json: bool) -> None:  # click's signature
    """Save what can be read of a damaged spool into a new one, the file NEW.

    The old files are only read.  Messages that are not whole are named, and what is left of them goes into NEW.quarantine.  No
    engine may run on the spool.  Ends with 0 when everything was saved as it was, 1 when something is for you to look at.
    """
    from ..decide.doubt import after_crash
    from ..salvage import salvage as save

    config, place = where.config_and_place()
    known = config or where.config_beside(place)
    done = save(place, Path(os.path.abspath(new)), after_crash(known.all_routes if known else None), is_dry=is_dry)
    if as_json:
        show_json(done)
    else:
        _show(done, new, is_dry=is_dry)
    if not done.is_whole:
        raise click.exceptions.Exit(USER)


def _show(done: Salvaged, new: Path, *, is_dry: bool) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(done.recipients.items())) or "none"
    click.echo(f"{'would be saved' if is_dry else 'saved'}: {done.messages} messages; recipients: {states}")
    click.echo(f"damaged pages: {done.torn}" + (f"; {done.trouble}" if done.trouble else ""))
    _list("not whole", [_incomplete(each) for each in done.incomplete])
    _list("in doubt, may have been delivered", [f"{id} {address}" for id, address in done.in_doubt])
    click.echo(_next(done, new, is_dry=is_dry))


def _list(what: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"{what}: {len(lines)}")
        for line in lines[:_LISTED]:
            click.echo(f"  {printable(line)}")
        if len(lines) > _LISTED:
            click.echo("  ... (--json lists all)")


def _incomplete(one: Incomplete) -> str:
    part = "the rest is saved" if one.is_saved else "not saved"
    return f"{one.id} from {one.sender or '<>'} to {', '.join(one.recipients) or '?'}: {one.missing} ({part})"


def _next(done: Salvaged, new: Path, *, is_dry: bool) -> str:
    if is_dry:
        return f"next: the same without --dry-run writes {new}"
    steps = [f"postroad --spool sqlite:{new} check --spool"]
    if done.incomplete:
        steps.append(f"look at {new}.quarantine")
    if done.in_doubt:
        steps.append(f"postroad --spool sqlite:{new} queue list --in-doubt, then queue release or queue settle")
    return "next: " + "; ".join([*steps, "name the new spool in [spool] url and start the engine; keep the old files"])
