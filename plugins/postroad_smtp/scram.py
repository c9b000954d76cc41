"""SCRAM-SHA-256 (RFC 5802, RFC 7677): both ends prove that they know the password, and neither shows it.  No I/O.

Without channel binding: Python's ssl gives no exporter (RFC 9266), and which other binding a server knows cannot be asked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from functools import partial

from postroad.log import printable

from .login import Login
from .mechanism import Derivation, Unfit, decode
from .saslprep import saslprep

__all__ = ["MOST_ITERATIONS", "ScramSha256", "is_fit"]

LEAST_ITERATIONS = (
    4096  # RFC 7677 section 4: with fewer, a false server could ask for a proof that is cheap to guess from
)
MOST_ITERATIONS = 1_000_000  # half a second of a core; the common advice for stored passwords is 600,000

_HEADER = b"n,,"  # no channel binding, no other identity
_FIRST = re.compile(rb"r=([!-+\--~]{1,1024}),s=([A-Za-z0-9+/=]{1,1024}),i=([1-9][0-9]{0,9})(?:,.*)?", re.DOTALL)
_FINAL = re.compile(rb"v=([A-Za-z0-9+/=]{1,1024})(?:,.*)?", re.DOTALL)


def is_fit(login: Login) -> bool:
    """Whether user name and password can be prepared by RFC 4013, so that both ends compute from the same octets."""
    try:
        _prepare(login)
    except ValueError:
        return False
    return True


def _prepare(login: Login) -> tuple[bytes, bytes]:
    """RFC 5802: the name is a query, the password a stored string."""
    return saslprep(login.username, is_query=True).encode(), saslprep(login.secret).encode()


class ScramSha256:
    """The client's half.  nonce: a random one unless given, which only a test does."""

    name = "SCRAM-SHA-256"

    def __init__(self, login: Login, nonce: str = "") -> None:
        username, self._password = _prepare(login)
        self._nonce = (nonce or secrets.token_urlsafe(24)).encode()
        self._bare = b"n=" + username.replace(b"=", b"=3D").replace(b",", b"=2C") + b",r=" + self._nonce
        self._signature: bytes | None = None  # what the server will have to show
        self._was_asked = False
        self.initial: bytes | None = _HEADER + self._bare
        self.is_done = False

    def answer(self, challenge: bytes) -> bytes | Derivation:
        message = decode(challenge)
        if message.startswith(b"e="):
            raise Unfit(f"the server gives up: {printable(message[2:], 60)}")
        if self._signature is not None and not self.is_done:
            return self._final(message)
        if self._was_asked:
            raise Unfit("the server asks on, although all was said")
        self._was_asked = True
        return self._first(message)

    def _first(self, message: bytes) -> Derivation:
        match = _FIRST.fullmatch(message)
        if match is None:
            raise Unfit("the server's first message is not one of SCRAM")
        nonce, salt, iterations = match[1], decode(match[2]), int(match[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise Unfit("the server's nonce does not continue ours")
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise Unfit(f"the server wants {iterations} iterations; {LEAST_ITERATIONS} to {MOST_ITERATIONS} are done")
        return Derivation(self._password, salt, iterations, partial(self._prove, nonce, message))

    def _prove(self, nonce: bytes, message: bytes, key: bytes) -> bytes:
        """The client's last message.  message: the server's.  key: SaltedPassword."""
        without_proof = b"c=" + base64.b64encode(_HEADER) + b",r=" + nonce
        everything = b",".join((self._bare, message, without_proof))
        client = _hmac(key, b"Client Key")
        shown = _hmac(hashlib.sha256(client).digest(), everything)
        proof = bytes(one ^ other for one, other in zip(client, shown, strict=True))
        self._signature = _hmac(_hmac(key, b"Server Key"), everything)
        return without_proof + b",p=" + base64.b64encode(proof)

    def _final(self, message: bytes) -> bytes:
        match = _FINAL.fullmatch(message)
        if match is None:
            raise Unfit("the server's last message is not one of SCRAM")
        assert self._signature is not None
        if not hmac.compare_digest(decode(match[1]), self._signature):
            raise Unfit("the server's signature is wrong: it does not know the password")
        self.is_done = True
        return b""


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
