"""What a server offers in its EHLO reply (RFC 5321 section 4.1.1.1, RFC 1869).  Pure; unknown keywords are ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from .reply import Reply

__all__ = ["NOTHING", "UNASKED", "Features", "read_features"]


@dataclass(frozen=True, slots=True)
class Features:
    """The extensions offered.

    size: the largest content in octets; None without a limit (SIZE missing, `SIZE 0`, or without a number: RFC 1870).
    has_size: whether MAIL may have the parameter SIZE.
    mechanisms: SASL mechanisms, in upper case.
    mail_max, rcpt_max, rcpt_domain_max: MAIL commands of a connection, recipients and their domains of a transaction (RFC 9422).
    is_known: whether the server was asked, so that what is not here is not offered.
    """

    size: int | None = None
    has_size: bool = False
    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    chunking: bool = False
    dsn: bool = False
    mechanisms: frozenset[str] = frozenset()
    mail_max: int | None = None
    rcpt_max: int | None = None
    rcpt_domain_max: int | None = None
    is_known: bool = True


NOTHING = Features()
UNASKED = Features(is_known=False)


@lru_cache(maxsize=32)  # a server says the same to every connection; at most 2 MiB (`reply.MAX_REPLY`)
def read_features(reply: Reply) -> Features:
    """Read an EHLO reply; its first line is the greeting."""
    keywords: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.decode("ascii", "replace").strip().partition(" ")
        keywords.setdefault(keyword.upper(), parameters.strip())
    limits = _limits(keywords.get("LIMITS", ""))
    return Features(
        size=_size(keywords.get("SIZE", "")),
        has_size="SIZE" in keywords,
        pipelining="PIPELINING" in keywords,
        eight_bit="8BITMIME" in keywords,
        smtputf8="SMTPUTF8" in keywords,
        starttls="STARTTLS" in keywords,
        chunking="CHUNKING" in keywords,
        dsn="DSN" in keywords,
        mechanisms=_mechanisms(keywords),
        mail_max=limits.get("MAILMAX"),
        rcpt_max=limits.get("RCPTMAX"),
        rcpt_domain_max=limits.get("RCPTDOMAINMAX"),
    )


def _size(parameters: str) -> int | None:
    digits = parameters[:20]  # RFC 1870 section 3: at most 20 digits
    return int(digits) or None if digits.isascii() and digits.isdigit() else None


_LIMIT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-:<-~]+))?")


def _limits(parameters: str) -> Mapping[str, int]:
    """The limits of RFC 9422 section 3: a list that is malformed is ignored as a whole, a value that is none alone."""
    limits: dict[str, int] = {}
    for word in parameters.split():
        match = _LIMIT.fullmatch(word)
        if match is None:
            return {}
        value = match[2] or ""
        if 0 < len(value) <= 6 and value.isdigit() and int(value) > 0:  # section 4: 1 to 6 digits, and none of them 0
            limits.setdefault(match[1].upper(), int(value))
    return limits


def _mechanisms(keywords: Mapping[str, str]) -> frozenset[str]:
    """From `AUTH PLAIN LOGIN`, and from the draft's `AUTH=PLAIN LOGIN` that old servers still send."""
    names: set[str] = set(keywords.get("AUTH", "").upper().split())
    for keyword, parameters in keywords.items():
        if keyword.startswith("AUTH="):
            names.update(f"{keyword[5:]} {parameters}".upper().split())
    return frozenset(names)
