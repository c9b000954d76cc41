"""The command's root: which configuration and spool are meant, and how errors end the process.

Exit codes: 0, 1 for what the user has to put right, 2 for a wrong command line, and those of sysexits.h (`exits.py`).
"""

from __future__ import annotations

from typing import Any

import click

from ..errors import PostroadError
from .check import check
from .demo import demo
from .exits import Told
from .plugin import plugin
from .queue import queue
from .receive import receive
from .salvage import salvage
from .send import send
from .serve import serve
from .where import Where

__all__ = ["postroad"]

_EPILOG = (
    "Exit codes: 0 done, 1 your input, 2 the command line, 65 a damaged spool, 70 the engine crashed, 75 try again later, "
    "78 the configuration."
)


class _Root(click.Group):
    """Turns the engine's errors into one line on standard error and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PostroadError as error:
            raise Told(error) from error


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # click's signature
    if value and not ctx.resilient_parsing:
        from .._version import __version__

        click.echo(f"postroad {__version__}")
        ctx.exit()


@click.group(cls=_Root, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="PATH",
    envvar="POSTROAD_CONFIG",
    help="The configuration file; by default $POSTROAD_CONFIG, else ./postroad.toml.",
)
@click.option(
    "--spool",
    metavar="URL",
    envvar="POSTROAD_SPOOL",
    help="The spool, such as sqlite:var/postroad.db, instead of the configuration's; by default $POSTROAD_SPOOL.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def postroad(ctx: click.Context, config: str | None, spool: str | None) -> None:
    """Deliver e-mail durably: run the engine, hand it mail, look at its queue."""
    ctx.obj = Where(config or None, spool or None)


for _command in (demo, serve, send, receive, queue, check, salvage, plugin):
    postroad.add_command(_command)
