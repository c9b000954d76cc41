"""`postroad receive`: take one mail for the application from standard input, as a mail server's pipe gives it.

It ends with the codes that a mail server understands.  Only what is wrong with the mail itself, or with the command line, may
end it for good; whatever else goes wrong, also in the configuration, ends with 75, and the mail server keeps the mail.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from ..errors import PostroadError
from .exits import NO_INPUT, TEMPFAIL, USAGE, Told, receive_exit_code_of
from .show import as_json_option, show_json
from .where import Where

__all__ = ["receive"]

_RAW_OCTETS = 1 << 30  # a bound for what is read into memory; the door looks at the exact size


class _Piped(click.Command):
    """A command whose every end is one of sysexits.h."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            raise _wrong(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _wrong(error) from None
        except PostroadError as error:
            raise Told(error, receive_exit_code_of(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            traceback.print_exc()
            ctx.exit(TEMPFAIL)


class _Wrong(click.UsageError):
    exit_code = USAGE


def _wrong(error: click.UsageError) -> _Wrong:
    return _Wrong(error.format_message(), error.ctx)


class _NoInput(click.ClickException):
    exit_code = NO_INPUT

    def show(self, file: Any = None) -> None:
        click.echo(f"postroad: {self.message}", file=file or sys.stderr)


@click.command(cls=_Piped)
@click.argument("recipients", metavar="[ADDRESS]...", nargs=-1)
@click.option(
    "--sender",
    metavar="ADDRESS",
    help="The return path that the mail came with; without it, or empty, the null sender.",
)
@click.option("--bounce", is_flag=True, help="It came back to a sender of ours.  No addresses are given.")
@click.option("--key", metavar="TEXT", help="The same key, sender, addresses and mail within 7 days: one mail.")
@as_json_option
@click.pass_obj
def receive(
    where: Where,
    /,
    recipients: tuple[str, ...],
    sender: str | None,
    bounce: bool,
    key: str | None,
    as_json: bool,
) -> None:  # click's signature
    """Take one mail from standard input for the application, and print its id once it is safely in the spool.

    The addresses are those that it came for.  Exit codes, for mail servers: 0 taken, 64 the command line or an address,
    65 this mail, 66 no mail on standard input, 75 whatever else: try again later.
    """
    _check(recipients, sender, bounce, key)
    raw = _read(sys.stdin)
    id = None
    with where.door() as door:
        if bounce:
            door.receive_bounce(raw)
        else:
            id = door.receive(sender or "", recipients, raw, idempotency_key=key)
    if as_json:
        show_json({"id": id})
    elif id:
        click.echo(id)


def _check(recipients: tuple[str, ...], sender: str | None, bounce: bool, key: str | None) -> None:
    if not bounce:
        if not recipients:
            raise click.UsageError("name the addresses that the mail came for, or say --bounce")
        return
    for name, value in (("addresses are", recipients), ("--sender is", sender), ("--key is", key)):
        if value:
            raise click.UsageError(f"with --bounce no {name} given: whom it concerns stands in the mail")


def _read(stdin: Any) -> bytes:
    """Raises _NoInput where there is nothing: a pipe whose other end failed."""
    try:
        raw: bytes = stdin.buffer.read(_RAW_OCTETS) if stdin else b""
    except OSError as error:
        raise _NoInput(f"standard input cannot be read: {error.strerror}") from None
    if not raw:
        raise _NoInput("there is no mail on standard input")
    return raw
