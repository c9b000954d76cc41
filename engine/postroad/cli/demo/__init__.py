"""`postroad demo`: watch real mail travel, in under 20 seconds, with nothing set up."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from ..show import as_json_option, show_json

__all__ = ["demo"]


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the spool, the sender's mailbox and the log go; by default a new temporary folder, which is kept.",
)
@as_json_option
def demo(folder: Path | None, as_json: bool) -> None:  # click's signature
    """Watch real mail travel against SMTP servers that it starts on this machine.

    One message is delivered at once.  One meets a server that refuses connections, then answers 451, then accepts.  One is
    refused with 550, and its bounce arrives in the sender's mailbox.  Ends with 1 if any of it did not happen.
    """
    if find_spec("aiosmtpd") is None:
        raise click.ClickException(
            "the demo's SMTP servers need aiosmtpd; install it with: pip install 'postroad[demo]'"
        )
    from .play import play
    from .timeline import make_timeline

    timeline = make_timeline(is_silent=as_json)
    result = play(folder, timeline)
    if as_json:
        show_json(result)
    else:
        timeline.summary(result)
    if not result.ok:
        raise click.exceptions.Exit(1)
