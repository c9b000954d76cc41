"""The ASGI application: addresses, bounds, answers, and that only what is durable is answered 200; under trio and asyncio."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from posts_of_providers import (
    BATCHED,
    CERTIFICATE,
    KINDS,
    NOW,
    PASSWORD,
    PASSWORDS,
    POSTS,
    SETTINGS,
    SNS_URL,
    Said,
    by_sns,
    event,
    post,
    signed,
    with_header,
)
from structlog.testing import capture_logs

import postroad
from postroad.config import load_config
from postroad.engine import Engine
from postroad.errors import ConfigError, EngineClosed, QueueFull, StoreError
from postroad.events import RemoteBounce, RemoteDelivered, ReportQueued
from postroad.handover import Handover
from postroad.message import Kind
from postroad.remote import Noted
from postroad.spool import SpoolPlace
from postroad.store.contract import Filter
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import Hang, ScriptedTransport
from postroad_http.events import Posted, ProviderEvents, provider_events
from postroad_http.events.application import places_of

TO = "Bob@example.org"
ID = "01jd0000000000000000"
SCRIPTED = {"transports": {"letters": {"plugin": "scripted"}}, "routes": [{"transport": "letters"}]}


def config_of(name: str, **more: Any) -> Any:
    table = {"plugin": "http", "provider": name, "api_key": "x", **SETTINGS[name], **more}
    return load_config({"transports": {"letters": table}, "routes": [{"transport": "letters"}]})


class Taken:
    """A door that keeps what it is given, or fails."""

    def __init__(self, answer: Noted | Exception | None = None) -> None:
        self.calls: list[tuple[str, int, str]] = []
        self._answer = answer

    async def take(self, transport: str, notices: Sequence[Any], token: str) -> Noted:
        self.calls.append((transport, len(notices), token))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer or Noted(told=len(notices))


async def certificate(url: str) -> bytes:
    assert url == SNS_URL
    return CERTIFICATE


def app_for(name: str, door: Taken | None = None, **more: Any) -> ProviderEvents:
    return ProviderEvents(
        places_of(config_of(name)), (door or Taken()).take, **{"get": certificate, "now": lambda: NOW, **more}
    )


def scope_of(posted: Posted, path: str = "/letters", method: str = "POST", **more: Any) -> dict[str, Any]:
    headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in posted.headers]
    return {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"", **more}


async def ask(app: ProviderEvents, posted: Posted, *, pieces: int = 3, **more: Any) -> int:
    """The status of the answer."""
    size = len(posted.body) // pieces + 1
    cut = [posted.body[start : start + size] for start in range(0, len(posted.body), size)] or [b""]
    events = [
        {"type": "http.request", "body": piece, "more_body": place < len(cut)} for place, piece in enumerate(cut, 1)
    ]
    return (await exchange(app, scope_of(posted, **more), events))[0]


async def exchange(app: ProviderEvents, scope: Any, events: list[dict[str, Any]]) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Any] = []

    async def receive() -> Any:
        if not events:
            await trio.sleep_forever()
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"])


# --- Every provider ---


@pytest.mark.parametrize("name", POSTS)
async def test_what_is_proven_is_handed_over_and_answered(name: str) -> None:
    door = Taken()
    app = app_for(name, door)
    said: list[Said] = [("bounced", ID, TO, "k1"), ("delivered", ID, TO, "k2")]
    assert await ask(app, post(name, *said)) == 200
    assert door.calls == [("letters", 2 if name in BATCHED else 1, "k1" if name == "mailgun" else "")]
    assert app.counts["told"] == door.calls[0][1]
    assert await ask(app, post(name, ("opened", ID, TO, "k3"))) == 200
    assert len(door.calls) == (2 if name == "mailgun" else 1), "nothing to be made durable"


@pytest.mark.parametrize("name", POSTS)
async def test_what_is_forged_is_handed_to_nobody(name: str) -> None:
    door = Taken()
    app = app_for(name, door)
    posted = post(name, ("bounced", ID, TO, "k1"))
    with capture_logs() as logs:
        for header, value in posted.headers[1:]:
            assert await ask(app, with_header(posted, header, value[:-3] + "AAA")) == 401
        if name in ("ses", "mailgun"):  # whose proof stands within the body
            assert await ask(app, Posted(posted.headers, posted.body.replace(b"k1", b"k2"))) == 401
        else:
            assert await ask(app, Posted(posted.headers[:1], posted.body)) == 401
        if name not in PASSWORDS:
            assert await ask(app, Posted(posted.headers, b"{}")) == 401
    assert door.calls == []
    assert PASSWORD not in repr(logs)
    assert all(line["event"] == "provider_events_refused" and line["log_level"] == "warning" for line in logs)


@pytest.mark.parametrize(
    "name", [name for name in POSTS if name not in PASSWORDS and name not in ("mailersend", "mandrill")]
)
async def test_what_is_outdated_is_handed_to_nobody(name: str) -> None:
    door = Taken()
    assert await ask(app_for(name, door), post(name, ("bounced", ID, TO, "k1"), now=NOW - 100_000)) == 401
    assert door.calls == []


@pytest.mark.parametrize("name", POSTS)
async def test_what_makes_no_sense_is_answered_so(name: str) -> None:
    door = Taken()
    content = 7 if name != "mandrill" else b"{"
    if name == "ses":
        content = b"{ this is none"
    assert await ask(app_for(name, door), signed(name, content)) == 400
    assert door.calls == []


# --- Answers ---


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (StoreError("full"), 503),
        (EngineClosed("closed"), 503),
        (QueueFull("full"), 503),
        (Noted(told=1, unsettled=1), 503),
        (Noted(known=1), 200),
        (Noted(unmatched=1), 200),
    ],
)
async def test_only_what_is_durable_is_answered_200(answer: Noted | Exception, status: int) -> None:
    app = app_for("postmark", Taken(answer))
    assert await ask(app, post("postmark", ("bounced", ID, TO, "k1"))) == status


async def test_methods_and_addresses() -> None:
    app = app_for("postmark")
    posted = post("postmark", ("bounced", ID, TO, "k1"))
    for method, status in (("GET", 200), ("HEAD", 200), ("PUT", 405), ("DELETE", 405), ("POST", 200)):
        assert await ask(app, posted, method=method) == status
    for path, root, status in (
        ("/letters", "", 200),
        ("/letters/", "", 200),
        ("/events/letters", "/events", 200),
        ("/letters", "/events", 200),  # as older frameworks have it
        ("/events/letters", "", 404),
        ("/", "", 404),
        ("/other", "", 404),
        ("/letters/../letters", "", 404),
    ):
        assert await ask(app, posted, path=path, root_path=root) == status, (path, root)
    status, headers = await exchange(app, scope_of(Posted([], b""), method="PUT"), [])
    assert headers[b"allow"] == b"POST, GET, HEAD"
    status, headers = await exchange(app, scope_of(with_header(posted, "authorization", None)), [])
    assert (status, headers[b"www-authenticate"]) == (401, b'Basic realm="postroad"')


async def test_content_types() -> None:
    posted = post("postmark", ("bounced", ID, TO, "k1"))
    for value, status in (
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 200),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
        (None, 415),
    ):
        assert await ask(app_for("postmark"), with_header(posted, "content-type", value)) == status
    zipped = Posted([*posted.headers, ("content-encoding", "gzip")], posted.body)
    assert await ask(app_for("postmark"), zipped) == 415
    crowd = Posted([*posted.headers, *[("x", "y")] * 300], posted.body)
    assert await ask(app_for("postmark"), crowd) == 400
    assert await ask(app_for("mandrill"), with_header(post("mandrill"), "content-type", "application/json")) == 415


@pytest.mark.parametrize("length", [str(9 << 20), "-1", "x", "9" * 40])
async def test_a_length_that_is_too_large_is_refused_unread(length: str) -> None:
    app = app_for("postmark")
    posted = post("postmark", ("bounced", ID, TO, "k1"))
    sent = Posted([*posted.headers, ("content-length", length)], posted.body)
    assert (await exchange(app, scope_of(sent), []))[0] == 413


async def test_an_endless_body_is_cut_at_its_limit() -> None:
    app, read = app_for("postmark"), 0
    answered: list[Any] = []

    async def receive() -> Any:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message: Any) -> None:
        answered.append(message)

    await app(scope_of(post("postmark")), receive, send)
    assert answered[0]["status"] == 413
    assert read == 9


async def test_why_an_answer_of_4xx_was_given_stands_in_the_log(autojump_clock: Any) -> None:
    """The provider repeats it in vain, or gives up: without a line nobody learns why events stay away."""
    app, posted = app_for("postmark"), post("postmark", ("bounced", ID, TO, "k1"))

    async def never() -> Any:
        await trio.sleep_forever()

    async def answered(_: Any) -> None:
        pass

    with capture_logs() as logs:
        assert await ask(app, with_header(posted, "content-type", "application/octet-stream")) == 415
        assert await ask(app, Posted([*posted.headers, *[("x", "y")] * 300], posted.body)) == 400
        assert await ask(app, Posted([*posted.headers, ("content-length", "9000000")], posted.body)) == 413
        assert await ask(app, Posted(posted.headers, bytes(9_000_000))) == 413
        assert (await exchange(app, scope_of(posted), [{"type": "http.disconnect"}]))[0] == 400
        await app(scope_of(posted), never, answered)
    assert [(line["event"], line["kind"], line["why"], line["times"]) for line in logs] == [
        (
            "provider_events_refused",
            "another content type",
            "it is no application/json or text/plain, or compressed",
            1,
        ),
        ("provider_events_refused", "too many header fields", "it has more than 200", 1),
        ("provider_events_refused", "too large", "it has more than 8388608 octets", 1),
        ("provider_events_refused", "too large", "it has more than 8388608 octets", 2),
        ("provider_events_refused", "cut", "its sender left before all of it was there", 1),
        ("provider_events_refused", "too slow", "it had not come whole within 20 s", 1),
    ]


@pytest.mark.parametrize("pause", [math.inf, 3.0])
async def test_a_slow_sender_is_cut(autojump_clock: Any, pause: float) -> None:
    app = app_for("postmark")
    began = trio.current_time()

    async def receive() -> Any:
        await trio.sleep(pause)
        return {"type": "http.request", "body": b" ", "more_body": True}

    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    await app(scope_of(post("postmark")), receive, send)
    assert statuses[0] == 408
    assert trio.current_time() - began == 20.0


async def test_a_sender_that_hangs_up_is_forgotten() -> None:
    door = Taken()
    posted = post("postmark", ("bounced", ID, TO, "k1"))
    events = [{"type": "http.request", "body": posted.body, "more_body": True}, {"type": "http.disconnect"}]
    assert (await exchange(app_for("postmark", door), scope_of(posted), events))[0] == 400
    assert door.calls == []


async def test_only_so_many_are_read_at_once(autojump_clock: Any) -> None:
    app = app_for("postmark")
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await exchange(app, scope_of(post("postmark")), []))[0])

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(one)
    assert sorted(statuses) == [408] * 16 + [503] * 24
    assert await ask(app, post("postmark", ("bounced", ID, TO, "k1"))) == 200


async def test_forged_ones_fill_no_log() -> None:
    app = app_for("mailersend")
    posted = with_header(post("mailersend", ("bounced", ID, TO, "k1")), "signature", "0")
    with capture_logs() as logs:
        for _ in range(100):
            assert await ask(app, posted) == 401
    assert [line["times"] for line in logs] == [1, 2, 4, 8, 16, 32, 64]
    assert app.counts["forged"] == 100


async def test_lifespan_and_websockets() -> None:
    app = app_for("postmark")
    sent: list[str] = []
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, {"type": "websocket.connect"}]

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


# --- Amazon ---


async def test_certificates_are_asked_for_once_and_only_at_amazon() -> None:
    asked: list[str] = []

    async def get(url: str) -> bytes:
        asked.append(url)
        return CERTIFICATE

    app = app_for("ses", get=get)
    stranger = by_sns(event("ses", ("bounced", ID, TO, "k")), "k", NOW, SigningCertURL="https://evil.example/x.pem")
    other = by_sns(event("ses", ("bounced", ID, TO, "k")), "k", NOW, topic="arn:aws:sns:eu-west-1:999999999999:mine")
    assert [await ask(app, posted) for posted in (stranger, other)] == [401, 401]
    assert asked == []
    for key in ("k1", "k2", "k3"):
        assert await ask(app, post("ses", ("bounced", ID, TO, key))) == 200
    assert asked == [SNS_URL]


async def test_a_certificate_that_cannot_be_had_or_proves_nothing_is_not_kept() -> None:
    answers: list[Any] = [OSError("no answer"), b"nonsense", CERTIFICATE]

    async def get(url: str) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = app_for("ses", get=get)
    assert [await ask(app, post("ses", ("bounced", ID, TO, "k1"))) for _ in range(4)] == [401, 401, 200, 200]


async def test_a_subscription_is_confirmed_for_our_topic_alone() -> None:
    asked: list[str] = []

    async def get(url: str) -> bytes:
        asked.append(url)
        return CERTIFICATE

    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=t&Token=abc"
    more = {"Type": "SubscriptionConfirmation", "Token": "abc", "SubscribeURL": url, "Subject": None}
    app = app_for("ses", get=get)
    assert await ask(app, by_sns(b"Hello", "k", NOW, topic="arn:aws:sns:eu-west-1:999999999999:mine", **more)) == 401
    assert asked == []
    assert await ask(app, by_sns(b"Hello", "k", NOW, **more)) == 200
    assert asked == [SNS_URL, url]
    elsewhere = {**more, "SubscribeURL": "https://evil.example/?Action=ConfirmSubscription&Token=abc"}
    assert await ask(app, by_sns(b"Hello", "k", NOW, **elsewhere)) == 400
    assert asked == [SNS_URL, url]


# --- With an engine ---


@asynccontextmanager
async def engine_and_app(name: str, **more: Any) -> AsyncGenerator[tuple[Engine, ProviderEvents]]:
    async with open_test_engine(**{**SCRIPTED, **more}) as engine:
        app = provider_events(engine, config_of(name))
        app._now, app._get = (lambda: NOW), certificate
        app._certificates._get = certificate
        yield engine, app


async def sent(engine: Engine) -> str:
    receipt = await engine.send_mail(sender="a@example.com", to=TO, subject="Hello", body="Hello\n")
    await receipt.settled()
    return receipt.id


@pytest.mark.parametrize("name", POSTS)
async def test_a_bounce_by_each_provider_is_told_and_reported_once(autojump_clock: Any, name: str) -> None:
    async with engine_and_app(name) as (engine, app), engine.events() as events:
        id = await sent(engine)
        posted = post(name, ("bounced", id, TO, "k1"))
        assert [await ask(app, posted) for _ in range(3)] == [200, 200, 200], "replayed"
        assert await ask(app, post(name, ("bounced", id, TO, "k2"))) == 200, "another event of it"
        kinds = [type(each) for each in list(events._events)]
        assert kinds.count(RemoteBounce) == 2
        assert kinds.count(ReportQueued) == 1
        (report,) = [each for each in await engine.find(Filter()) if each.message.kind is Kind.REPORT]
        assert [recipient.address for recipient in report.recipients] == ["a@example.com"]
        assert app.counts == {"told": 2, "known": 2, "ignored": 0, "unmatched": 0, "unsettled": 0}


@pytest.mark.parametrize("name", POSTS)
async def test_a_forged_bounce_changes_nothing(autojump_clock: Any, name: str) -> None:
    async with engine_and_app(name) as (engine, app), engine.events() as events:
        id = await sent(engine)
        before = list(events._events)
        posted = post(name, ("bounced", id, TO, "k1"))
        for header, value in posted.headers[1:]:
            await ask(app, with_header(posted, header, value.swapcase() + "0"))
            await ask(app, with_header(posted, header, None))
        if name in ("ses", "mailgun"):
            await ask(app, Posted(posted.headers, posted.body.replace(b'"k1"', b'"k2"')))
        assert list(events._events) == before
        assert len(await engine.find(Filter())) == 1
        assert app.counts["told"] == 0


async def test_an_altered_body_under_a_taken_token_changes_nothing(autojump_clock: Any) -> None:
    async with engine_and_app("mailgun") as (engine, app), engine.events() as events:
        id = await sent(engine)
        opened = post("mailgun", ("opened", id, TO, "k1"))
        assert await ask(app, opened) == 200
        proof = json.loads(opened.body)["signature"]
        altered = json.dumps({"signature": proof, "event-data": event("mailgun", ("bounced", id, TO, "x"))}).encode()
        assert await ask(app, Posted(opened.headers, altered)) == 200
        assert not [each for each in events._events if isinstance(each, RemoteBounce)]
        assert app.counts["known"] == 1


async def test_a_bounce_that_comes_before_the_answer_is_settled_is_asked_for_again(autojump_clock: Any) -> None:
    async with engine_and_app("postmark", transport=ScriptedTransport([Hang()])) as (engine, app):
        receipt = await engine.send_mail(sender="a@example.com", to=TO, subject="Hello", body="Hello\n")
        await trio.sleep(1)
        assert await ask(app, post("postmark", ("bounced", receipt.id, TO, "k1"))) == 503


async def test_a_huge_batch_is_taken_whole(autojump_clock: Any) -> None:
    async with engine_and_app("sendgrid") as (engine, app):
        id = await sent(engine)
        said: list[Said] = [(KINDS[place % 4], id, TO, f"k{place}") for place in range(5000)]
        posted = post("sendgrid", *said)
        assert await ask(app, posted, pieces=50) == 200
        assert await ask(app, posted) == 200
        assert (app.counts["told"], app.counts["known"]) == (5000, 5000)


# --- Settings and doors ---


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("postmark", {"events_secret": ""}, "no HTTP transport has events_secret"),
        ("postmark", {"events_secret_env": "X"}, "events_secret_env: there are events_secret and events_secret_env"),
        (
            "postmark",
            {"events_secret": "", "events_secret_env": "NO_SUCH"},
            "events_secret_env: the environment has no NO_SUCH",
        ),
        ("postmark", {"events_secret": "two words"}, "events_secret: the secret must be"),
        ("mandrill", {"events_url": ""}, "events_url: goes together"),
        ("ses", {"events_secret": "x"}, "events_secret: Amazon's events have none"),
        ("ses", {"events_topics": ["arn:aws:sqs:x"]}, "events_topics: 'arn:aws:sqs:x' cannot be one"),
    ],
)
def test_settings_that_cannot_be_right(name: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        places_of(config_of(name, **more))
    assert "two words" not in str(caught.value)


async def test_a_secret_is_read_anew_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("another\n")
    config = config_of("postmark", events_secret="", events_secret_file=str(file))
    app = ProviderEvents(places_of(config), Taken().take, now=lambda: NOW)
    posted = post("postmark", ("bounced", ID, TO, "k1"))
    assert await ask(app, posted) == 401
    file.write_text(PASSWORD + "\n")
    assert await ask(app, posted) == 200
    file.unlink()
    assert await ask(app, posted) == 503


def test_a_handover_needs_a_configuration(tmp_path: Path) -> None:
    door = Handover(SpoolPlace.parse(f"sqlite:{tmp_path}/spool.db", tmp_path))
    with pytest.raises(ConfigError, match="config"):
        provider_events(door)


class _Plugin:
    @postroad.hookimpl
    def postroad_register_transports(self, register: Callable[[str, Any], None]) -> None:
        register("scripted", ScriptedTransport().factory)


async def test_under_asyncio_beside_a_running_engine(tmp_path: Path) -> None:
    """As in a FastAPI process: another loop, the engine elsewhere; and 503 when it does not run."""
    spool = {"url": f"sqlite:{tmp_path}/spool.db", "reserve_bytes": 0}
    senders = {"authorized": ["*"]}
    config = load_config({"spool": spool, "senders": senders, "reports": {"hostname": "engine.test"}, **SCRIPTED})
    place = SpoolPlace.parse(config.spool.url, tmp_path)

    def serve(*posts: Posted) -> list[int]:
        with Handover(place, config, deadline_seconds=5) as door:
            app = provider_events(door, config_of("resend"))
            app._now = lambda: NOW

            async def all_of_them() -> list[int]:
                return [await ask(app, posted) for posted in posts]

            return asyncio.run(all_of_them())

    async with postroad.open_engine(config, plugins={"scripted": _Plugin()}) as engine, engine.events() as events:
        id = await sent(engine)
        posted = post("resend", ("delivered", id, TO, "k1"))
        forged = with_header(posted, "svix-signature", "v1,AAAA")
        assert await trio.to_thread.run_sync(serve, posted, forged, posted) == [200, 401, 200]
        assert [type(each) for each in events._events].count(RemoteDelivered) == 1
    assert await trio.to_thread.run_sync(serve, posted) == [503]


def test_a_slow_sender_is_cut_under_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad_http.events.application._BODY_SECONDS", 0.01)
    statuses: list[int] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    asyncio.run(app_for("postmark")(scope_of(post("postmark")), receive, send))
    assert statuses == [408, 0]


def test_the_modules_load_neither_the_client_nor_cryptography(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, postroad_http.events\nfrom postroad_http.events.sources import SOURCES\n"
        "print(sorted({'httpx2', 'cryptography', 'trio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
