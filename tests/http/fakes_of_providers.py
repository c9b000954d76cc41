"""A fake of each provider, written from its public documentation and knowing nothing of the transport: it checks what a
request must have, answers as documented, and reads the mail back out of it.

An address that begins with "refused" is refused, in the provider's own way.
"""

from __future__ import annotations

import base64
import email
import email.policy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from http_peer import Asked, Reply

SECRET = "k3y-Of-The-Test-0123456789"
JSON = (("Content-Type", "application/json"),)


def said(status: int, table: Any, *headers: tuple[str, str]) -> Reply:
    return Reply(status, json.dumps(table).encode(), (*JSON, *headers))


@dataclass
class File:
    name: str
    kind: str
    data: bytes
    cid: str = ""
    inline: bool = False


@dataclass
class Mail:
    """What a provider would send.  raw: the message, where it came whole."""

    to: list[str]
    raw: bytes = b""
    shown: list[tuple[str, str]] = field(default_factory=list)
    author: tuple[str, str] = ("", "")
    reply_to: list[tuple[str, str]] = field(default_factory=list)
    subject: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    id: str = ""

    @property
    def octets(self) -> bytes:
        """Subject and text, or the message."""
        return self.raw or f"Subject: {self.subject}\r\n\r\n{self.texts.get('text', '')}".encode()


@dataclass
class Fake:
    """A provider.  settings: of a transport to it, without base_url."""

    name: str
    settings: Mapping[str, Any]
    read: Callable[[Asked], Mail | Reply]
    taken: Callable[[int], Reply]
    refusal: Callable[[str], Reply]
    mails: list[Mail] = field(default_factory=list)

    def answer(self, asked: Asked) -> Reply:
        found = self.read(asked)
        if isinstance(found, Reply):
            return found
        bad = next((address for address in found.to if address.startswith("refused")), None)
        if bad is not None:
            return self.refusal(bad)
        self.mails.append(found)
        return self.taken(len(self.mails))


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode()


# --- Amazon SES ---


def _read_ses(asked: Asked) -> Mail | Reply:
    if asked.method != "POST" or asked.target != "/v2/email/outbound-emails":
        return said(404, {"message": None}, ("x-amzn-ErrorType", "UnknownOperationException"))
    if not asked.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"):
        return said(403, {"message": "no"}, ("x-amzn-ErrorType", "UnrecognizedClientException:http://x/"))
    table = json.loads(asked.body)
    to = [one for key in ("ToAddresses", "CcAddresses", "BccAddresses") for one in table["Destination"].get(key, [])]
    if not 1 <= len(to) <= 50:
        return said(400, {"message": "Recipient count exceeds 50."}, ("x-amzn-ErrorType", "BadRequestException"))
    tags = {tag["Name"]: tag["Value"] for tag in table.get("EmailTags", [])}
    id = tags.pop("postroad_id", "")
    return Mail(to, base64.b64decode(table["Content"]["Raw"]["Data"], validate=True), tags=list(tags.values()), id=id)


def _ses() -> Fake:
    settings = {"provider": "ses", "region": "eu-west-1", "access_key_id": "AKIAEXAMPLE"}
    return Fake(
        "ses",
        settings,
        _read_ses,
        lambda number: said(200, {"MessageId": f"0102-{number}"}),
        lambda bad: said(400, {"message": f"Illegal address {bad}"}, ("x-amzn-ErrorType", "BadRequestException")),
    )


# --- Mailgun ---


