"""One POST and what its answer means: the transport `appengine`, without an engine."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import asynccontextmanager

import pytest
import trio
from scripted_application import Deaf, Hang, Raw, closed_port, open_application

from postroad.callbacks import Bounce
from postroad.errors import ConfigError
from postroad.message import BOUNCE_ADDRESS, Kind, Message
from postroad.store.contract import LeasedRecipient
from postroad.testing import HttpMode, HttpReply, check_transport
from postroad.testing.fakes import MemoryContent, make_request
from postroad.verdict import Disposition, Scope
from postroad_appengine import appengine_transport
from postroad_appengine.form import write_form

MAIL = b"From: b@example.org\r\nTo: a@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n"
REPORT = (
    b"From: Mail Delivery System <mailer-daemon@engine.test>\r\nTo: a@example.com\r\nSubject: Failed\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
    b"--x\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; engine.test\r\n\r\nFinal-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@example.com\r\nTo: b@example.org\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello.\r\n\r\n--x--\r\n"
)


def incoming(address="support@app.example", *, sender="b@example.org", content=MAIL, in_doubt=False, commit=None):
    holder = content if isinstance(content, MemoryContent) else MemoryContent(content)
    message = Message(id="01k0000000aaaaaaaaaa", sender=sender, accepted_at=0.0, size=holder.size, kind=Kind.INCOMING)
    recipient = LeasedRecipient(3, address, in_doubt=in_doubt)
    more = {"commit": commit} if commit else {}
    return make_request([recipient], content=holder, message=message, **more)


def bounce(content=REPORT, kind=Kind.REPORT):
    message = Message(id="01k0000000bbbbbbbbbb", sender="", accepted_at=0.0, size=len(content), kind=kind)
    return make_request([LeasedRecipient(1, BOUNCE_ADDRESS)], content=content, message=message)


@asynccontextmanager
async def asked(application, **settings):
    async with appengine_transport({"url": application.url, **settings}) as transport:
        yield transport


async def verdict(application, request=None, **settings):
    async with asked(application, **settings) as transport:
        (answer,) = await transport.deliver(request or incoming())
    return answer


async def test_incoming_mail_arrives_as_it_came(autojump_clock):
    raw = b"From: x\nSubject: bare lines\n\n\xff\x00 octets \r\n.\r\n" + b"y" * 2000
    async with open_application() as application:
        answer = await verdict(application, incoming(content=raw))
    (request,) = application.requests
    assert (request.target, request.body) == ("/_ah/mail/support@app.example", raw)
    assert request.headers["content-type"] == "message/rfc822"
    assert request.headers["x-postroad-sender"] == "b@example.org"
    assert (answer.disposition, answer.reply) == (Disposition.ACCEPTED, "HTTP 200")
    assert answer.remote == f"127.0.0.1:{application.port}"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("a+b/c@example.com", "/_ah/mail/a%2Bb%2Fc@example.com"),
        ('"a b%?#\\"<>"@example.com', "/_ah/mail/%22a%20b%25%3F%23%5C%22%3C%3E%22@example.com"),
        ("jürgen@bücher.example", "/_ah/mail/j%C3%BCrgen@b%C3%BCcher.example"),
        ("../../etc@example.com", "/_ah/mail/..%2F..%2Fetc@example.com"),
        (BOUNCE_ADDRESS.replace("callbacks", "callback"), "/_ah/mail/bounce@callback.invalid"),
    ],
)
async def test_an_address_is_percent_encoded(autojump_clock, address, target):
    async with open_application() as application:
        await verdict(application, incoming(address))
    assert application.requests[0].target == target
    assert application.requests[0].path == f"/_ah/mail/{address}"


async def test_mail_to_the_reserved_address_tells_no_bounce(autojump_clock):
    """Whoever may choose a recipient must not be able to forge a bounce."""
    async with open_application() as application:
        await verdict(application, make_request([BOUNCE_ADDRESS], content=REPORT))
    assert application.requests[0].target == f"/_ah/mail/{BOUNCE_ADDRESS}"


@pytest.mark.parametrize("kind", [Kind.REPORT, Kind.INCOMING])
async def test_a_bounce_has_the_twelve_fields_and_the_raw_message(autojump_clock, kind):
    async with open_application() as application:
        await verdict(application, bounce(kind=kind))
    (request,) = application.requests
    assert request.target == "/_ah/bounce"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert request.fields == {
        "original-from": "a@example.com",
        "original-to": "b@example.org",
        "original-cc": "",
        "original-bcc": "",
        "original-subject": "Grüße",
        "original-text": "Hello.\n",
        "notification-from": "Mail Delivery System <mailer-daemon@engine.test>",
        "notification-to": "a@example.com",
        "notification-cc": "",
        "notification-bcc": "",
        "notification-subject": "Failed",
        "notification-text": "It failed.\n",
        "raw-message": REPORT.partition(b"message/rfc822\r\n\r\n")[2].partition(b"\r\n--x--")[0].decode(),
    }


async def test_paths_and_headers_are_configurable(autojump_clock):
    more = {"bounce_path": "/hooks/bounce", "mail_path": "/in/", "headers": {"X-Site": "blue green"}}
    async with open_application() as application:
        for request in (bounce(), incoming()):
            await verdict(application, request, **{**more, "url": f"{application.url}/base/"})
    assert [request.target for request in application.requests] == [
        "/base/hooks/bounce",
        "/base/in/support@app.example",
    ]
    assert {request.headers["x-site"] for request in application.requests} == {"blue green"}


async def test_each_try_has_the_same_key_and_says_when_it_may_be_a_duplicate(autojump_clock):
    async with open_application() as application:
        for in_doubt in (False, True):
            await verdict(application, incoming(in_doubt=in_doubt))
    first, second = application.requests
    assert first.key == second.key == "01k0000000aaaaaaaaaa-3"
    assert first.headers["x-postroad-id"] == "01k0000000aaaaaaaaaa"
    assert "x-postroad-maybe-duplicate" not in first.headers
    assert second.headers["x-postroad-maybe-duplicate"] == "1"


# --- answers ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_takes_it(autojump_clock, status):
    async with open_application(HttpReply(status)) as application:
        answer = await verdict(application)
    assert answer.disposition is Disposition.ACCEPTED


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        (301, Scope.MESSAGE),
        (400, Scope.MESSAGE),
        (401, Scope.TRANSPORT),
        (403, Scope.TRANSPORT),
        (404, Scope.MESSAGE),
        (408, Scope.SITE),
        (410, Scope.MESSAGE),
        (413, Scope.MESSAGE),
        (429, Scope.SITE),
        (500, Scope.MESSAGE),
        (502, Scope.SITE),
        (503, Scope.SITE),
        (504, Scope.SITE),
        (599, Scope.MESSAGE),
    ],
)
async def test_nothing_else_refuses_it(autojump_clock, status, scope):
    location = [("location", "/elsewhere")] if status == 301 else []
    async with open_application(HttpReply(status, headers=location)) as application:
        answer = await verdict(application)
    assert (answer.disposition, answer.scope) == (Disposition.DEFERRED, scope)
    assert answer.reply.startswith(f"HTTP {status}")
    assert answer.status.startswith("4.")
    assert application.connections == 1, "redirects are not followed"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("retry-after", "120")], 120.0),
        ([("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), ("date", "Wed, 21 Oct 2026 07:18:00 GMT")], 600.0),
        ([("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), ("date", "Wed, 21 Oct 2026 08:18:00 GMT")], 0.0),
        ([("retry-after", "soon")], None),
    ],
)
async def test_retry_after_is_passed_on(autojump_clock, headers, seconds):
    async with open_application(HttpReply(503, headers=headers)) as application:
        answer = await verdict(application)
    assert answer.retry_after_seconds == seconds


async def test_interim_answers_are_passed_over_but_not_for_ever(autojump_clock):
    async with open_application(HttpReply(interim=3), HttpReply(interim=50)) as application:
        first, second = await verdict(application), await verdict(application)
    assert first.disposition is Disposition.ACCEPTED
    assert (second.disposition, second.handed_over) == (Disposition.IN_DOUBT, False)


async def test_an_answers_words_are_made_printable_and_its_body_is_not_told(autojump_clock):
    raw = Raw(b"HTTP/1.1 500 \xff\xfe oops\r\ncontent-length: 6\r\n\r\nsecret")
    async with open_application(raw) as application:
        answer = await verdict(application)
    assert answer.reply.isprintable()
    assert "secret" not in answer.reply


# --- trouble ---


async def test_nobody_listens(autojump_clock):
    async with closed_port() as port, appengine_transport({"url": port.url}) as transport:
        (answer,) = await transport.deliver(incoming())
    assert (answer.disposition, answer.scope, answer.status) == (Disposition.DEFERRED, Scope.SITE, "4.4.1")


async def test_without_descriptors_nothing_was_tried(autojump_clock):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with open_application() as application, asked(application) as transport:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            (answer,) = await transport.deliver(incoming())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert answer.disposition is Disposition.POSTPONED
    assert answer.status == "4.3.0"


@pytest.mark.parametrize("step", [Raw(), Hang()])
async def test_all_was_sent_and_no_answer_seen(autojump_clock, step):
    async with open_application(step) as application:
        answer = await verdict(application)
    assert (answer.disposition, answer.handed_over) == (Disposition.IN_DOUBT, True)
    assert len(application.requests) == 1


async def test_an_answer_that_is_not_http_proves_nothing(autojump_clock):
    async with open_application(Raw(b"220 mail.example ESMTP\r\n" * 3)) as application:
        answer = await verdict(application)
    assert (answer.disposition, answer.handed_over) == (Disposition.IN_DOUBT, False)


async def test_an_endless_header_is_bounded(autojump_clock):
    async with open_application(Raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000)) as application:
        answer = await verdict(application)
    assert answer.disposition is Disposition.IN_DOUBT


async def test_an_answer_whose_body_never_ends_is_an_answer(autojump_clock):
    async with open_application(
        Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 10)
    ) as application:
        answer = await verdict(application)
    assert answer.disposition is Disposition.ACCEPTED


async def test_an_application_that_reads_nothing_does_not_have_it(autojump_clock):
    commits = []
    request = incoming(content=b"x" * 30_000_000, commit=lambda: commits.append(1))
    async with open_application(Deaf()) as application:
        answer = await verdict(application, request)
    assert (answer.disposition, answer.scope, commits) == (Disposition.DEFERRED, Scope.SITE, [])


@pytest.mark.parametrize(("status", "disposition"), [(413, Disposition.DEFERRED), (200, Disposition.ACCEPTED)])
async def test_an_answer_before_all_was_sent_counts(autojump_clock, status, disposition):
    """The end of the connection may overtake the answer; then nothing is known but that it was not sent."""
    commits = []
    request = incoming(content=b"x" * 30_000_000, commit=lambda: commits.append(1))
    async with open_application(HttpReply(status, mode=HttpMode.EARLY)) as application:
        answer = await verdict(application, request)
    assert answer.disposition in (disposition, Disposition.DEFERRED)
    assert bool(commits) is (answer.disposition is Disposition.ACCEPTED) or commits


async def test_nothing_whole_leaves_before_committing(autojump_clock):
    seen = []
    async with open_application() as application:
        for size in (0, 1, 65_536, 65_537, 300_000):
            request = incoming(content=b"x" * size, commit=lambda: seen.append(len(application.requests)))
            await verdict(application, request)
            assert len(application.requests[-1].body) == size
    assert seen == [0, 1, 2, 3, 4]


async def cancelled(application, request, after_requests=1):
    """The verdict of a call that is cancelled once the application has so many requests, None where it was let go of; seconds."""
    answers = []
    async with asked(application) as transport, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def deliver():
            with scope:
                answers.extend(await transport.deliver(request))

        nursery.start_soon(deliver)
        with trio.move_on_after(10):  # one that never gets a request whole
            await application.wait_requests(after_requests)
        began = trio.current_time()
        scope.cancel()
    return (answers[0] if answers else None), trio.current_time() - began


def within(doubt_seconds, request):
    request.doubt_seconds = doubt_seconds
    return request


@pytest.mark.parametrize("make", [incoming, bounce])
async def test_cancelled_after_the_request_it_waits_for_the_answer(autojump_clock, make):
    async with open_application(HttpReply(after_seconds=15)) as application:
        answer, seconds = await cancelled(application, within(20, make()))
    assert answer.disposition is Disposition.ACCEPTED
    assert 14 < seconds < 16


@pytest.mark.parametrize("make", [incoming, bounce])
async def test_cancelled_it_waits_no_longer_than_the_doubt(autojump_clock, make):
    async with open_application(Hang()) as application:
        answer, seconds = await cancelled(application, within(11, make()))
    assert answer.disposition is Disposition.IN_DOUBT
    assert answer.reply == "no answer in time"
    assert 10 < seconds < 12


async def test_cancelled_before_the_request_is_whole_it_ends_at_once(autojump_clock):
    async with open_application(Deaf()) as application:
        answer, seconds = await cancelled(application, within(20, incoming(content=b"x" * 30_000_000)))
    assert answer is None
    assert seconds < 1


async def test_by_a_unix_socket(autojump_clock, tmp_path):
    async with open_application() as application, trio.open_nursery() as nursery:
        path = str(tmp_path / "application.sock")
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.bind(path)
        sock.listen(5)
        nursery.start_soon(trio.serve_listeners, application.peer.serve, [trio.SocketListener(sock)])
        settings = {"url": "http://app.example", "socket": path}
        async with appengine_transport(settings) as transport:
            (answer,) = await transport.deliver(incoming())
        nursery.cancel_scope.cancel()
    assert answer.disposition is Disposition.ACCEPTED
    assert answer.remote == path
    assert application.requests[0].headers["host"] == "app.example"


@pytest.mark.parametrize(("trusted", "disposition"), [(True, Disposition.ACCEPTED), (False, Disposition.DEFERRED)])
async def test_https_is_verified(autojump_clock, tmp_path, trusted, disposition):
    import ssl

    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    async with open_application(ssl_context=context) as application:
        url = application.url.replace("http:", "https:")
        async with appengine_transport({"url": url, "ca_file": str(ca_file)}) as transport:
            (answer,) = await transport.deliver(incoming())
    assert answer.disposition is disposition
    assert len(application.requests) == trusted


# --- settings, secrets ---


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "url"),
        ({"url": "127.0.0.1:8080"}, "url"),
        ({"url": "ftp://127.0.0.1"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://user:hush@127.0.0.1"}, "url"),
        ({"url": "http://127.0.0.1:99999"}, "url"),
        ({"url": "http://127.0.0.1:0"}, "url"),
        ({"url": "http://127.0.0.1/?x"}, "url"),
        ({"url": "http://bücher.example"}, "url"),
        ({"url": "http://127.0.0.1/a b"}, "url"),
        ({"url": "http://127.0.0.1", "bounce_path": "bounce"}, "bounce_path"),
        ({"url": "http://127.0.0.1", "mail_path": "/m il/"}, "mail_path"),
        ({"url": "http://127.0.0.1", "headers": {"X-A": "hush\r\nX-B: c"}}, "headers.X-A"),
        ({"url": "http://127.0.0.1", "headers": {"X A": "hush"}}, "headers"),
        ({"url": "http://127.0.0.1", "headers": {"Authorization": "hush"}}, "headers.Authorization"),
        ({"url": "http://127.0.0.1", "headers": {"content-length": "7"}}, "headers.content-length"),
        ({"url": "http://127.0.0.1", "secret_env": "A", "secret_file": "b"}, "secret_file"),
        ({"url": "http://127.0.0.1", "secret_env": "POSTROAD_TEST_MISSING"}, "secret_env"),
        ({"url": "http://127.0.0.1", "secret_file": "/nonexistent/secret"}, "secret_file"),
        ({"url": "https://127.0.0.1", "ca_file": "/nonexistent/ca.pem"}, "ca_file"),
        ({"url": "http://127.0.0.1", "reply_seconds": 0}, "reply_seconds"),
        ({"url": "http://127.0.0.1", "urll": "x"}, "urll"),
    ],
)
async def test_settings_that_cannot_be_right_are_named(autojump_clock, settings, key):
    with pytest.raises(ConfigError) as caught:
        async with appengine_transport(settings):
            pass
    assert caught.value.key == key
    assert "hush" not in str(caught.value)


async def test_the_secret_is_read_anew_and_never_told(autojump_clock, tmp_path):
    file = tmp_path / "secret"
    file.write_text("one\n")
    async with open_application(401) as application, asked(application, secret_file=str(file)) as transport:
        first = (await transport.deliver(incoming()))[0]
        file.write_text("two\n")
        await transport.deliver(incoming())
        file.unlink()
        third = (await transport.deliver(incoming()))[0]
    assert [request.headers["authorization"] for request in application.requests] == ["Bearer one", "Bearer two"]
    assert "one" not in first.reply
    assert (third.disposition, third.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)


async def test_a_secret_with_a_line_end_is_refused_without_being_shown(autojump_clock, monkeypatch):
    monkeypatch.setitem(os.environ, "POSTROAD_TEST_SECRET", "hush\r\nX: y")
    with pytest.raises(ConfigError) as caught:
        async with appengine_transport({"url": "http://127.0.0.1", "secret_env": "POSTROAD_TEST_SECRET"}):
            pass
    assert "hush" not in str(caught.value)


async def test_it_does_a_transports_duties(autojump_clock, monkeypatch):
    monkeypatch.setitem(os.environ, "POSTROAD_TEST_SECRET", "very-secret-indeed")
    async with open_application() as application, open_application(default=Hang()) as silent, closed_port() as closed:
        report = await check_transport(
            appengine_transport,
            {"url": application.url, "secret_env": "POSTROAD_TEST_SECRET", "headers": {"x-password": "hush-hush"}},
            handed_over=lambda: [request.body for request in application.requests],
            broken={"url": closed.url},
            silent={"url": silent.url},
        )
    done = {result.case for result in report.results if not result.skipped}
    assert {"committing_comes_first", "large_content", "ten_at_once", "eight_bit", "smtputf8"} <= done
    needs = {result.skipped for result in report.results if result.skipped.startswith("needs")}
    assert not {"needs broken", "needs silent", "needs handed_over"} & needs


@pytest.mark.parametrize(
    "returned",
    [
        b"From: a@x\r\n\r\nno charset \xff\r\n",
        b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff\r\n",
        b"Subject: \xff\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" * 5000
        + b"\xff",
    ],
)
async def test_strange_octets_that_came_back_are_told_somehow(autojump_clock, returned):
    raw = REPORT.partition(b"From: a@example.com\r\nTo: b@example.org\r\n")[0] + returned + b"\r\n\r\n--x--\r\n"
    async with open_application() as application:
        answer = await verdict(application, bounce(raw))
    assert answer.disposition is Disposition.ACCEPTED
    assert application.requests[0].fields["raw-message"]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/plain" + b"; a*0=x" * 120_000,
        b"Content-Type: " + b"a;" * 400_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(280)),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 100_000,
        b"Subject: " + b"\xff " * 20_000,
        b"Subject: \xff" + b"=?utf-8?q?a?= " * 2500,
        b"Content-Type: text/plain; charset=punycode\r\n\r\n\xff" + b"a" * 1000 + b"-" + b"zzzzz9" * 6000,
    ],
    ids=range(7),
)
@pytest.mark.parametrize("octets", [30_000, 1_000_000])
def test_hostile_octets_that_came_back_take_no_time(head, octets):
    raw = head[:octets] + b"x\r\n" * ((octets - len(head)) // 3) + b"\xff"
    told = Bounce(id="a", key="a-1", original={}, notification={}, raw=raw, report=b"")
    begun = time.process_time()
    write_form(told)
    assert time.process_time() - begun < 1.0
