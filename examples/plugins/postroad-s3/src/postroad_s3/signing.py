"""Signs a request as S3 wants it (AWS Signature Version 4).  Pure: key, moment and request are given.

Written from "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk" of the Amazon
S3 API reference, whose example is a test.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

__all__ = ["signed"]


def signed(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *,
    payload_sha256: str,
    key_id: str,
    secret: str,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers to send: those given, Host among them, date, digest, signature.  path: not percent-encoded yet."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    every = {**headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": stamp}
    canonical = sorted((name.lower(), value.strip()) for name, value in every.items())
    names = ";".join(name for name, _ in canonical)
    fields = "".join(f"{name}:{value}\n" for name, value in canonical)
    request = "\n".join([method, quote(path, safe="/-_.~"), "", fields, names, payload_sha256])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={key.hex()}"
    return {**every, "Authorization": authorization}