def _read_form(asked: Asked) -> list[tuple[str, bytes]]:
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    boundary = email.message_from_bytes(head).get_boundary()
    assert boundary
    pieces = (b"\r\n" + asked.body).split(f"\r\n--{boundary}".encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        header, _, value = piece.partition(b"\r\n\r\n")
        name = email.message_from_bytes(header.strip() + b"\r\n\r\n").get_param("name", header="content-disposition")
        found.append((str(name), value))
    return found


def _read_mailgun(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != _basic("api"):
        return Reply(401, b"Forbidden", (("Content-Type", "text/plain"),))
    if asked.target != "/v3/mg.example.com/messages.mime":
        return said(404, {"message": "Domain not found"})
    form = _read_form(asked)
    values = lambda wanted: [value.decode() for name, value in form if name == wanted]  # noqa: E731 - said thrice
    message = next(value for name, value in form if name == "message")
    to = values("to")
    if not to:
        return said(400, {"message": "to parameter is missing"})
    return Mail(to, message, tags=values("o:tag"), id="".join(values("v:postroad_id")))


def _mailgun() -> Fake:
    settings = {"provider": "mailgun", "domain": "mg.example.com"}
    return Fake(
        "mailgun",
        settings,
        _read_mailgun,
        lambda number: said(200, {"id": f"<{number}@mg.example.com>", "message": "Queued. Thank you."}),
        lambda bad: said(400, {"message": "to parameter is not a valid address. please check documentation"}),
    )


# --- SendGrid ---


def _pair(table: Mapping[str, str], address: str = "email", name: str = "name") -> tuple[str, str]:
    return table.get(name, ""), table[address]


def _read_sendgrid(asked: Asked) -> Mail | Reply:
    if asked.target != "/v3/mail/send":
        return said(404, {"errors": [{"message": "Not Found", "field": None, "help": None}]})
    if asked.headers.get("authorization") != f"Bearer {SECRET}":
        return said(401, {"errors": [{"message": "The provided authorization grant is invalid", "field": None}]})
    table = json.loads(asked.body)
    (envelope,) = table["personalizations"]
    if not table.get("subject") or not all(content["value"] for content in table["content"]):
        return said(400, {"errors": [{"message": "must be at least one character", "field": "content"}]})
    shown = [_pair(box) for box in envelope["to"]]
    kinds = {"text/plain": "text", "text/html": "html", "text/x-amp-html": "amp"}
    places = [["text/plain", "text/x-amp-html", "text/html"].index(content["type"]) for content in table["content"]]
    assert places == sorted(places), "SendGrid wants text, AMP, html in this order"
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_pair(table["from"]),
        reply_to=[_pair(box) for box in table.get("reply_to_list", [])],
        subject=table["subject"],
        texts={kinds[content["type"]]: content["value"] for content in table["content"]},
        files=[_sendgrid_file(one) for one in table.get("attachments", [])],
        headers=list(table.get("headers", {}).items()),
        tags=table.get("categories", []),
        id=table.get("custom_args", {}).get("postroad_id", ""),
    )


def _sendgrid_file(one: Mapping[str, str]) -> File:
    data = base64.b64decode(one["content"], validate=True)
    return File(one["filename"], one["type"], data, one.get("content_id", ""), one["disposition"] == "inline")


def _sendgrid() -> Fake:
    def refusal(bad: str) -> Reply:
        error = {"message": "Does not contain a valid address.", "field": "personalizations.0.to.0.email", "help": None}
        return said(400, {"errors": [error]})

    return Fake(
        "sendgrid",
        {"provider": "sendgrid", "others": "hide"},
        _read_sendgrid,
        lambda number: Reply(202, b"", (("X-Message-Id", f"sg{number}"),)),
        refusal,
    )


# --- Postmark ---


def _mailbox(text: str) -> tuple[str, str]:
    (address,) = email.policy.default.header_factory("to", text).addresses
    return address.display_name, address.addr_spec


def _mailboxes(text: str) -> list[tuple[str, str]]:
    found = email.policy.default.header_factory("to", text).addresses
    return [(address.display_name, address.addr_spec) for address in found]


def _read_postmark(asked: Asked) -> Mail | Reply:
    if asked.headers.get("x-postmark-server-token") != SECRET:
        return said(401, {"ErrorCode": 10, "Message": "Request does not contain a valid Server token."})
    if asked.target != "/email":
        return said(404, {"ErrorCode": 404, "Message": "not found"})
    table = json.loads(asked.body)
    if not table.get("TextBody") and not table.get("HtmlBody"):
        return said(422, {"ErrorCode": 300, "Message": "Provide either email TextBody or HtmlBody or both."})
    shown = _mailboxes(table["To"])
    metadata = table.get("Metadata", {})
    id = metadata.pop("postroad_id", "")
    assert all(len(key) <= 20 and len(value) <= 80 for key, value in metadata.items())
    texts = {"text": table.get("TextBody"), "html": table.get("HtmlBody")}
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_mailbox(table["From"]),
        reply_to=_mailboxes(table["ReplyTo"]) if "ReplyTo" in table else [],
        subject=table.get("Subject", ""),
        texts={key: text for key, text in texts.items() if text is not None},
        files=[_postmark_file(one) for one in table.get("Attachments", [])],
        headers=[(one["Name"], one["Value"]) for one in table.get("Headers", [])],
        tags=[*([table["Tag"]] if "Tag" in table else []), *metadata.values()],
        id=id,
    )


