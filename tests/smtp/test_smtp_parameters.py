"""Every parameter that a caller or a configuration can set, times every character that could end a line, a path or a word early.

A cell of the table is `-` where the character is refused by an error that names the parameter, and `+` where it travels: then a
strict server found no fault, heard exactly the commands that a harmless value leads to, and got exactly the same header fields.
SIZE has no row: it is counted, never given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import compat32
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from engine_road import EngineRoad, open_road_of_engine

from postroad import ConfigError, DsnOptions, SubmissionError
from postroad.compose import Attachment
from postroad.testing.smtp_peer import Behaviour, SmtpPeer
from postroad_smtp.settings import SmtpSettings

BAD = {
    "CR": "\r", "LF": "\n", "CRLF": "\r\n", "NUL": "\0", "SP": " ", ">": ">", "2028": "\u2028", "0085": "\u0085",
    "DEL": "\x7f", "ESC": "\x1b",
}  # fmt: skip

TABLE = """
                            CR  LF  CRLF NUL SP  >  2028 0085 DEL ESC
sender                      -   -   -    -   -   -  -    -    -   -
sender's end                -   -   -    -   -   -  -    -    -   -
first recipient             -   -   -    -   -   -  -    -    -   -
second recipient            -   -   -    -   -   -  -    -    -   -
quoted recipient            -   -   -    -   +   +  -    -    -   -
address literal             -   -   -    -   -   -  -    -    -   -
report_to                   -   -   -    -   -   -  -    -    -   -
dsn.envid                   -   -   -    -   +   +  -    -    -   -
dsn.notify                  -   -   -    -   -   -  -    -    -   -
dsn.ret                     -   -   -    -   -   -  -    -    -   -
idempotency_key             -   -   -    -   +   +  -    -    -   -
tag                         -   -   -    -   +   +  -    -    -   -
line of bytes               +   +   +    +   +   +  +    +    +   +
header of bytes             +   -   -    -   +   +  -    -    +   +
Message-ID of bytes         +   -   -    -   +   +  -    -    +   +
header of an object         -   -   -    -   +   +  -    -    -   -
From's address              -   -   -    -   -   -  -    -    -   -
From's name                 -   -   -    -   +   +  -    -    -   -
To's address                -   -   -    -   -   -  -    -    -   -
To's name                   -   -   -    -   +   +  -    -    -   -
cc                          -   -   -    -   -   -  -    -    -   -
bcc                         -   -   -    -   +   -  -    -    -   -
reply_to                    -   -   -    -   -   -  -    -    -   -
subject                     -   -   -    -   +   +  -    -    -   -
body                        +   +   +    +   +   +  +    +    +   +
html                        +   +   +    +   +   +  +    +    +   +
header's name               -   -   -    -   -   +  -    -    -   -
header's value              -   -   -    -   +   +  -    -    -   -
List-Unsubscribe            -   -   -    -   +   +  -    -    -   -
List-Id                     -   -   -    -   +   +  -    -    -   -
References                  -   -   -    -   +   +  -    -    -   -
Sender                      -   -   -    -   +   -  -    -    -   -
attachment's name           -   -   -    -   +   +  -    -    -   -
attachment's type           -   -   -    -   -   -  -    -    -   -
type's parameter            -   -   -    -   +   +  -    -    -   -
attachment's id             -   -   -    -   -   -  -    -    -   -
attachment's content        +   +   +    +   +   +  +    +    +   +
helo                        -   -   -    -   -   -  -    -    -   -
smarthost                   -   -   -    -   -   -  -    -    -   -
source_addresses            -   -   -    -   -   -  -    -    -   -
username                    -   -   -    -   +   +  +    -    -   -
password                    -   -   -    -   +   +  +    +    +   +
reports.hostname            -   -   -    -   -   -  -    -    -   -
"""


class Way(NamedTuple):
    """How a parameter is set.  named: how an error calls it.  One of the others holds what is given, made from a text."""

    named: str
    mail: Callable[[str], Mapping[str, Any]] | None = None
    submission: Callable[[str], Mapping[str, Any]] | None = None
    transport: Callable[[str], Mapping[str, Any]] | None = None
    sections: Callable[[str], Mapping[str, Any]] | None = None


HEADER = "From: a@example.com\r\nDate: x\r\nMessage-ID: <x@example.com>\r\n"
EVIL = "X-Evil: 1"


def _object(text: str) -> EmailMessage:
    message = EmailMessage(policy=compat32)  # checks nothing
    message["From"] = "a@example.com"
    message["X-Any"] = f"a{text}b"
    message.set_payload("x")
    return message


def _login(password: str = "secret", username: str = "user") -> Callable[[str], Mapping[str, Any]]:
    return lambda text: {
        "username": username.replace("*", text),
        "password": password.replace("*", text),
        "login_without_tls": True,
    }


WAYS = {
    # --- the envelope ---
    "sender": Way("sender", submission=lambda t: {"sender": f"a{t}b@example.com"}),
    "sender's end": Way("sender", submission=lambda t: {"sender": f"a@example.com{t}"}),
    "first recipient": Way(
        "recipients[0]", submission=lambda t: {"recipients": [f"b{t}@example.org", "c@example.org"]}
    ),
    "second recipient": Way(
        "recipients[1]", submission=lambda t: {"recipients": ["b@example.org", f"c@exa{t}mple.org"]}
    ),
    "quoted recipient": Way("recipients[0]", submission=lambda t: {"recipients": [f'"b{t}c"@example.org']}),
    "address literal": Way("recipients[0]", submission=lambda t: {"recipients": [f"b@[192.0.2.1{t}]"]}),
    "report_to": Way("report_to[0]", submission=lambda t: {"report_to": [f"r@example.com{t}"]}),
    "dsn.envid": Way("dsn.envid", submission=lambda t: {"dsn": DsnOptions(envid=f"order{t}7")}),
    "dsn.notify": Way("dsn", submission=lambda t: {"dsn": DsnOptions(notify=(f"never{t}",))}),  # type: ignore[arg-type]
    "dsn.ret": Way("dsn", submission=lambda t: {"dsn": DsnOptions(ret=f"full{t}")}),  # type: ignore[arg-type]
    # --- beside the message ---
    "idempotency_key": Way("idempotency_key", submission=lambda t: {"idempotency_key": f"k{t}1"}),
    "tag": Way("tags[0]", submission=lambda t: {"tags": [f"t{t}1"]}),
    # --- written mail ---
    "line of bytes": Way("content", submission=lambda t: {"content": f"{HEADER}\r\nHi{t}there, ä\r\n".encode()}),
    "header of bytes": Way("content", submission=lambda t: {"content": f"{HEADER}X-Any: a{t}b\r\n\r\nx\r\n".encode()}),
    "Message-ID of bytes": Way(
        "content", submission=lambda t: {"content": f"From: a@b\r\nMessage-ID: <x{t}y@z>\r\n\r\nx\r\n".encode()}
    ),
    "header of an object": Way("content", submission=lambda t: {"content": _object(t)}),
    # --- fields ---
    "From's address": Way("sender[0]", mail=lambda t: {"sender": f"a{t}b@example.com"}),
    "From's name": Way("sender[0]", mail=lambda t: {"sender": f'"A{t}B" <a@example.com>'}),
    "To's address": Way("to", mail=lambda t: {"to": f"b@exa{t}mple.org"}),
    "To's name": Way("to", mail=lambda t: {"to": f'"A{t}B" <b@example.org>'}),
    "cc": Way("cc[0]", mail=lambda t: {"cc": [f"c{t}@example.org"]}),
    "bcc": Way("bcc[0]", mail=lambda t: {"bcc": [f"d@example.org{t}"]}),
    "reply_to": Way("reply_to[0]", mail=lambda t: {"reply_to": [f"r{t}@example.org"]}),
    "subject": Way("subject", mail=lambda t: {"subject": f"Hello{t}{EVIL}"}),
    "body": Way("body", mail=lambda t: {"body": f"Hello{t}.{t}{EVIL}"}),
    "html": Way("html", mail=lambda t: {"html": f"<p>Hello{t}.{t}{EVIL}"}),
    "header's name": Way("headers[", mail=lambda t: {"headers": {f"X-A{t}B": "x"}}),
    "header's value": Way("headers[X-Any]", mail=lambda t: {"headers": {"X-Any": f"a{t}{EVIL}"}}),
    "List-Unsubscribe": Way(
        "headers[List-Unsubscribe]", mail=lambda t: {"headers": {"List-Unsubscribe": f"<https://e.example/u{t}v>"}}
    ),
    "List-Id": Way("headers[List-Id]", mail=lambda t: {"headers": {"List-Id": f"<news{t}.example.com>"}}),
    "References": Way("headers[References]", mail=lambda t: {"headers": {"References": f"<a@b{t}>"}}),
    "Sender": Way("headers[Sender]", mail=lambda t: {"headers": {"Sender": f"a@b{t}"}}),
    "attachment's name": Way("attachments[0].filename", mail=lambda t: {"attachments": [(f"a{t}b.bin", b"x")]}),
    "attachment's type": Way(
        "attachments[0].content_type", mail=lambda t: {"attachments": [("a", b"x", f"text/pl{t}ain")]}
    ),
    "type's parameter": Way(
        "attachments[0].content_type", mail=lambda t: {"attachments": [("a", b"x", f'text/plain; x="a{t}b"')]}
    ),
    "attachment's id": Way(
        "attachments[0].content_id", mail=lambda t: {"attachments": [Attachment("a", b"x", content_id=f"x{t}@y")]}
    ),
    "attachment's content": Way(
        "attachments[0].content", mail=lambda t: {"attachments": [("a", f"x{t}.{t}y".encode())]}
    ),
    # --- the configuration ---
    "helo": Way("helo", transport=lambda t: {"helo": f"client{t}.example"}),
    "smarthost": Way("smarthost", transport=lambda t: {"smarthost": f"127.0.0.1{t}:25"}),
    "source_addresses": Way("source_addresses", transport=lambda t: {"source_addresses": [f"127.0.0.1{t}"]}),
    "username": Way("username", transport=_login(username="us*er")),
    "password": Way("password", transport=_login(password="sec*ret")),
    "reports.hostname": Way("reports.hostname", sections=lambda t: {"reports": {"hostname": f"engine{t}.test"}}),
}
HARMLESS = "0"  # what stands in a parameter's place for comparison


def _expected() -> dict[tuple[str, str], str]:
    _, *rows = TABLE.strip().splitlines()
    cells: dict[tuple[str, str], str] = {}
    for row in rows:
        name, marks = row[:28].strip(), row[28:].split()
        cells |= {(name, bad): mark for bad, mark in zip(BAD, marks, strict=True)}
    return cells


EXPECTED = _expected()


class Seen(NamedTuple):
    """What a server saw of one message."""

    commands: list[str]
    fields: list[list[str]]


def _shape(content: bytes) -> list[list[str]]:
    """The names of the header fields of each part."""
    return [[name for name, _ in part.raw_items()] for part in message_from_bytes(content, policy=compat32).walk()]


def _kept(password: str, folder: Path, environment: pytest.MonkeyPatch) -> dict[str, str]:
    """A password where the transport finds it; the environment cannot hold NUL, and of a file only the first line counts."""
    if "\0" not in password:
        environment.setenv("POSTROAD_TEST_PASSWORD", password)
        return {"password_env": "POSTROAD_TEST_PASSWORD"}
    (folder / "password").write_bytes(password.encode())
    return {"password_file": str(folder / "password")}


async def _try(way: Way, text: str, folder: Path, environment: pytest.MonkeyPatch) -> Seen:
    """Set a parameter and send a message.  Raises SubmissionError or ConfigError."""
    table = dict(way.transport(text) if way.transport else {})
    if (password := table.pop("password", None)) is not None:
        table |= _kept(password, folder, environment)
    behaviour = Behaviour(logins={f"us{text}er": "secret", "user": f"sec{text}ret"} if password is not None else None)
    peer = SmtpPeer(behaviour)
    try:
        async with open_road_of_engine(peer, table=table, **(way.sections(text) if way.sections else {})) as road:
            await _send(road, way, text)
    except* (SubmissionError, ConfigError) as group:
        raise _only(group) from None
    assert peer.faults == []
    (received,) = peer.transactions
    (connection,) = peer.connections
    return Seen([each.partition(" ")[0] for each in connection.commands], _shape(received.content))


def _only(group: BaseExceptionGroup[Any]) -> SubmissionError | ConfigError:
    (error,) = group.exceptions
    return _only(error) if isinstance(error, BaseExceptionGroup) else error


async def _send(road: EngineRoad, way: Way, text: str) -> None:
    if way.submission is not None:
        given = {"content": f"{HEADER}\r\nHi\r\n".encode(), **way.submission(text)}
        await road.submit(**given)
    else:
        await road.send_mail(**(way.mail(text) if way.mail else {}))


def _check_refusal(error: SubmissionError | ConfigError, named: str, expected: str) -> None:
    field = error.field if isinstance(error, SubmissionError) else error.key.removeprefix("transports.out.")
    assert field.startswith(named), error
    assert str(error).isprintable()
    assert expected == "-", error


def test_the_table_has_every_way_and_every_character() -> None:
    assert list(EXPECTED) == [(name, bad) for name in WAYS for bad in BAD]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", WAYS)
async def test_a_character_is_refused_by_name_or_does_no_harm(
    name: str, bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    if name not in SmtpSettings.__struct_fields__ and name == "source_addresses":
        pytest.skip("the transport has no such setting")
    try:
        seen = await _try(way, BAD[bad], tmp_path, monkeypatch)
    except (SubmissionError, ConfigError) as error:
        _check_refusal(error, way.named, EXPECTED[name, bad])
        return
    assert EXPECTED[name, bad] == "+"
    usual = await _try(way, HARMLESS, tmp_path, monkeypatch)
    assert seen.commands == usual.commands
    assert seen.fields == [[each.replace("X-A0B", f"X-A{BAD[bad]}B") for each in part] for part in usual.fields]
