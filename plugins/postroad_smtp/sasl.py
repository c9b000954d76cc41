"""SASL mechanisms of a client: which there are, and which one to take.  No I/O, nothing logged.

The mechanisms themselves stand in `passwords.py` (PLAIN, LOGIN, CRAM-MD5, XOAUTH2) and `scram.py`; RFC 4422, RFC 4954.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from .login import Login
from .mechanism import Mechanism
from .passwords import CramMd5, LoginMechanism, Plain, XOAuth2
from .scram import ScramSha256, is_fit

__all__ = ["KNOWN", "choose", "make", "usable"]

_MAKERS: Mapping[str, Callable[[Login], Mechanism]] = {
    mechanism.name: mechanism for mechanism in (ScramSha256, Plain, LoginMechanism, CramMd5, XOAuth2)
}
KNOWN = tuple(_MAKERS)

# SCRAM first: the server never sees the password and proves that it knows it; below `verified`, where somebody else may be at the
# other end of TLS, he has only a hash to guess from.  CRAM-MD5 last under TLS: nobody listens whom it could protect against, and
# servers that offer it must keep passwords readable, or offer what they cannot check.
_UNDER_TLS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
# Somebody may listen: the password itself goes only where the server leaves no choice.
_IN_THE_OPEN = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
# A token is good for whoever has it, so it never goes without TLS (RFC 6750 section 5.3).
_TOKEN_UNDER_TLS = ("XOAUTH2",)


def usable(login: Login, allowed: Collection[str]) -> Sequence[str]:
    """The mechanisms that this login could use; allowed: names, none of them for all."""
    names = _TOKEN_UNDER_TLS if login.is_token else _UNDER_TLS
    return [name for name in names if (not allowed or name in allowed) and (name != ScramSha256.name or is_fit(login))]


def choose(offered: Collection[str], login: Login, allowed: Collection[str], *, is_secure: bool) -> Sequence[str]:
    """The mechanisms to try with this server, the best first."""
    fit = usable(login, allowed)
    if not is_secure:
        fit = [name for name in _IN_THE_OPEN if name in fit]
    return [name for name in fit if name in offered]


def make(name: str, login: Login) -> Mechanism:
    """A new exchange by the mechanism of this name."""
    return _MAKERS[name](login)
