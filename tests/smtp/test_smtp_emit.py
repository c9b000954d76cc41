"""Commands for the wire: nothing that ends a line or a command early gets through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postroad_smtp import emit
from postroad_smtp.emit import Unsafe

NASTY = ["\r", "\n", "\r\n", "\0", " ", ">", "<", "\u2028", "\u0085", "\x1b", "\x7f"]
FIELDS: dict[str, Callable[[str], bytes]] = {
    "ehlo": lambda bad: emit.ehlo(f"host{bad}.example"),
    "helo": lambda bad: emit.helo(f"host.example{bad}"),
    "mail local part": lambda bad: emit.mail(f"a{bad}b@example.com"),
    "mail domain": lambda bad: emit.mail(f"a@example{bad}.com"),
    "rcpt local part": lambda bad: emit.rcpt(f"{bad}b@example.org"),
    "rcpt end": lambda bad: emit.rcpt(f"b@example.org{bad}"),
    "auth mechanism": lambda bad: emit.auth(f"PLAIN{bad}", None),
}


@pytest.mark.parametrize("bad", NASTY, ids=ascii)
@pytest.mark.parametrize("field", FIELDS)
def test_no_parameter_of_a_command_can_hold_a_control_or_a_separator(field: str, bad: str) -> None:
    with pytest.raises(Unsafe):
        FIELDS[field](bad)


def test_a_quoted_local_part_may_hold_what_would_otherwise_end_the_path() -> None:
    assert emit.rcpt('"b> c"@example.org') == b'RCPT TO:<"b> c"@example.org>\r\n'
    with pytest.raises(Unsafe):
        emit.rcpt('"b\r\nDATA"@example.org')


def test_commands_as_the_rfc_writes_them() -> None:
    assert emit.mail("") == b"MAIL FROM:<>\r\n"
    assert emit.mail("a@example.com", size=7, eight_bit=True) == b"MAIL FROM:<a@example.com> SIZE=7 BODY=8BITMIME\r\n"
    assert emit.mail("\u00e4@example.com", smtputf8=True) == "MAIL FROM:<\u00e4@example.com> SMTPUTF8\r\n".encode()
    assert emit.rcpt("b@[192.0.2.1]") == b"RCPT TO:<b@[192.0.2.1]>\r\n"
    assert emit.ehlo("[IPv6:::1]") == b"EHLO [IPv6:::1]\r\n"
    assert emit.auth("PLAIN", b"\0u\0p") == b"AUTH PLAIN AHUAcA==\r\n"
    assert emit.auth("X", b"") == b"AUTH X =\r\n"
    assert emit.auth_answer(None) == b"*\r\n"


def test_a_command_that_is_too_long_is_refused() -> None:
    with pytest.raises(Unsafe, match="1012"):  # RFC 3461 section 5.4 adds 500
        emit.rcpt(f"{'x' * 1100}@[192.0.2.1]")
