"""The same message by django-anymail, an independent reading of the same documentation: each fake reads both requests alike.

Only of providers that take fields: of the others Postroad sends the message as it is, and anymail does not (docs/decisions).
"""

from __future__ import annotations

import base64
import warnings
from email.message import EmailMessage
from email.policy import SMTP
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import django.conf
import pytest
from fakes_of_providers import MAKERS, SECRET, Mail
from http_peer import Asked
from test_http_requests import FIELDS, read, write

if not django.conf.settings.configured:
    keys = {f"{name.upper()}_API_KEY": SECRET for name in ("sendgrid", "resend", "brevo")}
    servers = {"POSTMARK_SERVER_TOKEN": SECRET, "MAILERSEND_API_TOKEN": SECRET}
    mailjet = {"MAILJET_API_KEY": "pub11c", "MAILJET_SECRET_KEY": SECRET, "SENDGRID_GENERATE_MESSAGE_ID": False}
    django.conf.settings.configure(ANYMAIL={**keys, **servers, **mailjet}, DEFAULT_CHARSET="utf-8")
    django.setup()

TEXT, HTML = "Grüße,\nJürgen\n", '<p>Grüße <img src="cid:logo@x"></p>\n'
PNG, PDF = b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"%PDF-1.7\r\n\x00\xff"
HEADERS = {
    "List-Unsubscribe": "<https://example.com/u>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "X-Campaign": "spring",
}
AUTHOR, TO, REPLY = ("Jürgen, Shop", "shop@example.com"), ("Renée Ö.", "renee@example.org"), ("", "answers@example.com")


def ours(name: str, *, inline: bool) -> Mail:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Reply-To"] = (
        '"Jürgen, Shop" <shop@example.com>',
        '"Renée Ö." <renee@example.org>',
        REPLY[1],
    )
    message["Subject"] = "Grüße"
    for key, value in HEADERS.items():
        message[key] = value
    message.set_content(TEXT)
    message.add_alternative(HTML, subtype="html")
    if inline:
        message.get_payload(1).add_related(
            PNG, "image", "png", cid="<logo@x>", filename="logo.png", disposition="inline"
        )
    message.add_attachment(PDF, "application", "pdf", filename="bill.pdf")
    return read(*write(name, message.as_bytes(), TO[1], tags=("welcome",)))


def theirs(name: str, *, inline: bool) -> Mail:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what anymail thinks of providers that left it
        from anymail.message import AnymailMessage
        from django.core.mail import EmailMultiAlternatives  # noqa: F401 - anymail's parent, loaded with Django's settings

        backend: Any = import_module(f"anymail.backends.{name}").EmailBackend()
        message = AnymailMessage("Grüße", TEXT, '"Jürgen, Shop" <shop@example.com>', ['"Renée Ö." <renee@example.org>'])
        message.reply_to, message.extra_headers, message.tags = [REPLY[1]], dict(HEADERS), ["welcome"]
        message.attach_alternative(HTML, "text/html")
        if inline:
            message.attach(_inline_image())
        message.attach("bill.pdf", PDF, "application/pdf")
        params = backend.build_message_payload(message, {}).get_request_params(backend.api_url)
    headers = {key.lower(): value for key, value in params["headers"].items()}
    if params.get("auth"):
        headers["authorization"] = "Basic " + base64.b64encode(":".join(params["auth"]).encode()).decode()
    headers.setdefault("idempotency-key", "none")
    body = params["data"].encode() if isinstance(params["data"], str) else params["data"]
    found = MAKERS[name]().read(Asked("POST", urlsplit(params["url"]).path, headers, body))
    assert isinstance(found, Mail), found
    return found


def _inline_image() -> Any:
    from email.mime.image import MIMEImage

    image = MIMEImage(PNG, "png")
    image["Content-Disposition"], image["Content-ID"] = 'inline; filename="logo.png"', "<logo@x>"
    return image


def _parts(mail: Mail) -> list[tuple[str, str, bytes, str, bool]]:
    return sorted((file.name, file.kind, file.data, file.cid, file.inline) for file in mail.files)


@pytest.mark.parametrize("name", FIELDS)
def test_anymail_asks_for_the_same(name: str) -> None:
    inline = name != "brevo"
    we, they = ours(name, inline=inline), theirs(name, inline=inline)
    assert (we.to, we.shown, we.author, we.reply_to) == ([TO[1]], [TO], AUTHOR, [REPLY])
    assert (we.to, we.shown, we.author, we.reply_to, we.subject) == (
        they.to,
        they.shown,
        they.author,
        they.reply_to,
        they.subject,
    )
    assert {kind: text.replace("\r\n", "\n") for kind, text in we.texts.items()} == they.texts
    assert sorted((key.lower(), value) for key, value in we.headers) == sorted(
        (key.lower(), value)
        for key, value in they.headers
        if key != "X-Tags"  # anymail's way with Resend
    )
    if name not in ("mailjet", "resend"):  # which have no plain tags: each of us made up a way of its own
        assert we.tags == they.tags
    if name == "mailersend":
        return  # its files are compared by the test of requests: anymail leaves the names of inline ones to their content ids
    assert _parts(we) == _parts(they)
