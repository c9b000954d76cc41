"""The server's half of logins, for the scripted SMTP server: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 and XOAUTH2.

Strict: whatever does not fit is noted among the peer's faults and refused.  Salt and challenges are the same each time, so that a
test can say what should come.  RFC 4954, RFC 4616, RFC 2195, RFC 5802.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from .smtp_line import Line

__all__ = ["Attempt", "read_login"]

_SALT = bytes(range(16))
_NONCE = "server0nonce"
_CHALLENGE = b"<1896.697170952@peer.example>"


class Attempt(NamedTuple):
    """What came of AUTH.  secret: what was shown, or for a proof what was proven ("" where it was not).  reply: to be said."""

    username: str
    secret: str
    reply: str

    @property
    def is_good(self) -> bool:
        return self.reply.startswith("2")


class _Refused(Exception):
    """The exchange is over; the argument is the reply."""


async def read_login(line: Line, command: str, logins: Mapping[str, str], *, iterations: int = 4096) -> Attempt:
    """Take the rest of an AUTH exchange.  logins: passwords, or tokens, by user name.  iterations: what SCRAM is to ask for."""
    mechanism, _, initial = command.partition(" ")[2].partition(" ")
    exchange = _Exchange(line, initial or None, logins, iterations)
    try:
        match mechanism.upper():
            case "PLAIN":
                return await exchange.plain()
            case "LOGIN":
                return await exchange.login()
            case "CRAM-MD5":
                return await exchange.cram_md5()
            case "SCRAM-SHA-256":
                return await exchange.scram_sha_256()
            case "XOAUTH2":
                return await exchange.xoauth2()
            case _:
                raise _Refused("504 5.5.4 Unrecognized authentication type")
    except _Refused as refused:
        return Attempt("", "", str(refused))


class _Exchange:
    def __init__(self, line: Line, initial: str | None, logins: Mapping[str, str], iterations: int) -> None:
        self._line = line
        self._initial = initial
        self._logins = logins
        self._iterations = iterations

    async def plain(self) -> Attempt:
        parts = (await self._first()).decode().split("\0")
        if len(parts) != 3:
            raise self._wrong("PLAIN without two NULs")
        return self._judge(parts[1], parts[2], is_good=self._logins.get(parts[1]) == parts[2])

    async def login(self) -> Attempt:
        username = (await self._ask(b"Username:")).decode()
        password = (await self._ask(b"Password:")).decode()
        return self._judge(username, password, is_good=self._logins.get(username) == password)

    async def cram_md5(self) -> Attempt:
        username, _, digest = (await self._ask(_CHALLENGE)).decode().rpartition(" ")
        password = self._logins.get(username, "")
        expected = hmac.new(password.encode(), _CHALLENGE, hashlib.md5).hexdigest()
        is_good = bool(password) and digest == expected
        return self._judge(username, password if is_good else "", is_good=is_good)

    async def xoauth2(self) -> Attempt:
        fields = (await self._first()).decode().split("\x01")
        if len(fields) != 4 or not fields[0].startswith("user=") or not fields[1].startswith("auth=Bearer "):
            raise self._wrong("XOAUTH2 of another form")
        username, token = fields[0].removeprefix("user="), fields[1].removeprefix("auth=Bearer ")
        is_good = self._logins.get(username) == token
        if not is_good and await self._ask(b'{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'):
            raise self._wrong("an answer with something in it to XOAUTH2's refusal")
        return self._judge(username, token, is_good=is_good)

    async def scram_sha_256(self) -> Attempt:
        first = (await self._first()).decode()
        if not first.startswith("n,,n=") or ",r=" not in first:
            raise self._wrong(f"no first message of SCRAM: {first!r}")
        bare = first.removeprefix("n,,")
        name, _, nonce = bare.removeprefix("n=").partition(",r=")
        username = name.replace("=2C", ",").replace("=3D", "=")
        asked = f"r={nonce}{_NONCE},s={base64.b64encode(_SALT).decode()},i={self._iterations}"
        final = (await self._ask(asked.encode())).decode()
        without, _, proof = final.partition(",p=")
        if without != f"c=biws,r={nonce}{_NONCE}":
            raise self._wrong(f"no last message of SCRAM: {final!r}")
        password = self._logins.get(username, "")
        signature = self._check_proof(password, f"{bare},{asked},{without}".encode(), proof)
        if signature is None:
            return self._judge(username, "", is_good=False)
        if await self._ask(b"v=" + base64.b64encode(signature)):
            raise self._wrong("an answer with something in it to SCRAM's signature")
        return self._judge(username, password, is_good=True)

    def _check_proof(self, password: str, everything: bytes, proof: str) -> bytes | None:
        """The server's signature if the client knows the password."""
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), _SALT, self._iterations)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        shown = hmac.digest(stored, everything, "sha256")
        key = bytes(one ^ other for one, other in zip(self._decode(proof), shown, strict=False))
        if not password or hashlib.sha256(key).digest() != stored:
            return None
        return hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), everything, "sha256")

    # --- The line ---

    async def _first(self) -> bytes:
        """The initial response, with AUTH or after an empty challenge."""
        if self._initial is None:
            return await self._ask(b"")
        return b"" if self._initial == "=" else self._decode(self._initial)

    async def _ask(self, challenge: bytes) -> bytes:
        await self._line.say(f"334 {base64.b64encode(challenge).decode()}")
        answer = await self._line.read_command()
        if answer == "*":
            raise _Refused("501 5.7.0 Cancelled")
        return self._decode(answer)

    def _decode(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._wrong(f"no base64 in AUTH: {text!r}") from None

    def _wrong(self, fault: str) -> _Refused:
        self._line.note(fault)
        return _Refused("501 5.5.2 Cannot be read")

    def _judge(self, username: str, secret: str, *, is_good: bool) -> Attempt:
        return Attempt(username, secret, "235 2.7.0 Welcome" if is_good else "535 5.7.8 Wrong credentials")
