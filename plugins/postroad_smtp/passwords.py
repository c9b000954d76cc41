"""The SASL mechanisms without arithmetic on the way: PLAIN, LOGIN, CRAM-MD5 and XOAUTH2.  No I/O."""

from __future__ import annotations

import hmac

from .login import Login
from .mechanism import Unfit, decode

__all__ = ["CramMd5", "LoginMechanism", "Plain", "XOAuth2"]


class Plain:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"
    is_done = True

    def __init__(self, login: Login) -> None:
        self.initial: bytes | None = f"\0{login.username}\0{login.secret}".encode()

    def answer(self, challenge: bytes) -> bytes:
        raise Unfit("the server asks on, although all was said")


class LoginMechanism:
    """LOGIN: no RFC; user name and password, each asked for.  What the challenges say is not looked at: no two servers agree."""

    name = "LOGIN"
    initial: bytes | None = None

    def __init__(self, login: Login) -> None:
        self._answers = [login.secret.encode(), login.username.encode()]

    @property
    def is_done(self) -> bool:
        return not self._answers

    def answer(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise Unfit("the server asks for more than user name and password")
        return self._answers.pop()


class CramMd5:
    """CRAM-MD5 (RFC 2195): the challenge, hashed with the password."""

    name = "CRAM-MD5"
    initial: bytes | None = None

    def __init__(self, login: Login) -> None:
        self._login = login
        self.is_done = False

    def answer(self, challenge: bytes) -> bytes:
        if self.is_done:
            raise Unfit("the server asks for more than one answer")
        text = decode(challenge)
        if not text:
            raise Unfit("the server's challenge is empty, and its answer would be the same each time")
        self.is_done = True
        digest = hmac.new(self._login.secret.encode(), text, "md5").hexdigest()
        return f"{self._login.username} {digest}".encode()


class XOAuth2:
    """XOAUTH2: a bearer token (Google's and Microsoft's protocol; no RFC).

    A refusal comes as a challenge that tells why; it is answered with nothing, and the real reply follows.
    """

    name = "XOAUTH2"

    def __init__(self, login: Login) -> None:
        self.initial: bytes | None = f"user={login.username}\x01auth=Bearer {login.secret}\x01\x01".encode()
        self.is_done = True

    def answer(self, challenge: bytes) -> bytes:
        if not self.is_done:
            raise Unfit("the server asks on after its refusal")
        self.is_done = False
        return b""
