"""What the scripted SMTP server holds against a client: which commands, parameters and contents the rules allow.  Pure.

A client may only use what was offered to it, in the form its RFC gives it: RFC 5321 (lengths, paths), 1870 (SIZE), 2920
(PIPELINING), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), 3030 (BINARYMIME), 8689 (REQUIRETLS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .smtp_behaviour import Accept, Delay, Drip, Raw, Reaction

__all__ = ["Offers", "command_faults", "content_faults", "is_early", "read_offers", "said"]

Offers = Mapping[str, str]
"""Keywords of an EHLO reply in upper case, each with its parameters."""

_COMMAND_OCTETS = 512  # RFC 5321 section 4.5.3.1.4, with CRLF
_AUTH_OCTETS = 12_288  # RFC 4954 section 4
_PATH_OCTETS = 256  # RFC 5321 section 4.5.3.1.3, with the angle brackets
_LONGER = {
    ("MAIL", "SIZE"): 26,
    ("MAIL", "SMTPUTF8"): 10,
    ("MAIL", "8BITMIME"): 17,
    ("MAIL", "BINARYMIME"): 16,
    ("MAIL", "REQUIRETLS"): 11,
    ("MAIL", "AUTH"): 500,
    ("MAIL", "DSN"): 116,  # ENVID of 100 octets, and RET
    ("RCPT", "DSN"): 535,  # ORCPT of 500 octets, and NOTIFY
    ("RCPT", "SMTPUTF8"): 0,
}

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_WHEN = "(?:SUCCESS|FAILURE|DELAY)"
_PARAMETERS = tuple(
    (verb, extension, re.compile(pattern, re.IGNORECASE))
    for verb, extension, pattern in (
        ("MAIL", "SIZE", r"SIZE=[0-9]{1,20}"),
        ("MAIL", "8BITMIME", r"BODY=(?:7BIT|8BITMIME)"),
        ("MAIL", "BINARYMIME", r"BODY=BINARYMIME"),
        ("MAIL", "SMTPUTF8", r"SMTPUTF8"),
        ("MAIL", "REQUIRETLS", r"REQUIRETLS"),
        ("MAIL", "AUTH", rf"AUTH={_XTEXT}+"),
        ("MAIL", "DSN", r"RET=(?:FULL|HDRS)"),
        ("MAIL", "DSN", rf"ENVID={_XTEXT}{{1,100}}"),
        ("RCPT", "DSN", rf"NOTIFY=(?:NEVER|{_WHEN}(?:,{_WHEN}){{0,2}})"),
        ("RCPT", "DSN", r"ORCPT=[A-Z0-9-]+;[!-~\x80-\U0010ffff]{1,500}"),  # xtext, or RFC 6533's utf-8-addr-unitext
    )
)
_PATH = re.compile(
    r'(?:MAIL FROM|RCPT TO):(?P<path><(?:"(?:[^"\\]|\\.)*"|[^<>" ])*>)(?P<parameters>(?: [^ ]+)*)', re.IGNORECASE
)
_HOST = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?|\[[0-9A-Z.:]+\]", re.IGNORECASE)
_ALONE = frozenset({"DATA", "RSET", "QUIT", "STARTTLS"})
_LAST_OF_A_GROUP = frozenset({"EHLO", "HELO", "LHLO", "DATA", "AUTH", "NOOP", "VRFY"})  # RFC 2920 section 3.1; RFC 4954
_JUDGED_ELSEWHERE = frozenset({"BDAT", "QUIT", "STARTTLS"})  # by their own faults, or because octets belong behind it


def said(reaction: Reaction, usual: str) -> str:
    """The reply that a reaction amounts to, where `usual` is what a willing server says; "" for none."""
    match reaction:
        case str():
            return reaction
        case Accept():
            return usual
        case Drip():
            return reaction.reply
        case Delay():
            return said(reaction.then, usual)
        case Raw():
            return reaction.data.decode("latin-1").replace("\r\n", "\n")
        case _:
            return ""


def read_offers(reply: str) -> Offers:
    """What an EHLO reply offers; its first line is the greeting."""
    offers: dict[str, str] = {}
    for line in reply.splitlines()[1:]:
        keyword, _, parameters = line[4:].strip().partition(" ")
        offers[keyword.upper()] = parameters
    return offers


def is_early(verb: str, offers: Offers) -> bool:
    """Whether it is a fault that something stands behind this command before its reply was sent."""
    if verb in _JUDGED_ELSEWHERE:
        return False
    return "PIPELINING" not in offers or verb in _LAST_OF_A_GROUP


def command_faults(command: str, offers: Offers) -> Iterator[str]:
    """What is wrong with a command as a line: its octets, its length, its path and its parameters."""
    verb = command.partition(" ")[0].upper()
    shown = repr(command[:100])
    if re.search(r"[\0-\x1f\x7f\ufffd]", command):
        yield f"a command with a control character, or octets that are no UTF-8: {shown}"
    if not command.isascii() and not (verb in ("MAIL", "RCPT") and "SMTPUTF8" in offers):
        yield f"a command with octets over 127 without SMTPUTF8: {shown}"
    if len(command.encode()) + 2 > _allowed(verb, offers):
        yield f"a command of {len(command.encode()) + 2} octets: {shown}"
    if verb in _ALONE and command.upper() != verb:
        yield f"an argument where none belongs: {shown}"
    if verb in ("EHLO", "HELO", "LHLO") and not _HOST.fullmatch(command[5:]):
        yield f"no host name and no address literal: {shown}"
    if verb in ("MAIL", "RCPT"):
        yield from _path_faults(verb, command, offers)


def _allowed(verb: str, offers: Offers) -> int:
    if verb not in ("MAIL", "RCPT"):
        return _COMMAND_OCTETS if verb in _ALONE or verb in _LAST_OF_A_GROUP - {"AUTH"} else _AUTH_OCTETS
    return _COMMAND_OCTETS + sum(more for (of, offer), more in _LONGER.items() if of == verb and offer in offers)


def _path_faults(verb: str, command: str, offers: Offers) -> Iterator[str]:
    match = _PATH.fullmatch(command)
    if match is None:
        yield f"no path, or something other than parameters behind it: {command[:100]!r}"
        return
    if len(match["path"].encode()) > _PATH_OCTETS:
        yield f"a path of {len(match['path'].encode())} octets: {command[:100]!r}"
    keywords: set[str] = set()
    for parameter in match["parameters"].split():
        keyword = parameter.partition("=")[0].upper()
        if keyword in keywords:
            yield f"a parameter twice: {parameter!r}"
        keywords.add(keyword)
        yield from _parameter_faults(verb, parameter, offers)


def _parameter_faults(verb: str, parameter: str, offers: Offers) -> Iterator[str]:
    needed = [extension for of, extension, form in _PARAMETERS if of == verb and form.fullmatch(parameter)]
    if not needed:
        yield f"no parameter of {verb}: {parameter!r}"
    elif needed[0] not in offers:
        yield f"a parameter of an extension that was not offered: {parameter!r}"
    elif needed[0] == "SIZE" and offers["SIZE"].isdigit() and 0 < int(offers["SIZE"]) < int(parameter[5:]):
        yield f"a size over the limit that was offered: {parameter!r}"


def content_faults(content: bytes, mail: str) -> Iterator[str]:
    """What is wrong between a content, its dots undone, and the MAIL command that announced it.

    An empty one is the way out of a 354 that nobody needs, whatever was announced.
    """
    parameters = mail.rpartition(">")[2].upper().split()
    header, _, body = content.partition(b"\r\n\r\n")
    if not header.isascii() and "SMTPUTF8" not in parameters:
        yield "a header with octets over 127 without SMTPUTF8"
    if not body.isascii() and not {"BODY=8BITMIME", "BODY=BINARYMIME"}.intersection(parameters):
        yield "a body with octets over 127 without BODY=8BITMIME"
    for parameter in parameters:
        if content and parameter.startswith("SIZE=") and parameter != f"SIZE={len(content)}":
            yield f"{parameter} for a content of {len(content)} octets"
