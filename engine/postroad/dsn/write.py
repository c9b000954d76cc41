"""Writes failure and delay reports: multipart/report of three parts (RFC 6522, RFC 3464, RFC 6533).

What is written is canonical and 7-bit (only a sender's own UTF-8 address makes the To field raw UTF-8): CRLF, no line over
998 octets.  A peer's words and the returned mail are hostile: words are escaped and cut, mail cannot leave its part.
It must never invent a field: Original-Recipient and Original-Envelope-Id stand only where the sender gave them.
"""

from __future__ import annotations

import binascii
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

import msgspec

from ..log import printable
from ..message import Message
from .advice import advice_for
from .forms import decode_xtext, encode_utf8_address, escape_non_ascii

__all__ = ["ReportRequest", "ReportedRecipient", "write_report"]

_MAX_RECIPIENTS = 100  # RFC 5321 section 4.5.3.1.8: what every server takes at once, and what a lease holds
_HEADER_BYTES = 32_768  # of a returned header: several times what mail carries after many hops
_LINE_BYTES = 998  # RFC 5322 section 2.1.1
_DIAGNOSTIC_CHARS = 800  # leaves room for the field's name within a line
_WORD_BYTES = 42  # of UTF-8 in one encoded word of 75 characters (RFC 2047 section 2)


class ReportedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient.

    reply, remote: as in the last Verdict.  orcpt: the ORCPT parameter as it was received ("rfc822;b+2Bx@example.org").
    last_attempt_at, will_retry_until: wall seconds, None where there was no attempt, or will be no more.
    """

    address: str
    action: Literal["failed", "delayed"]
    status: str
    reply: str = ""
    remote: str = ""
    attempts: int = 0
    orcpt: str = ""
    last_attempt_at: float | None = None
    will_retry_until: float | None = None


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report says.

    message: the mail that is reported on; returned: its content (b"" where it cannot be read: then nothing is returned).
    to: who gets the report.  hostname: this host, which reports.  report_id: the report's own id.  now: wall seconds.
    full_bytes: returned mail larger than this is cut to its header.
    """

    kind: Literal["failed", "delayed"]
    message: Message
    recipients: tuple[ReportedRecipient, ...]
    returned: bytes
    to: tuple[str, ...]
    hostname: str
    from_name: str
    full_bytes: int
    report_id: str
    now: float


def write_report(request: ReportRequest) -> bytes:
    """Write the report as canonical RFC 5322 content.

    It is pure ASCII unless a `to` address has a UTF-8 local part: then the next hop must offer SMTPUTF8.
    Raises ValueError for no recipients or more than 100.
    """
    if not 0 < len(request.recipients) <= _MAX_RECIPIENTS:
        raise ValueError(f"a report is on 1 to {_MAX_RECIPIENTS} recipients, not {len(request.recipients)}")
    parts = [_text_part(request), _status_part(request), *_returned_part(request)]
    boundary = _free_boundary(request.report_id, parts)
    delimiter = b"\r\n--" + boundary
    body = b"".join(delimiter + b"\r\n" + part for part in parts)
    return _header(request, boundary.decode()) + body + delimiter + b"--\r\n"


def _free_boundary(report_id: str, parts: Sequence[bytes]) -> bytes:
    """A boundary that no part contains.  "=_" keeps it out of encoded parts; the number out of hostile ones."""
    name = re.sub(r"[^A-Za-z0-9]", "", report_id)[:40]
    candidates = (f"=_{name}.{number}".encode() for number in itertools.count())  # ends: the parts are finite
    return next(candidate for candidate in candidates if not any(candidate in part for part in parts))


# --- The header ---

_SUBJECTS = {"failed": "Your message could not be delivered", "delayed": "Your message is delayed"}


