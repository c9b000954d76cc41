"""Signatures are octet by octet those of botocore."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore import auth, awsrequest, credentials

from postroad_http.sigv4 import Signer, sign

NOW = 1_795_000_000.25
URL = "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"


def _by_botocore(
    monkeypatch: pytest.MonkeyPatch, url: str, headers: dict[str, str], body: bytes, token: str
) -> dict[str, str]:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    monkeypatch.setattr(
        auth, "get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None), raising=False
    )
    request: Any = awsrequest.AWSRequest("POST", url, headers=headers, data=body)
    keys = credentials.Credentials("AKIAEXAMPLE", "sEcr3t/+abc", token or None)
    auth.SigV4Auth(keys, "ses", "eu-west-1").add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 50])
@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:4566/v2/email/outbound-emails", "https://x.example/a%20b/~c/v2"]
)
def test_a_signature_is_that_of_botocore(monkeypatch: pytest.MonkeyPatch, token: str, body: bytes, url: str) -> None:
    headers = {"Content-Type": "application/json", "X-Odd": "  two   spaces "}
    expected = _by_botocore(monkeypatch, url, headers, body, token)
    found = dict(
        sign(Signer("AKIAEXAMPLE", "sEcr3t/+abc", "eu-west-1", "ses", token), url, tuple(headers.items()), body, NOW)
    )
    assert found["X-Amz-Date"] == expected["X-Amz-Date"]
    assert found.get("X-Amz-Security-Token") == expected.get("X-Amz-Security-Token")
    assert found["Authorization"] == expected["Authorization"]


def test_a_signer_shows_no_secret() -> None:
    assert "sEcr3t" not in repr(Signer("AKIAEXAMPLE", "sEcr3t", "eu-west-1", "ses", "t0ken"))
