"""Signs a request as Amazon wants it: AWS Signature Version 4, by its public description.  Pure.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, read 2026-11-27.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

__all__ = ["Signer", "sign"]

_ALGORITHM = "AWS4-HMAC-SHA256"


class Signer(NamedTuple):
    """Whose key it is, and for what."""

    key_id: str
    secret: str
    region: str
    service: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r})"


def sign(
    signer: Signer, url: str, headers: Sequence[tuple[str, str]], body: bytes, now: float
) -> tuple[tuple[str, str], ...]:
    """The headers of a POST without a query, and those that sign it.  headers: without Host.  now: Unix seconds."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    parts = urlsplit(url)
    sent = [*headers, ("X-Amz-Date", moment)]
    if signer.token:
        sent.append(("X-Amz-Security-Token", signer.token))
    signed = sorted((name.lower(), " ".join(value.split())) for name, value in [("host", parts.netloc), *sent])
    names = ";".join(name for name, _ in signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    path = quote(parts.path or "/", safe="/~")
    request = f"POST\n{path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{signer.region}/{signer.service}/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = _key(signer.secret, moment[:8], signer.region, signer.service)
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    said = f"{_ALGORITHM} Credential={signer.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return (*sent, ("Authorization", said))


@lru_cache(maxsize=16)  # a day's key: five keyed hashes a request
def _key(secret: str, *steps: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (*steps, "aws4_request"):
        key = hmac.new(key, step.encode(), "sha256").digest()
    return key
