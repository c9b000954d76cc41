"""The plugin does a transport's duties against a storage on loopback, and is in order as it is installed."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from postroad.testing import (
    HttpMode,
    HttpPeer,
    HttpReply,
    HttpRequest,
    check_plugin,
    check_transport,
    make_request,
)
from postroad.verdict import Disposition

from postroad_s3 import open_s3
from postroad_s3.signing import signed

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def answer(asked: HttpRequest) -> HttpReply:
    """As a storage does: a wrong signature or digest is refused."""
    stamp = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    digest = hashlib.sha256(asked.body).hexdigest()
    covered = {name: asked.headers[name] for name in ("host", "content-type")}
    path = unquote(asked.target)
    expected = signed(
        "PUT", path, covered, payload_sha256=digest, key_id="K1", secret=SECRET, region="us-east-1", now=stamp
    )
    return HttpReply(200 if asked.headers["authorization"] == expected["Authorization"] else 403)


def that(**says: Any) -> HttpPeer:
    return HttpPeer(script=lambda _: HttpReply(**says))


async def test_it_does_a_transports_duties(tmp_path: Path) -> None:
    for name, secret in (("secret", SECRET), ("wrong", "wrong")):
        (tmp_path / name).write_text(f"{secret}\n")
    willing, silent, lost = HttpPeer(answer), that(mode=HttpMode.SILENT), that(mode=HttpMode.CUT_AFTER)
    mute, babbling = that(mode=HttpMode.SILENT), that(mode=HttpMode.RAW, body=b"hello\r\n\xff hello\r\n\r\n")
    busy = that(status=503, headers=[("Retry-After", "90")])

    def settings(endpoint: str, secret: str = "secret") -> dict[str, str]:
        secret_file = str(tmp_path / secret)
        return {"endpoint": endpoint, "bucket": "mail", "access_key_id": "K1", "secret_key_file": secret_file}

    async with (
        willing.listening() as url,
        silent.listening() as silent_url,
        lost.listening() as lost_url,
        mute.listening() as mute_url,
        babbling.listening() as babbling_url,
        busy.listening() as busy_url,
    ):
        report = await check_transport(
            open_s3,
            settings(url),
            handed_over=lambda: [each.body for each in willing.taken],
            broken=settings("http://127.0.0.1:1"),
            silent=settings(silent_url),
            lost=settings(lost_url),
            mute=settings(mute_url),
            babbling=settings(babbling_url),
            deferring=settings(busy_url),
            retry_after_seconds=90,
            forbidden=settings(url, "wrong"),
        )
    assert sum(not result.skipped for result in report.results) > 60


def test_it_is_in_order_as_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    known = {"endpoint": "https://s3.example", "bucket": "mail", "access_key_id": "K1"}
    check_plugin("s3", settings={"s3": {**known, "secret_key_file": str(tmp_path / "secret")}})


async def test_the_same_mail_again_replaces_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    peer = HttpPeer(answer)
    async with peer.listening() as url:
        known = {"endpoint": url, "bucket": "mail", "access_key_id": "K1", "prefix": "in box/ü/"}
        async with open_s3({**known, "secret_key_file": str(tmp_path / "secret")}) as transport:
            for token in (1, 2):
                [verdict] = await transport.deliver(make_request(id="m1", token=token))
                assert verdict.disposition is Disposition.ACCEPTED
    assert [asked.target for asked in peer.taken] == ["/mail/in%20box/%C3%BC/m1.0.eml"] * 2


def test_a_signature_is_that_of_the_documentation() -> None:
    headers = signed(
        "PUT",
        "/test$file.text",
        {
            "Host": "examplebucket.s3.amazonaws.com",
            "Date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        payload_sha256="44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        key_id="AKIAIOSFODNN7EXAMPLE",
        secret=SECRET,
        region="us-east-1",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    found = re.search(r"Signature=(\w+)", headers["Authorization"])
    assert found is not None
    assert found[1] == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
