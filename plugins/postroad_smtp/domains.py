"""A recipient's domain as the DNS is to be asked for it.  IDNA2008 by UTS 46, RFC 5321 section 4.1.3 for address literals.

The engine's own door has done this already; a caller that is another program's may not have.  What is no domain is refused with
5.1.3: no look-up could make it one.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from postroad.log import printable
from postroad.verdict import Scope

from .trouble import Kind, Trouble

__all__ = ["canonical", "is_host_name", "literal_address"]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_is_name = re.compile(rf"{_LABEL}(?:\.{_LABEL})*").fullmatch
_OCTETS = 253  # RFC 1035 section 2.3.4: 255 on the wire
_CHARACTERS = 1016  # four octets for each of 254 characters: whatever is longer need not be looked at


def canonical(domain: str) -> str:
    """The domain as lower-case A-labels without a final dot, or its address literal.  Raises Trouble, which refuses."""
    if len(domain) > _CHARACTERS:
        raise _refusal(domain, "it is too long")
    if domain.startswith("["):
        return _literal(domain)
    name = (domain if domain.isascii() else _encode(domain)).lower().removesuffix(".")
    if len(name) > _OCTETS:
        raise _refusal(domain, "it is too long")
    if not is_host_name(name):
        raise _refusal(domain, "its labels must be 1 to 63 letters, digits and hyphens")
    return name


def is_host_name(name: str) -> bool:
    """Whether a name in lower case has only labels as hosts have them (RFC 1123 section 2.1), underscores being tolerated: the
    DNS itself takes any octets (RFC 2181 section 11)."""
    return _is_name(name) is not None


def _encode(domain: str) -> str:
    import idna  # its tables are large, and hardly anybody comes here

    try:
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise _refusal(domain, str(error)) from error


def _literal(domain: str) -> str:
    address = literal_address(domain) if domain.endswith("]") else None
    if address is None:
        raise _refusal(domain, "an address literal is [192.0.2.1] or [IPv6:2001:db8::1]")
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


@lru_cache(maxsize=64)  # a smarthost's is asked for at each connection
def literal_address(host: str) -> str | None:
    """The numeric address that a literal, or a host that is given in digits, stands for."""
    text = host
    if host.startswith("["):
        text = host[1:-1]
        text = text[5:] if text[:5].lower() == "ipv6:" else text
    if ":" not in text and not text[-1:].isdigit():
        return None  # a name, as hosts have them; to be told so by an exception costs more than all else here
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _refusal(domain: str, why: str) -> Trouble:
    said = f"{printable(domain, 100)} is no domain: {printable(why, 200)}"
    return Trouble(Kind.NO_SUCH_HOST, said, "5.1.3", scope=Scope.RECIPIENT)
