"""A fake of each provider, written from its public documentation and knowing nothing of the transport: it checks what a
request must have, answers as documented, and reads the mail back out of it.

An address that begins with "refused" is refused, in the provider's own way.
"""

from __future__ import annotations

import base64
import email
import email.header
import email.policy
import json
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fakes_of_batches
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
    several: Callable[[Asked, Callable[[Asked], Reply]], Reply | None] | None = None

    def answer(self, asked: Asked) -> Reply:
        together = self.several(asked, self.answer_to_one) if self.several else None
        return together or self.answer_to_one(asked)

    def answer_to_one(self, asked: Asked) -> Reply:
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
    return File(one["filename"], one["type"], data, one.get("content_id", ""), one.get("disposition") == "inline")


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

    settings = {"provider": "postmark", "others": "hide"}
    return Fake("postmark", settings, _read_postmark, taken, refusal, several=fakes_of_batches.postmark)


# --- Mailjet ---


def _read_mailjet(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != _basic("pub11c"):
        return said(401, {"ErrorIdentifier": "x", "StatusCode": 401, "ErrorMessage": "API key authentication failure"})
    if asked.target != "/v3.1/send":
        return said(404, {"ErrorMessage": "not found"})
    asked_for = json.loads(asked.body)
    (message,) = asked_for["Messages"]
    table = {**asked_for.get("Globals", {}), **message}
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
    return Fake("mailjet", settings, _read_mailjet, taken, refusal, several=fakes_of_batches.mailjet)


# --- Resend ---


def _read_resend(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != f"Bearer {SECRET}":
        return said(403, {"statusCode": 403, "name": "invalid_api_key", "message": "API key is invalid"})
    if asked.target != "/emails":
        return said(404, {"statusCode": 404, "name": "not_found", "message": "The requested endpoint does not exist."})
    if not 1 <= len(asked.headers["idempotency-key"]) <= 256:
        return said(400, {"statusCode": 400, "name": "invalid_idempotency_key", "message": "1 to 256 characters"})
    table = json.loads(asked.body)
    tags = {tag["name"]: tag["value"] for tag in table.get("tags", [])}
    id = tags.pop("postroad_id", "")
    shown = [_mailbox(box) for box in table["to"]]
    texts = {"text": table.get("text"), "html": table.get("html")}
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_mailbox(table["from"]),
        reply_to=[_mailbox(box) for box in table.get("reply_to", [])],
        subject=table["subject"],
        texts={key: text for key, text in texts.items() if text is not None},
        files=[_resend_file(one) for one in table.get("attachments", [])],
        headers=list(table.get("headers", {}).items()),
        tags=list(tags.values()),
        id=id,
    )


def _resend_file(one: Mapping[str, str]) -> File:
    data, cid = base64.b64decode(one["content"], validate=True), one.get("content_id", "")
    return File(one["filename"], one["content_type"], data, cid, bool(cid))


def _resend() -> Fake:
    def refusal(bad: str) -> Reply:
        return said(422, {"statusCode": 422, "name": "validation_error", "message": f"Invalid `to` field: {bad}"})

    settings = {"provider": "resend", "others": "hide"}
    taken = lambda number: said(200, {"id": f"re{number}"})  # noqa: E731 - as the others have it
    return Fake("resend", settings, _read_resend, taken, refusal, several=fakes_of_batches.resend)


def _kind(name: str) -> str:
    """What a provider takes a file for that has only its name."""
    return mimetypes.guess_type("file." + name.rpartition(".")[2])[0] or ""


# --- Brevo ---


def _decoded(pair: tuple[str, str]) -> tuple[str, str]:
    return str(email.header.make_header(email.header.decode_header(pair[0]))), pair[1]


def _read_brevo(asked: Asked) -> Mail | Reply:
    if asked.headers.get("api-key") != SECRET:
        return said(401, {"code": "unauthorized", "message": "Key not found"})
    if asked.target != "/v3/smtp/email":
        return said(404, {"code": "document_not_found", "message": "not found"})
    table = json.loads(asked.body)
    headers = table.get("headers", {})
    id = headers.pop("X-Mailin-custom", "")
    shown = [_decoded(_pair(box)) for box in table["to"]]
    texts = {"text": table.get("textContent"), "html": table.get("htmlContent")}
    files = [
        File(
            one["name"],
            _kind(one["name"]),
            base64.b64decode(one["content"], validate=True),
        )
        for one in table.get("attachment", [])
    ]
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_decoded(_pair(table["sender"])),
        reply_to=[_decoded(_pair(table["replyTo"]))] if "replyTo" in table else [],
        subject=table["subject"],
        texts={key: text for key, text in texts.items() if text is not None},
        files=files,
        headers=list(headers.items()),
        tags=table.get("tags", []),
        id=id,
    )


def _brevo() -> Fake:
    return Fake(
        "brevo",
        {"provider": "brevo", "others": "hide"},
        _read_brevo,
        lambda number: said(201, {"messageId": f"<{number}@smtp-relay.mailin.fr>"}),
        lambda bad: said(400, {"code": "invalid_parameter", "message": f"email is not valid in to: {bad}"}),
    )


# --- SparkPost ---


