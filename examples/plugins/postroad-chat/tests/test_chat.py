"""The plugin does a transport's duties against a webhook on loopback, and is in order as it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from postroad.testing import (
    HttpMode,
    HttpPeer,
    HttpReply,
    HttpRequest,
    check_plugin,
    check_transport,
    make_request,
)

from postroad_chat import open_chat
from postroad_chat.transport import text_of

REFUSED = "nobody@example.org"


def answer(asked: HttpRequest) -> HttpReply:
    if asked.headers.get("authorization") != "Bearer xoxb-1":
        return HttpReply(401)
    return HttpReply(404) if json.loads(asked.body)["channel"] == "nobody" else HttpReply(200, body=b"ok")


def that(**says: Any) -> HttpPeer:
    return HttpPeer(script=lambda _: HttpReply(**says))


async def test_it_does_a_transports_duties(tmp_path: Path) -> None:
    for name, token in (("token", "xoxb-1"), ("wrong", "xoxb-2")):
        (tmp_path / name).write_text(f"{token}\n")
    willing, silent, lost = HttpPeer(answer), that(mode=HttpMode.SILENT), that(mode=HttpMode.CUT_AFTER)
    mute, babbling = that(mode=HttpMode.SILENT), that(mode=HttpMode.RAW, body=b"hello\r\n\xff hello\r\n\r\n")
    busy = that(status=429, headers=[("Retry-After", "90")])
    async with (
        willing.listening() as url,
        silent.listening() as silent_url,
        lost.listening() as lost_url,
        mute.listening() as mute_url,
        babbling.listening() as babbling_url,
        busy.listening() as busy_url,
    ):
        token = str(tmp_path / "token")
        report = await check_transport(
            open_chat,
            {"url": f"{url}/hook", "token_file": token},
            handed_over=lambda: [json.loads(each.body)["text"].encode() for each in willing.taken],
            renders=True,
            refused_recipient=REFUSED,
            broken={"url": "http://127.0.0.1:1/"},
            silent={"url": silent_url},
            lost={"url": lost_url},
            mute={"url": mute_url},
            babbling={"url": babbling_url},
            deferring={"url": busy_url},
            retry_after_seconds=90,
            forbidden={"url": f"{url}/hook", "token_file": str(tmp_path / "wrong")},
        )
    assert sum(not result.skipped for result in report.results) > 60


def test_it_is_in_order_as_it_is_installed() -> None:
    check_plugin("chat", settings={"chat": {"url": "https://chat.example/hook"}})


async def test_a_post_names_channel_subject_sender_and_text() -> None:
    peer = HttpPeer()
    async with peer.listening() as url, open_chat({"url": url}) as transport:
        await transport.deliver(make_request(["ops@chat.example"]))
    assert json.loads(peer.taken[0].body) == {"channel": "ops", "text": "*Hello* (a@example.com)\nHello."}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Subject: x\r\n\r\n", "*x* ()"),
        (b"Content-Type: text/plain; charset=none-such\r\n\r\nx\r\n", "**"),
        (b"Subject: x\r\nContent-Type: text/html\r\n\r\n<p>y\r\n", "<p>y"),
        (b"\r\n" + b"y" * 9000, "y" * 3000),
    ],
)
def test_whatever_a_mail_holds_becomes_text(content: bytes, text: str) -> None:
    assert text in text_of(content)
    assert len(text_of(content)) <= 4000
