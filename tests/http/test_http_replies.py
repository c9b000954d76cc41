"""What a reply, or none, comes to: general rules with every provider, and the moments of a request with one."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fakes_of_providers import SECRET, said
from http_peer import Asked, Mode, Reply
from http_road import Road, always, road_to

from postroad.testing import make_request
from postroad.transport import Objecting
from postroad.verdict import Disposition, Scope, Verdict
from postroad_http import http_transport

HTML = (("Content-Type", "text/html"),)
TO_B = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hi\r\n\r\nHello.\r\n"


async def _deliver(road: Road, *recipients: str, content: bytes = TO_B, **more: Any) -> list[Verdict]:
    async with road.open(**more) as transport:
        return list(await transport.deliver(make_request(recipients or ("b@example.org",), content=content)))


async def _one(road: Road, **more: Any) -> Verdict:
    (verdict,) = await _deliver(road, **more)
    return verdict


# --- General rules, with every provider ---


async def test_what_is_taken_is_accepted_with_the_providers_id(road: Road) -> None:
    verdict = await _one(road)
    assert verdict.disposition is Disposition.ACCEPTED
    assert verdict.reply[:3] in ("200", "201", "202")
    assert len(verdict.reply) > 4
    assert verdict.remote == road.peer.url.removeprefix("http://")
    assert [mail.to for mail in road.fake.mails] == [["b@example.org"]]


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_hold_the_transport_and_bounce_nothing(road: Road, status: int) -> None:
    road.peer.script = always(said(status, {"message": "no"}))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)


async def test_the_fake_itself_refuses_another_key(road: Road) -> None:
    other = {"access_key_id": "AKIAOTHER"} if road.fake.name == "ses" else {"api_key": "another-key-altogether"}
    verdict = await _one(road, **other)
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)


@pytest.mark.parametrize(
    ("status", "body", "scope"),
    [
        (302, b"", Scope.TRANSPORT),
        (404, b"<html>not here</html>", Scope.TRANSPORT),
        (405, b"", Scope.TRANSPORT),
        (408, b"", Scope.MESSAGE),
        (400, b"<html>nginx</html>", Scope.MESSAGE),
        (400, b'{"message": 7}', Scope.MESSAGE),
        (422, b"[]", Scope.MESSAGE),
        (429, b"", Scope.SITE),
        (500, b"", Scope.SITE),
        (503, b"\xff\xfe\x00", Scope.SITE),
    ],
)
async def test_what_proves_nothing_is_temporary(road: Road, status: int, body: bytes, scope: Scope) -> None:
    road.peer.script = always(Reply(status, body, HTML))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, scope)
    assert str(status) in verdict.reply


async def test_a_redirect_is_never_followed(road: Road) -> None:
    location = ("Location", f"{road.peer.url}/elsewhere")
    road.peer.script = lambda asked: Reply(307, b"", (location,)) if "elsewhere" not in asked.target else None
    verdict = await _one(road)
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)
    assert len(road.peer.heads) == len(road.peer.asked) == 1


async def test_content_too_large_for_the_provider_is_refused(road: Road) -> None:
    road.peer.script = always(Reply(413, b"too large", HTML))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.status) == (Disposition.REFUSED, "5.3.4")


async def test_larger_content_than_it_takes_is_not_sent(road: Road) -> None:
    async with road.open() as transport:
        most = transport.capabilities.message_bytes
    assert most is not None
    verdict = await _one(road, content=TO_B + b"x" * 70 * (most // 70))
    assert (verdict.disposition, verdict.status) == (Disposition.REFUSED, "5.3.4")
    assert not road.peer.connections


async def test_a_gateway_that_heard_nothing_in_time_leaves_doubt(road: Road) -> None:
    road.peer.script = always(Reply(504, b"gateway", HTML))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>welcome</html>", HTML),
        Reply(200, b"{}"),
        Reply(200, b"null"),
        Reply(200, b"[" * 100_000),
        Reply(200, b'{"id": 7, "MessageId": null, "Messages": [], "results": {}}'),
        Reply(200, b" " * 400_000 + b"{}"),
        Reply(204, b""),
    ],
    ids=["html", "empty", "null", "deep", "wrong", "long", "nothing"],
)
async def test_a_success_that_says_nothing_known_is_in_doubt(road: Road, reply: Reply) -> None:
    road.peer.script = always(reply)
    verdict = await _one(road)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True), verdict


async def test_a_refused_recipient_is_refused_and_no_other(road: Road) -> None:
    async with road.open() as transport:
        most = min(3, transport.capabilities.recipients_per_call)
        to = ["b@example.org", "refused@example.org", "c@example.org"][-most:] if most > 1 else ["refused@example.org"]
        verdicts = await transport.deliver(make_request(to, content=TO_B))
    for address, verdict in zip(to, verdicts, strict=True):
        bad = address.startswith("refused")
        assert verdict.disposition is (Disposition.REFUSED if bad else Disposition.ACCEPTED)
    sent = [address for mail in road.fake.mails for address in mail.to]
    assert sorted(sent) == sorted(address for address in to if not address.startswith("refused"))


async def test_a_secret_that_the_provider_says_back_is_hidden(road: Road) -> None:
    road.peer.script = always(Reply(400, f"bad key {SECRET}".encode(), HTML))
    verdict = await _one(road)
    assert SECRET not in verdict.reply
    assert "[hidden]" in verdict.reply


# --- The moments of a request ---


async def test_nobody_there_is_the_sites_trouble(road: Road) -> None:
    verdict = await _one(road, base_url="http://127.0.0.1:9")
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.SITE)


async def test_cut_before_the_end_of_a_large_request_is_only_deferred(postmark: Road) -> None:
    postmark.peer.script = always(Reply(mode=Mode.CUT_BEFORE))
    commits: list[str] = []
    content = TO_B + b"x" * 70 * 100_000
    async with postmark.open() as transport:
        request = make_request(content=content, commit=lambda: commits.append("committing"))
        (verdict,) = await transport.deliver(request)
    assert verdict.disposition is Disposition.DEFERRED
    assert not commits


async def test_cut_after_the_request_is_in_doubt_and_handed_over(road: Road) -> None:
    road.peer.script = always(Reply(mode=Mode.CUT_AFTER))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)


async def test_cut_in_the_answer_is_in_doubt(road: Road) -> None:
    road.peer.script = always(Reply(200, b'{"id": "1234567890"}', mode=Mode.CUT_ANSWER))
    verdict = await _one(road)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)


async def test_no_answer_in_time_is_in_doubt(postmark: Road, autojump_clock: trio.testing.MockClock) -> None:
    postmark.peer.script = always(Reply(mode=Mode.SILENT))
    begun = trio.current_time()
    verdict = await _one(postmark, timeout_seconds=7.0)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)
    assert trio.current_time() - begun == pytest.approx(7.0, abs=0.5)


async def test_an_answer_before_the_request_is_whole_counts_where_it_is_a_no(postmark: Road) -> None:
    postmark.peer.script = always(Reply(413, b"too large", HTML, mode=Mode.EARLY))
    verdict = await _one(postmark, content=TO_B + b"x" * 70 * 100_000)
    assert verdict.disposition in (
        Disposition.REFUSED,
        Disposition.DEFERRED,
    )  # the connection may be reset before it is read


async def test_a_yes_before_the_request_is_whole_is_none(postmark: Road) -> None:
    yes = said(200, {"ErrorCode": 0, "Message": "OK", "MessageID": "x"})
    postmark.peer.script = always(Reply(yes.status, yes.body, yes.headers, Mode.EARLY))
    verdict = await _one(postmark, content=TO_B + b"x" * 70 * 100_000)
    assert verdict.disposition is Disposition.DEFERRED


# --- Cancelled ---

ALONE_OR_NOT = pytest.mark.parametrize("batch", [1, 500])  # each way has its own wait for the answer


@ALONE_OR_NOT
async def test_cancelled_after_the_request_it_waits_for_the_answer(
    postmark: Road, autojump_clock: trio.testing.MockClock, batch: int
) -> None:
    found: list[Verdict] = []
    go_on = trio.Event()

    async def slow(asked: Asked) -> None:
        await go_on.wait()

    postmark.peer.pause = slow
    async with postmark.open(batch=batch) as transport, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def deliver() -> None:
            with scope:
                found.extend(await transport.deliver(make_request(content=TO_B)))

        nursery.start_soon(deliver)
        await postmark.peer.arrived.wait()
        scope.cancel()
        await trio.sleep(5)  # virtual
        assert not found
        go_on.set()
    assert [verdict.disposition for verdict in found] == [Disposition.ACCEPTED]


@ALONE_OR_NOT
async def test_cancelled_it_waits_no_longer_than_the_doubt(
    postmark: Road, autojump_clock: trio.testing.MockClock, batch: int
) -> None:
    postmark.peer.script = always(Reply(mode=Mode.SILENT))
    async with postmark.open(batch=batch) as transport:
        with trio.move_on_after(3):
            request = make_request(content=TO_B)
            request.doubt_seconds = 11.0
            begun = trio.current_time()
            (verdict,) = await transport.deliver(request)
    assert trio.current_time() - begun == pytest.approx(14.0, abs=0.5)
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)


# --- Several recipients ---


async def test_recipients_are_not_tried_alone_for_want_of_time(ses: Road) -> None:
    to = [f"b{number}@example.org" for number in range(3)]
    refusal = said(400, {"message": "Illegal address"}, ("x-amzn-ErrorType", "BadRequestException"))
    ses.peer.script = lambda asked: refusal if len(_ses_recipients(asked)) > 1 else None
    async with ses.open() as transport:
        deadline = trio.current_time() + 1.0
        verdicts = await transport.deliver(make_request(to, content=TO_B, deadline=deadline))
        assert {verdict.disposition for verdict in verdicts} == {Disposition.DEFERRED}
        verdicts = await transport.deliver(make_request(to, content=TO_B))
        assert {verdict.disposition for verdict in verdicts} == {Disposition.ACCEPTED}
    assert [mail.to for mail in ses.fake.mails] == [[address] for address in to]


def _ses_recipients(asked: Asked) -> list[str]:
    return json.loads(asked.body)["Destination"]["ToAddresses"] if asked.body else []


async def test_an_address_in_utf8_is_refused_and_the_others_are_sent(ses: Road) -> None:
    verdicts = await _deliver(ses, "b@example.org", "jürgen@example.org", "c@example.org")
    assert [verdict.status for verdict in verdicts] == ["2.0.0", "5.6.7", "2.0.0"]
    assert [mail.to for mail in ses.fake.mails] == [["b@example.org", "c@example.org"]]


# --- Retry-After ---


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds(road: Road, status: int) -> None:
    road.peer.script = always(Reply(status, b"", (("Retry-After", "37"),)))
    assert (await _one(road)).retry_after_seconds == 37.0


async def test_retry_after_as_a_date(postmark: Road) -> None:
    moment = formatdate(time.time() + 120, usegmt=True)
    postmark.peer.script = always(Reply(429, b"", (("Retry-After", moment),)))
    seconds = (await _one(postmark)).retry_after_seconds
    assert seconds is not None
    assert 100 < seconds <= 120


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "1" * 40, "Fri, 99 Foo 2026 00:00:00"]
)
async def test_a_retry_after_of_no_use_is_none(postmark: Road, value: str) -> None:
    postmark.peer.script = always(Reply(429, b"", (("Retry-After", value),)))
    assert (await _one(postmark)).retry_after_seconds is None


# --- Said at the door ---


@pytest.mark.parametrize(
    ("name", "header", "recipient", "field", "words"),
    [
        ("postmark", b"To: x@example.org\r\n", "b@example.org", "to", "To and Cc name others"),
        ("sendgrid", b"X-SG-EID: 1\r\n", "b@example.org", "headers", "SendGrid cannot carry it: the API forbids"),
        ("mailjet", b"X-Mailjet-Campaign: 1\r\n", "b@example.org", "headers", "forbids the header field X-Mailjet"),
        ("brevo", b"Reply-To: x@a.example, y@a.example\r\n", "b@example.org", "reply_to", "one address in Reply-To"),
        ("resend", b"Content-Type: image/png\r\n", "b@example.org", "body", "wants a text"),
        ("ses", b"", "jürgen@example.org", "recipients", "Amazon SES takes no UTF-8"),
        ("mailgun", "X-Name: Jürgen\r\n".encode(), "b@example.org", "headers", "Mailgun takes no UTF-8"),
    ],
)
async def test_what_would_be_refused_is_said_before_with_the_provider_and_the_field(
    name: str, header: bytes, recipient: str, field: str, words: str
) -> None:
    content = b"From: a@example.com\r\nSubject: x\r\n" + header + b"\r\nHello.\r\n"
    async with road_to(name) as road, road.open(**({"others": "refuse"} if name == "postmark" else {})) as transport:
        assert isinstance(transport, Objecting)
        request = make_request((recipient,), content=content)
        refusal = transport.objection(request.message, [recipient], content)
        assert refusal is not None
        assert (refusal.field, words in refusal.problem) == (field, True), refusal
        (verdict,) = await transport.deliver(request)
        assert verdict.disposition is Disposition.REFUSED
        assert not road.peer.connections


async def test_what_is_fit_meets_no_objection_though_the_key_is_gone(road: Road, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a-key\n")
    table = {**road.settings, "api_key": "", "api_key_file": str(file)}
    async with http_transport(table) as transport:
        file.unlink()
        assert isinstance(transport, Objecting)
        assert transport.objection(make_request().message, ["b@example.org", "c@example.org"], TO_B) is None


async def test_each_of_several_recipients_is_looked_at() -> None:
    async with road_to("postmark") as road, road.open(others="refuse") as transport:
        assert isinstance(transport, Objecting)
        message = make_request().message
        assert transport.objection(message, ["b@example.org"], TO_B) is None
        refusal = transport.objection(message, ["b@example.org", "blind@example.org"], TO_B)
        assert refusal is not None
        assert refusal.field == "to"
