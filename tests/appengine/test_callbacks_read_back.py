"""What arrives is read by `postroad.appengine.mail`, as an application reads it: from WSGI, from a form, from the body."""

from __future__ import annotations

import io
import urllib.parse

import pytest
from scripted_application import open_application
from test_callbacks import bounce_of, engine_on, send, wait_done

from postroad.appengine import mail


def environ_of(request):
    """As a WSGI server makes it (PEP 3333)."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": urllib.parse.unquote(request.target, "latin-1"),
        "CONTENT_TYPE": request.headers["content-type"],
        "CONTENT_LENGTH": request.headers["content-length"],
        "wsgi.input": io.BytesIO(request.body),
    }


def lists_of(request):
    """As `dict(request.form.lists())` of Flask."""
    return {name: [text] for name, text in request.fields.items()}


@pytest.mark.parametrize(
    "read",
    [
        lambda request: mail.BounceNotification.from_environ(environ_of(request)),
        lambda request: mail.BounceNotification(request.fields),
        lambda request: mail.BounceNotification(lists_of(request)),
    ],
    ids=["wsgi", "form", "lists"],
)
async def test_a_bounce(autojump_clock, read):
    async with open_application() as application, engine_on(application) as engine:
        await send(
            engine,
            "Jürgen <gone@example.org>",
            cc="c@example.org",
            subject="Grüße",
            body="Schöne Grüße.\n",
            html="<p>Grüße</p>",
            attachments=[("a.bin", bytes(range(256)))],
        )
        await wait_done(engine)
    notification = read(application.requests[0])
    original = {name: _one(value) for name, value in notification.original.items()}
    assert original == {
        "from": "a@example.com",
        "to": "Jürgen <gone@example.org>",
        "cc": "c@example.org",
        "bcc": "",
        "subject": "Grüße",
        "text": "Schöne Grüße.\n",
    }
    assert "gone@example.org" in _one(notification.notification["text"])
    raw = notification.original_raw_message
    assert (raw.sender, raw.subject) == ("a@example.com", "Grüße")
    assert [body.decode() for _, body in raw.bodies("text/plain")] == ["Schöne Grüße.\r\n"]
    assert raw.attachments[0].payload.decode() == bytes(range(256))


def _one(value):
    return value[0] if isinstance(value, list) else value


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-15"])
async def test_octets_that_came_back_are_read_from_a_form(autojump_clock, charset):
    text = "Grüße €\r\n"
    returned = (
        f"From: a@example.com\r\nSubject: x\r\nContent-Type: text/plain; charset={charset}\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
    ).encode() + text.encode(charset)
    bounce = bounce_of("x" * 20)
    start, end = bounce.index(b"Content-Type: text/rfc822-headers"), bounce.index(b"\r\n--b--")
    raw = bounce[:start] + b"Content-Type: message/rfc822\r\n\r\n" + returned + bounce[end:]
    async with open_application() as application, engine_on(application) as engine:
        await engine.receive_bounce(raw)
        await wait_done(engine)
    (request,) = application.requests
    if charset == "utf-8":
        assert request.form["raw-message"].get_payload(decode=True) == returned
    for notification in (
        mail.BounceNotification(request.fields),
        mail.BounceNotification.from_environ(environ_of(request)),
    ):
        ((_, body),) = notification.original_raw_message.bodies("text/plain")
        assert body.decode().splitlines() == text.splitlines()


async def test_incoming_mail(autojump_clock):
    written = mail.EmailMessage(
        sender="B <b@example.org>",
        to="support@app.example",
        subject="Grüße",
        body="Hilfe!",
        attachments=[("a.txt", b"text")],
    )
    raw = written.to_mime_message().as_bytes()
    async with open_application() as application, engine_on(application) as engine:
        await engine.receive(sender="b@example.org", recipients="support@app.example", raw=raw)
        await wait_done(engine)
    (request,) = application.requests
    for read in (mail.InboundEmailMessage(request.body), mail.InboundEmailMessage.from_environ(environ_of(request))):
        assert (read.to, read.subject) == ("support@app.example", "Grüße")
        ((_, body),) = read.bodies("text/plain")
        assert body.decode() == "Hilfe!"
        assert read.attachments[0].filename == "a.txt"
    assert mail.INCOMING_MAIL_URL_PATTERN == "/_ah/mail/.+"
    assert request.path == "/_ah/mail/support@app.example"
    assert mail.BOUNCE_NOTIFICATION_URL_PATH == "/_ah/bounce"