def _postmark_file(one: Mapping[str, str]) -> File:
    cid = one.get("ContentID", "").removeprefix("cid:")
    return File(one["Name"], one["ContentType"], base64.b64decode(one["Content"], validate=True), cid, bool(cid))


def _postmark() -> Fake:
    def taken(number: int) -> Reply:
        return said(200, {"ErrorCode": 0, "Message": "OK", "MessageID": f"pm{number}", "To": "x", "SubmittedAt": "now"})

    def refusal(bad: str) -> Reply:
        return said(422, {"ErrorCode": 406, "Message": f"You tried to send to recipients marked as inactive: {bad}"})

    return Fake("postmark", {"provider": "postmark", "others": "hide"}, _read_postmark, taken, refusal)


# --- Mailjet ---


def _read_mailjet(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != _basic("pub11c"):
        return said(401, {"ErrorIdentifier": "x", "StatusCode": 401, "ErrorMessage": "API key authentication failure"})
    if asked.target != "/v3.1/send":
        return said(404, {"ErrorMessage": "not found"})
    (table,) = json.loads(asked.body)["Messages"]
    shown = [_pair(box, "Email", "Name") for box in table["To"]]
    texts = {"text": table.get("TextPart"), "html": table.get("HTMLPart")}
    files = [_mailjet_file(one, inline=False) for one in table.get("Attachments", [])]
    files += [_mailjet_file(one, inline=True) for one in table.get("InlinedAttachments", [])]
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_pair(table["From"], "Email", "Name"),
        reply_to=[_pair(table["ReplyTo"], "Email", "Name")] if "ReplyTo" in table else [],
        subject=table.get("Subject", ""),
        texts={key: text for key, text in texts.items() if text is not None},
        files=files,
        headers=list(table.get("Headers", {}).items()),
        tags=json.loads(table["EventPayload"])["tags"] if "EventPayload" in table else [],
        id=table.get("CustomID", ""),
    )


def _mailjet_file(one: Mapping[str, str], *, inline: bool) -> File:
    data = base64.b64decode(one["Base64Content"], validate=True)
    return File(one["Filename"], one["ContentType"], data, one.get("ContentID", ""), inline)


def _mailjet() -> Fake:
    def taken(number: int) -> Reply:
        to = [{"Email": "x@example.org", "MessageUUID": "u", "MessageID": number, "MessageHref": "h"}]
        return said(200, {"Messages": [{"Status": "success", "CustomID": "", "To": to, "Cc": [], "Bcc": []}]})

    def refusal(bad: str) -> Reply:
        error = {
            "ErrorIdentifier": "88b5ca9f",
            "ErrorCode": "mj-0013",
            "StatusCode": 400,
            "ErrorMessage": f'"{bad}" is an invalid email address.',
            "ErrorRelatedTo": ["To[0].Email"],
        }
        return said(400, {"Messages": [{"Status": "error", "Errors": [error]}]})

    settings = {"provider": "mailjet", "public_key": "pub11c", "others": "hide"}
    return Fake("mailjet", settings, _read_mailjet, taken, refusal)


MAKERS: Mapping[str, Callable[[], Fake]] = {
    "ses": _ses,
    "mailgun": _mailgun,
    "sendgrid": _sendgrid,
    "postmark": _postmark,
    "mailjet": _mailjet,
}
