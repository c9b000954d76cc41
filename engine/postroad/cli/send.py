"""`postroad send`: hand over one message, from fields or as it is, whether or not an engine runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..errors import SubmissionError
from .moments import MOMENT
from .show import as_json_option, show_json
from .where import Where

if TYPE_CHECKING:
    from ..message import Submission

__all__ = ["send"]

_FILE = click.Path(path_type=Path)  # one that is not there is a mistake in the input, as everywhere: exit code 1
_RAW_OCTETS = 1 << 30  # a bound for what is read into memory; the door looks at the exact size


def _pair(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for value in values:
        name, colon, rest = value.partition(":")
        if not colon:
            raise click.BadParameter(f'{value!r} is no header; write "Name: value"')
        pairs.append((name.strip(), rest.strip()))
    return pairs


@click.command()
@click.option(
    "--from", "sender", metavar="ADDRESS", help="The sender: who gets reports.  Needed unless --raw finds it in From."
)
@click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient; repeatable, like --cc and --bcc.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="A recipient of a copy.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="A recipient whom the message does not name.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS", help="Where answers should go.")
@click.option("--subject", default="", help="The subject.")
@click.option("--body", help="The text.  Without it and --html, the text is read from standard input.")
@click.option("--html", type=_FILE, metavar="FILE", help="A file with the text in HTML.")
@click.option("--attach", type=_FILE, multiple=True, metavar="FILE", help="A file to attach; repeatable.")
@click.option(
    "--header", "headers", multiple=True, callback=_pair, metavar="NAME:VALUE", help="A further header; repeatable."
)
@click.option(
    "--raw",
    is_flag=True,
    help="Read a whole message from standard input.  Recipients are those given here, else those of its To, Cc and Bcc.",
)
@click.option("--key", metavar="TEXT", help="The same key and fields within 7 days: the same message, not another.")
@click.option("--at", type=MOMENT, help='Not before: "+10m", "2026-12-24 08:00" or Unix seconds.')
@click.option("--expires", type=MOMENT, help="Given up after this moment.")
@click.option("--priority", type=click.IntRange(0, 9), default=5, show_default=True, help="0 goes first.")
@click.option("--tag", "tags", multiple=True, metavar="TEXT", help="A label for routing and events; repeatable.")
@as_json_option
@click.pass_obj
def send(where: Where, /, raw: bool, as_json: bool, **given: Any) -> None:  # click's signature
    """Hand over a message, and print its id once it is safely in the spool.

    A running engine takes it at once; without one it waits in the spool for the next.
    """
    options = {
        "idempotency_key": given.pop("key"),
        "send_at": given.pop("at"),
        "expires_at": given.pop("expires"),
        "priority": given.pop("priority"),
        "tags": given.pop("tags"),
    }
    stdin = sys.stdin.buffer
    with where.door() as door:
        id = door.send(_written(stdin, given, options)) if raw else door.send_mail({**_fields(stdin, given), **options})
    if as_json:
        show_json({"id": id})
    else:
        click.echo(id)


# --- from fields ---


def _fields(stdin: BinaryIO, given: dict[str, Any]) -> dict[str, Any]:
    if not given["sender"]:
        raise click.UsageError("--from is missing: the sender's address")
    html: Path | None = given.pop("html")
    attached: tuple[Path, ...] = given.pop("attach")
    if given["body"] is None and html is None:
        given["body"] = _text(stdin.read(_RAW_OCTETS), "body")
    return {
        **given,
        "html": None if html is None else _text(_octets(html, "html"), "html"),
        "attachments": [(os.path.basename(path), _octets(path, "attach")) for path in attached],
    }


def _octets(path: Path, field: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_RAW_OCTETS)
    except OSError as error:
        raise SubmissionError(field, f"the file {str(path)!r} cannot be read: {error.strerror}") from None


def _text(octets: bytes, field: str) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(field, f"it is not UTF-8 ({error.reason} at octet {error.start}); convert it") from None


# --- as it is ---


def _written(stdin: BinaryIO, given: dict[str, Any], options: dict[str, Any]) -> Submission:
    from ..message import Submission

    _refuse_fields(given)
    content = stdin.read(_RAW_OCTETS)
    sender, found = _envelope(content)
    recipients = [*given["to"], *given["cc"], *given["bcc"]]
    return Submission(
        sender=_addresses([given["sender"]], "from")[0] if given["sender"] else sender,
        recipients=_addresses(recipients, "to") if recipients else found,
        content=content,
        **options,
    )


def _refuse_fields(given: dict[str, Any]) -> None:
    """With --raw the message says it all but the envelope."""
    for name in ("subject", "body", "html", "attach", "headers", "reply_to"):
        if given[name]:
            option = {"headers": "header"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--{option} cannot change a message that is given whole by --raw")


def _addresses(texts: Sequence[str], field: str) -> tuple[str, ...]:
    from ..address import parse_mailboxes

    return tuple(str(mailbox.address) for mailbox in parse_mailboxes(texts, field))


def _envelope(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The sender and the recipients that a message names in its header."""
    from email import policy
    from email.parser import BytesHeaderParser

    header = BytesHeaderParser(policy=policy.default).parsebytes(content)
    named = {
        field: [address.addr_spec for value in header.get_all(field, []) for address in value.addresses]
        for field in ("From", "Sender", "To", "Cc", "Bcc")
    }
    sender = next(iter(named["From"] if len(named["From"]) == 1 else named["Sender"] or named["From"]), "")
    return sender, (*named["To"], *named["Cc"], *named["Bcc"])
