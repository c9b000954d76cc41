"""The only place that makes commands for the wire, one function each; `encoding.py` makes the content.

Nothing else in this package may write a CR, LF or dot.  Whatever could end a line early, begin another command or end the
content early raises Unsafe; nothing is silently repaired.  RFC 5321 sections 4.1.1, 4.5.2 and 4.5.3.1; RFC 6531 for UTF-8.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping, Sequence

__all__ = [
    "Unsafe",
    "auth",
    "auth_answer",
    "auth_fits",
    "bdat",
    "data",
    "ehlo",
    "helo",
    "lhlo",
    "lone_dot",
    "mail",
    "quit",
    "rcpt",
    "rset",
    "starttls",
]

_COMMAND = 512  # RFC 5321 section 4.5.3.1.4, with CRLF
_MAIL = _COMMAND + 26 + 10 + 17 + 500  # longer by SIZE (RFC 1870), SMTPUTF8 (6531), BODY (6152), DSN (3461)
_RCPT = _COMMAND + 500  # RFC 3461 section 5.4
_AUTH = 12_288  # RFC 4954 section 4

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[0-9A-Za-z.:-]{2,60}\]")
_RETS = {"full": b"FULL", "headers": b"HDRS"}
_NOTIFICATIONS = {"never": b"NEVER", "failure": b"FAILURE", "delay": b"DELAY", "success": b"SUCCESS"}
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};(?:[!-*,-<>-~]|\+[0-9A-F]{2}){1,500}")
_KEYWORD = re.compile(r"[A-Za-z0-9-]{1,20}")
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN = re.compile(rf"[{_ATEXT}.]{{1,64}}@[A-Za-z0-9.-]{{1,255}}")
_ANY = re.compile(
    rf"(?:[{_ATEXT}.\u00a1-\U0010ffff]+|\"(?:[ !#-\[\]-~\u00a1-\U0010ffff]|\\[ -~])*\")"
    r"@(?:[A-Za-z0-9.\u00a1-\U0010ffff-]+|\[[!-Z^-~]+\])"
)


class Unsafe(ValueError):
    """This must not go on the wire; the text says what is wrong with it."""


def _line(line: bytes, limit: int = _COMMAND) -> bytes:
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise Unsafe("a command with CR, LF or NUL in it")
    if len(line) + 2 > limit:
        raise Unsafe(f"a command over {limit} octets")
    return line + b"\r\n"


def _name(name: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise Unsafe(f"{name!r} is no host name or address literal")
    return name.encode("ascii")


def _path(address: str) -> bytes:
    if _PLAIN.fullmatch(address):
        return b"<" + address.encode("ascii") + b">"
    if not (_ANY.fullmatch(address) and address.isprintable()):
        raise Unsafe(f"{address!r} is no address")
    return b"<" + address.encode("utf-8") + b">"


@functools.lru_cache(maxsize=16)  # each transport says the same each time
def ehlo(name: str) -> bytes:
    return _line(b"EHLO " + _name(name))


def lhlo(name: str) -> bytes:
    """LMTP's EHLO (RFC 2033 section 4.1)."""
    return _line(b"LHLO " + _name(name))


def helo(name: str) -> bytes:
    return _line(b"HELO " + _name(name))


def starttls() -> bytes:
    return b"STARTTLS\r\n"


def auth(mechanism: str, initial: bytes | None) -> bytes:
    """AUTH with or without an initial response (RFC 4954 section 4; an empty one is written `=`)."""
    return _line(_auth(mechanism, initial))


def auth_fits(mechanism: str, initial: bytes) -> bool:
    """Whether the response may stand in the command; if not, it answers an empty challenge (RFC 4954 section 4)."""
    return len(_auth(mechanism, initial)) + 2 <= _COMMAND


def _auth(mechanism: str, initial: bytes | None) -> bytes:
    if not _KEYWORD.fullmatch(mechanism):
        raise Unsafe("a SASL mechanism's name is letters, digits and hyphens")
    line = b"AUTH " + mechanism.encode("ascii")
    return line if initial is None else line + b" " + (base64.b64encode(initial) or b"=")


def auth_answer(answer: bytes | None) -> bytes:
    """A further response, or None to give the exchange up."""
    return _line(b"*" if answer is None else base64.b64encode(answer), _AUTH)


def mail(
    sender: str,
    *,
    size: int | None = None,
    eight_bit: bool = False,
    smtputf8: bool = False,
    ret: str | None = None,
    envid: str | None = None,
) -> bytes:
    """MAIL FROM; an empty sender is the null sender.  Each parameter only where the server offers its extension.

    ret: "full" or "headers"; envid: not yet in xtext (RFC 3461 sections 4.3 and 4.4).
    """
    line = b"MAIL FROM:" + (_path(sender) if sender else b"<>")
    if size is not None:
        line += b" SIZE=%d" % size
    if eight_bit:
        line += b" BODY=8BITMIME"
    if smtputf8:
        line += b" SMTPUTF8"
    if ret is not None:
        line += b" RET=" + _one_of(ret, _RETS)
    if envid is not None:
        line += b" ENVID=" + _xtext(envid)
    return _line(line, _MAIL)


def rcpt(recipient: str, *, notify: Sequence[str] = (), orcpt: str = "") -> bytes:
    """RCPT TO; notify and orcpt only where the server offers DSN (RFC 3461 sections 4.1 and 4.2).

    notify: words of `DsnOptions`.  orcpt: type and address, the latter already in xtext.
    """
    line = b"RCPT TO:" + _path(recipient)
    if notify:
        line += b" NOTIFY=" + b",".join(_one_of(word, _NOTIFICATIONS) for word in notify)
    if orcpt:
        if not _ORCPT.fullmatch(orcpt):
            raise Unsafe(f"{orcpt!r} is no address type and xtext")
        line += b" ORCPT=" + orcpt.encode("ascii")
    return _line(line, _RCPT)


def _one_of(word: str, known: Mapping[str, bytes]) -> bytes:
    if word not in known:
        raise Unsafe(f"{word!r} is not one of {', '.join(known)}")
    return known[word]


def _xtext(text: str) -> bytes:
    """RFC 3461 section 4: printable ASCII, with `+`, `=` and all else as `+` and two digits."""
    if not text or not text.isascii():
        raise Unsafe(f"{text!r} is no text in ASCII")
    return _NOT_XTEXT.sub(lambda match: b"+%02X" % match[0][0], text.encode("ascii"))


def data() -> bytes:
    return b"DATA\r\n"


def bdat(octets: int, *, is_last: bool) -> bytes:
    """Announce a chunk of so many octets (RFC 3030 section 2)."""
    return b"BDAT %d%s\r\n" % (octets, b" LAST" if is_last else b"")


def rset() -> bytes:
    return b"RSET\r\n"


def quit() -> bytes:
    return b"QUIT\r\n"


def lone_dot() -> bytes:
    """The end of a content with nothing in it: the way out of a 354 that came without an accepted recipient."""
    return b".\r\n"
