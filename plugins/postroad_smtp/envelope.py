"""The envelope of a message as lines for one server: MAIL with its parameters, RCPT for those who may go along, DATA.  No I/O.

Says what this server can never take, by the extensions that it offers: SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531),
DSN (RFC 3461), LIMITS (RFC 9422).  A parameter goes only where its extension is offered.
What needs one that is not there is refused, but deferred where the server was not asked for its extensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from postroad.transport import DeliveryRequest, LeasedRecipient
from postroad.verdict import Scope, Verdict

from . import emit
from .features import Features
from .protocol import Awaited
from .verdicts import Remote, own_deferral, own_refusal

__all__ = ["Envelope", "Line", "is_eight_bit", "write_envelope"]

Line = tuple[Awaited, bytes]


class Envelope(msgspec.Struct, gc=False):
    """lines: what to say.  named: the recipients in them, by index.  refused: those that cannot go there, with the reason."""

    lines: list[Line] = []
    named: list[int] = []
    refused: dict[int, Verdict] = {}


def write_envelope(
    request: DeliveryRequest, indexes: Sequence[int], features: Features, remote: Remote, *, with_data: bool
) -> Envelope:
    """The envelope for some of a request's recipients, as many as one transaction may have.  with_data: DATA ends it."""
    refusal = _refusal(request, features, remote)
    if refusal is not None:
        return Envelope(refused=dict.fromkeys(indexes, refusal))
    envelope = Envelope()
    recipients = _write_recipients(request, indexes, features, remote, envelope)
    if not recipients:
        return envelope
    try:
        first = _write_mail(request, features, envelope.named)
    except emit.Unsafe as error:
        return Envelope(refused=dict.fromkeys(indexes, own_refusal(str(error), "5.1.7", remote)))
    envelope.lines = [(Awaited.MAIL, first), *recipients]
    if with_data:
        envelope.lines.append((Awaited.DATA, emit.data()))
    return envelope


def is_eight_bit(request: DeliveryRequest) -> bool:
    """Whether octets over 127 may stand in the content, be it in a body or in a header."""
    return request.message.eight_bit or request.message.smtputf8


def _refusal(request: DeliveryRequest, features: Features, remote: Remote) -> Verdict | None:
    """Why this server cannot take this message, if so."""
    message = request.message
    if features.size is not None and message.size > features.size:
        said = f"the message has {message.size} octets, the server takes {features.size}"
        return own_refusal(said, "5.3.4", remote)
    if message.smtputf8 and not features.smtputf8:
        return _lacking("a header needs SMTPUTF8", "6.9", features, remote)
    if not (message.sender.isascii() or features.smtputf8):
        return _lacking("the sender needs SMTPUTF8", "6.7", features, remote)
    if message.eight_bit and not features.eight_bit:
        return _lacking(
            "8-bit content that is signed, or cannot be written anew in 7 bits, needs 8BITMIME", "6.3", features, remote
        )
    return None


def _lacking(what: str, detail: str, features: Features, remote: Remote, *, scope: Scope = Scope.MESSAGE) -> Verdict:
    """The verdict of what needs an extension that is not there.  detail: the status without its class."""
    if features.is_known:
        return own_refusal(f"{what}, which the server does not offer", f"5.{detail}", remote, scope=scope)
    said = f"{what}; what the server offers is not known, because it hung up at EHLO"
    return own_deferral(said, f"4.{detail}", remote, scope=scope)


def _write_recipients(
    request: DeliveryRequest, indexes: Sequence[int], features: Features, remote: Remote, envelope: Envelope
) -> list[Line]:
    lines: list[Line] = []
    domains: set[str] = set()
    for index in indexes:
        recipient = request.recipients[index]
        try:
            line = _write_rcpt(request, recipient, features)
        except emit.Unsafe as error:
            envelope.refused[index] = own_refusal(str(error), "5.1.3", remote, scope=Scope.RECIPIENT)
            continue
        if not (recipient.address.isascii() or features.smtputf8):
            said = "the address needs SMTPUTF8"
            envelope.refused[index] = _lacking(said, "6.7", features, remote, scope=Scope.RECIPIENT)
        elif _has_room(recipient, len(lines), domains, features):
            lines.append((Awaited.RCPT, line))
            envelope.named.append(index)
    return lines


def _has_room(recipient: LeasedRecipient, named: int, domains: set[str], features: Features) -> bool:
    """Whether the server's limits of a transaction allow one more (RFC 9422); the others go in the next one."""
    if features.rcpt_max is not None and named >= features.rcpt_max:
        return False
    if features.rcpt_domain_max is not None:
        domain = recipient.address.rpartition("@")[2].lower()
        if domain not in domains and len(domains) >= features.rcpt_domain_max:
            return False
        domains.add(domain)
    return True


def _write_rcpt(request: DeliveryRequest, recipient: LeasedRecipient, features: Features) -> bytes:
    """RCPT, with NOTIFY and ORCPT as they were asked for: passed on, never invented (RFC 3461 section 5.2)."""
    if not features.dsn:
        return emit.rcpt(recipient.address)
    notify = recipient.notify or request.message.dsn.notify
    if not (request.message.sender or notify == ("never",)):
        notify = ()  # there is nobody to notify of a null sender's mail
    return emit.rcpt(recipient.address, notify=notify, orcpt=recipient.orcpt)


def _write_mail(request: DeliveryRequest, features: Features, named: Sequence[int]) -> bytes:
    message = request.message
    is_utf8 = message.smtputf8 or not message.sender.isascii()
    return emit.mail(
        message.sender,
        size=message.size if features.has_size else None,
        eight_bit=is_eight_bit(request) and features.eight_bit,
        smtputf8=is_utf8 or any(not request.recipients[index].address.isascii() for index in named),
        ret=message.dsn.ret if features.dsn and message.sender else None,
        envid=message.dsn.envid if features.dsn else None,
    )
