"""`postroad serve`: run the engine as a process of its own, until it is told to stop.

The first SIGTERM or SIGINT drains (running attempts may end, `in_flight.drain_seconds`), the second ends what runs, the third
kills; whatever was accepted is in the spool in every case.  Service managers are told by sd_notify(3).
"""

from __future__ import annotations

import click

from ..errors import PostroadError
from .exits import Told, serve_exit_code_of
from .where import Where

__all__ = ["serve"]

_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command()
@click.option(
    "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="The least that is logged."
)
@click.option("--json", "as_json", is_flag=True, help="Log JSON also on a terminal, and say READY in JSON.")
@click.pass_obj
def serve(where: Where, log_level: str, as_json: bool) -> None:  # click's signature
    """Run the engine until SIGTERM or SIGINT, then drain.

    It logs to standard error (JSON lines unless that is a terminal) and writes one line to standard output when it is ready.
    """
    from ..log import configure_logging
    from . import serving

    config = where.config()
    configure_logging(log_level, json=True if as_json else "auto")  # type: ignore[arg-type]  # one of _LEVELS
    try:
        serving.serve_forever(config, as_json=as_json)
    except PostroadError as error:
        raise Told(error, serve_exit_code_of(error)) from error