def _header(request: ReportRequest, boundary: str) -> bytes:
    fields = [
        f"From: {_phrase(request.from_name)} <mailer-daemon@{request.hostname}>",
        "To: " + ",\r\n ".join(_header_address(address) for address in request.to),
        f"Subject: {_SUBJECTS[request.kind]}",
        f"Date: {_date(request.now)}",
        f"Message-ID: <{request.report_id}@{request.hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5: an answer to another message
        *_thread_fields(request.message.message_id or _message_id_in(request.returned)),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    return ("\r\n".join(fields) + "\r\n\r\n").encode()


def _message_id_in(returned: bytes) -> str:
    """For mail whose record cannot be read any more, so that only its own header tells."""
    found = re.search(rb"(?im)^message-id:\s*<([!-;=?-~]{1,900})>", _cut_header(returned))
    return found[1].decode() if found else ""


def _thread_fields(message_id: str) -> list[str]:
    if not re.fullmatch(r"[!-;=?-~]{1,900}", message_id):
        return []
    return [f"In-Reply-To: <{message_id}>", f"References: <{message_id}>"]


def _phrase(name: str) -> str:
    """A display name (RFC 5322 section 3.2.5), in encoded words (RFC 2047) where it is not ASCII."""
    name = printable(name, 200)
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+", name) and "=?" not in name:
        return name
    if name.isascii() and "=?" not in name:
        return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return "\r\n ".join(f"=?utf-8?b?{_base64(piece)}?=" for piece in _word_pieces(name))


def _word_pieces(text: str) -> Iterator[bytes]:
    piece = b""
    for char in map(str.encode, text):
        if len(piece) + len(char) > _WORD_BYTES:
            yield piece
            piece = b""
        piece += char
    yield piece


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _header_address(address: str) -> str:
    return printable(_with_a_label(address), 320)


def _with_a_label(address: str) -> str:
    """A non-ASCII domain in its ASCII form, so that an ASCII local part needs no SMTPUTF8."""
    local, at, domain = address.rpartition("@")
    if domain.isascii() or not local.isascii():
        return address
    import idna  # 20 ms that few reports need

    try:
        return local + at + idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return address


def _date(when: float) -> str:
    return format_datetime(datetime.fromtimestamp(when, UTC))


# --- First part: for people ---


def _text_part(request: ReportRequest) -> bytes:
    text = "\r\n".join(_text_lines(request)) + "\r\n"
    if text.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode()
    encoded = binascii.b2a_qp(text.encode(), istext=True)
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _wrapper(indent: str) -> textwrap.TextWrapper:
    """A word longer than a line stays whole: addresses and URLs in replies are to be copied."""
    return textwrap.TextWrapper(
        72, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


_PLAIN, _INDENTED, _QUOTED = _wrapper(""), _wrapper(" " * 4), _wrapper(" " * 6)


def _text_lines(request: ReportRequest) -> Iterator[str]:
    yield f"This is the mail system at {request.hostname}."
    yield ""
    yield from _PLAIN.wrap(_opening(request))
    for recipient in request.recipients:
        yield ""
        yield from _lines_on(recipient)
    yield ""
    yield from _PLAIN.wrap(_closing(request))


def _opening(request: ReportRequest) -> str:
    when = _date(request.message.accepted_at)
    if request.kind == "delayed":
        return (
            f"Your message of {when} has not reached everybody yet. This is only a notice: you need not send it "
            "again. Delivery is still being tried to:"
        )
    return f"Your message of {when} could not be delivered to the following, and will not be tried again:"


def _lines_on(recipient: ReportedRecipient) -> Iterator[str]:
    yield f"<{printable(recipient.address, 320)}>"
    if recipient.reply:
        speaker = f"{printable(recipient.remote, 300)} said:" if recipient.remote else "The reason:"
        yield from _INDENTED.wrap(speaker)
        yield from _QUOTED.wrap(printable(recipient.reply))
    if recipient.will_retry_until is not None:
        yield f"    It will be tried until {_date(recipient.will_retry_until)}."
    elif recipient.attempts > 1:
        yield f"    It was tried {recipient.attempts} times."
    if recipient.action == "failed":
        yield from _INDENTED.wrap(advice_for(recipient.status))


def _closing(request: ReportRequest) -> str:
    if not request.returned:
        return "The details for mail programs are attached."
    what = "Your message is" if _returns_all(request) else "The header of your message is"
    return f"{what} attached, with the details for mail programs."


# --- Second part: for programs (RFC 3464 section 2) ---


def _status_part(request: ReportRequest) -> bytes:
    groups = ["\r\n".join(_message_fields(request))]
    groups += ["\r\n".join(_recipient_fields(recipient)) for recipient in request.recipients]
    return ("Content-Type: message/delivery-status\r\n\r\n" + "\r\n\r\n".join(groups) + "\r\n").encode("ascii")


def _message_fields(request: ReportRequest) -> Iterator[str]:
    yield f"Reporting-MTA: dns; {request.hostname}"
    if request.message.dsn.envid:
        yield f"Original-Envelope-Id: {_ascii(request.message.dsn.envid)}"
    yield f"Arrival-Date: {_date(request.message.accepted_at)}"


def _recipient_fields(recipient: ReportedRecipient) -> Iterator[str]:
    if original := _original_recipient(recipient.orcpt):
        yield f"Original-Recipient: {original}"
    yield f"Final-Recipient: {_typed_address(recipient.address)}"
    yield f"Action: {recipient.action}"
    yield f"Status: {_status(recipient)}"
    if host := _host(recipient.remote):
        yield f"Remote-MTA: dns; {host}"
    if recipient.reply:
        yield f"Diagnostic-Code: {_diagnostic(recipient.reply)}"
    if recipient.last_attempt_at is not None:
        yield f"Last-Attempt-Date: {_date(recipient.last_attempt_at)}"
    if recipient.will_retry_until is not None:
        yield f"Will-Retry-Until: {_date(recipient.will_retry_until)}"


def _typed_address(address: str) -> str:
    if address.isascii():
        return f"rfc822; {printable(address, 320)}"
    return f"utf-8; {encode_utf8_address(printable(address, 320))}"


def _original_recipient(orcpt: str) -> str:
    """ORCPT as a field: its xtext decoded; the \\x{HEX} form of utf-8 addresses stays (RFC 6533 section 3)."""
    kind, semicolon, address = orcpt.partition(";")
    if not semicolon or not re.fullmatch(r"[A-Za-z0-9-]{1,40}", kind):
        return ""
    return f"{kind}; {_ascii(decode_xtext(address))}"


def _status(recipient: ReportedRecipient) -> str:
    if re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", recipient.status):  # \d would take digits that are not ASCII
        return recipient.status
    return "5.0.0" if recipient.action == "failed" else "4.0.0"


def _host(remote: str) -> str:
    """The name in "mx1.example.org [192.0.2.1]:25", or the literal where there is no name."""
    match = re.match(r"[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]", remote)
    return match[0] if match else ""


def _diagnostic(reply: str) -> str:
    kind = "smtp" if re.match(r"[245]\d\d(?:[ -]|\Z)", reply) else "x-postroad"  # only a server's reply is smtp
    return f"{kind}; {_ascii(reply)}"


def _ascii(text: str) -> str:
    return printable(escape_non_ascii(printable(text)), _DIAGNOSTIC_CHARS)


# --- Third part: the mail itself, or its header ---

_AS_MAIL = b"Content-Type: message/rfc822\r\n\r\n"
_AS_HEADER = b"Content-Type: text/rfc822-headers\r\n\r\n"
_AS_ENCODED_HEADER = (
    b"Content-Type: text/rfc822-headers; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
)


def _returned_part(request: ReportRequest) -> list[bytes]:
    if not request.returned:
        return []
    if _returns_all(request):
        return [_AS_MAIL + request.returned]
    header = _cut_header(request.returned)
    if _is_clean(header):
        return [_AS_HEADER + header]
    return [_AS_ENCODED_HEADER + binascii.b2a_qp(header, istext=True)]


def _returns_all(request: ReportRequest) -> bool:
    """RET counts for failures only (RFC 3461 section 6.2); what is not 7-bit goes home as its header."""
    return (
        request.kind == "failed"
        and request.message.dsn.ret != "headers"
        and len(request.returned) <= request.full_bytes
        and _is_clean(request.returned)
    )


def _cut_header(content: bytes) -> bytes:
    start = re.sub(rb"\r\n|\r|\n", b"\r\n", content[: _HEADER_BYTES + 1])
    header, empty_line, _ = start.partition(b"\r\n\r\n")
    if not empty_line and len(content) > _HEADER_BYTES:
        header = header[: header.rfind(b"\r\n") if b"\r\n" in header else _HEADER_BYTES]
    return header.removesuffix(b"\r\n") + b"\r\n"


def _is_clean(data: bytes) -> bool:
    """7-bit as MIME means it (RFC 2045 section 2.7)."""
    if not data.isascii() or b"\0" in data:
        return False
    lines = data.split(b"\r\n")
    return data.count(b"\r") == data.count(b"\n") == len(lines) - 1 and max(map(len, lines)) <= _LINE_BYTES