def _read_sparkpost(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != SECRET:
        return said(401, {"errors": [{"message": "Unauthorized."}]})
    if asked.target != "/api/v1/transmissions":
        return said(404, {"errors": [{"message": "Resource could not be found"}]})
    table = json.loads(asked.body)
    recipients = table["recipients"]
    assert set(table["content"]) == {"email_rfc822"}, "no other content goes beside a whole message"
    return Mail(
        [recipient["address"]["email"] for recipient in recipients],
        table["content"]["email_rfc822"].encode("ascii"),
        tags=recipients[0].get("tags", []),
        id=table.get("metadata", {}).get("postroad_id", ""),
    )


def _sparkpost() -> Fake:
    def taken(number: int) -> Reply:
        results = {"total_rejected_recipients": 0, "total_accepted_recipients": 1, "id": f"{number}"}
        return said(200, {"results": results})

    def refusal(bad: str) -> Reply:
        error = {"message": "Message generation rejected", "description": f"suppressed: {bad}", "code": "1902"}
        return said(400, {"errors": [error]})

    return Fake("sparkpost", {"provider": "sparkpost"}, _read_sparkpost, taken, refusal)


# --- MailerSend ---


def _read_mailersend(asked: Asked) -> Mail | Reply:
    if asked.headers.get("authorization") != f"Bearer {SECRET}":
        return said(401, {"message": "Unauthenticated."})
    if asked.target != "/v1/email":
        return said(404, {"message": "not found"})
    table = json.loads(asked.body)
    shown = [_pair(box) for box in table["to"]]
    texts = {"text": table.get("text"), "html": table.get("html")}
    tags = table.get("tags", [])
    assert len(tags) <= 5
    return Mail(
        [address for _, address in shown],
        shown=shown,
        author=_pair(table["from"]),
        reply_to=[_pair(table["reply_to"])] if "reply_to" in table else [],
        subject=table["subject"],
        texts={key: text for key, text in texts.items() if text is not None},
        files=[_mailersend_file(one) for one in table.get("attachments", [])],
        headers=[(one["name"], one["value"]) for one in table.get("headers", [])],
        tags=[tag for tag in tags if not tag.startswith("postroad_id:")],
        id="".join(tag.removeprefix("postroad_id:") for tag in tags if tag.startswith("postroad_id:")),
    )


def _mailersend_file(one: Mapping[str, str]) -> File:
    kind, data = (
        _kind(one["filename"]),
        base64.b64decode(one["content"], validate=True),
    )
    return File(one["filename"], kind, data, one.get("id", ""), one["disposition"] == "inline")


def _mailersend() -> Fake:
    def refusal(bad: str) -> Reply:
        errors = {"to.0.email": [f"The to.0.email must be a valid email address, {bad} is none."]}
        return said(422, {"message": "The given data was invalid.", "errors": errors})

    return Fake(
        "mailersend",
        {"provider": "mailersend", "others": "hide"},
        _read_mailersend,
        lambda number: Reply(202, b"", (("X-Message-Id", f"ms{number}"),)),
        refusal,
    )


# --- Mandrill ---


def _read_mandrill(asked: Asked) -> Mail | Reply:
    table = json.loads(asked.body)
    if table.get("key") != SECRET:
        return said(500, {"status": "error", "code": -1, "name": "Invalid_Key", "message": "Invalid API key"})
    if asked.target != "/api/1.0/messages/send-raw":
        return said(404, {"status": "error", "code": -1, "name": "Unknown_URL", "message": "no such"})
    head, _, rest = table["raw_message"].encode("ascii").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    orders = dict(line.decode().split(": ", 1) for line in lines if line.startswith(b"X-MC-"))
    assert orders["X-MC-PreserveRecipients"] == "true"
    kept = b"\r\n".join(line for line in lines if not line.startswith(b"X-MC-"))
    return Mail(
        table["to"],
        kept + b"\r\n\r\n" + rest,
        tags=orders["X-MC-Tags"].split(",") if "X-MC-Tags" in orders else [],
        id=json.loads(orders.get("X-MC-Metadata", "{}")).get("postroad_id", ""),
    )


class _Mandrill(Fake):
    """It answers for each recipient, so that a refused one harms no other."""

    def answer_to_one(self, asked: Asked) -> Reply:
        found = self.read(asked)
        if isinstance(found, Reply):
            return found
        good = [address for address in found.to if not address.startswith("refused")]
        if good:
            self.mails.append(Mail(good, found.raw, tags=found.tags, id=found.id))
        rejected = {"status": "rejected", "reject_reason": "hard-bounce"}
        sent = {"status": "sent", "reject_reason": None}
        return said(200, [{"email": each, "_id": "a1", **(sent if each in good else rejected)} for each in found.to])


def _mandrill() -> Fake:
    unused: Any = None
    return _Mandrill("mandrill", {"provider": "mandrill"}, _read_mandrill, unused, unused)


MAKERS: Mapping[str, Callable[[], Fake]] = {
    "ses": _ses,
    "mailgun": _mailgun,
    "sendgrid": _sendgrid,
    "postmark": _postmark,
    "mailjet": _mailjet,
    "resend": _resend,
    "brevo": _brevo,
    "sparkpost": _sparkpost,
    "mailersend": _mailersend,
    "mandrill": _mandrill,
}
