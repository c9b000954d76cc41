"""Derives the keys that SCRAM asks for, and remembers them: a reconnect to the same server costs nothing.

In memory only, a few, per transport.  The iterations are bounded by `scram.py`, so that no server can keep a core busy.
"""

from __future__ import annotations

import hashlib

import trio

from .mechanism import Derivation

__all__ = ["Salting"]

_MOST = 8  # servers of one login with a salt of their own, and passwords that were changed
_AT_ONCE = 20_000  # iterations that take some 10 ms: not worth a thread, once for a transport


class Salting:
    """Used by all connections of a transport."""

    def __init__(self) -> None:
        self._keys: dict[tuple[bytes, bytes, int], bytes] = {}
        self._lock = trio.Lock()  # ten sessions that open together derive one key, not ten

    async def key(self, wanted: Derivation) -> bytes:
        """PBKDF2 with HMAC-SHA-256; in a thread if it takes long."""
        about = wanted.password, wanted.salt, wanted.iterations
        async with self._lock:
            key = self._keys.get(about)
            if key is None:
                key = await _derive(*about)
                while len(self._keys) >= _MOST:
                    del self._keys[next(iter(self._keys))]
                self._keys[about] = key
        return key


async def _derive(password: bytes, salt: bytes, iterations: int) -> bytes:
    if iterations <= _AT_ONCE:
        return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    return await trio.to_thread.run_sync(
        hashlib.pbkdf2_hmac, "sha256", password, salt, iterations, abandon_on_cancel=True
    )
