"""Messages made from MIME: which fields they get, undecoded payloads, and strangers' mail that is not as it should be."""

from __future__ import annotations

import email
import email.policy
import io
from email.message import EmailMessage as StandardMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine import mail
from postroad.appengine.mime_in import decode_and_join_header

KINDS = (mail.EmailMessage, mail.AdminEmailMessage, mail.InboundEmailMessage)
PLAIN = "From: Zoe <z@example.com>\nTo: t@example.com\nSubject: s\nReply-To: r@example.com\n\nbody\n"


class Upload(io.BytesIO):
    """A file of octets, as web frameworks hand out."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: PLAIN,
        lambda: PLAIN.encode(),
        lambda: bytearray(PLAIN.encode()),
        lambda: io.StringIO(PLAIN),
        lambda: Upload(PLAIN.encode()),
        lambda: email.message_from_string(PLAIN),
        lambda: email.message_from_string(PLAIN, policy=email.policy.default),
    ],
)
def test_a_message_is_made_from_mime_in_any_form(kind: Any, make: Any) -> None:
    message = kind(make(), subject="keywords win")
    assert (message.sender, message.reply_to) == ("Zoe <z@example.com>", "r@example.com")
    assert message.subject == "keywords win"
    assert message.body == mail.EncodedPayload(b"body\n")
    assert hasattr(message, "to") == (kind is not mail.AdminEmailMessage)
    assert message.original.get_payload() == "body\n"
    assert type(message.sender) is str
    assert not hasattr(message, "html")


@pytest.mark.parametrize("nothing", [None, "", b""])
def test_without_mime_there_is_no_original(nothing: Any) -> None:
    with pytest.raises(AttributeError, match="this EmailMessage was not made from a MIME message"):
        _ = mail.EmailMessage(nothing).original
    assert not hasattr(mail.InboundEmailMessage(nothing), "original")


@pytest.mark.parametrize("nonsense", [3, ["a"], {"From": "a"}])
def test_what_is_no_mime_is_refused(nonsense: Any) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'read'"):
        mail.EmailMessage(nonsense)


def test_a_subclass_sees_what_is_taken_over() -> None:
    seen = list[Any]()

    class Watching(mail.EmailMessage):
        def update_from_mime_message(self, mime_message: Any) -> None:
            seen.append(mime_message)
            super().update_from_mime_message(mime_message)

    assert seen == [Watching(PLAIN).original]


def test_what_is_missing_stays_as_it_was() -> None:
    message = mail.EmailMessage(
        sender="s@example.com", to=["a@b", "c@d"], subject="", body="body", attachments=("a.txt", "")
    )
    message.update_from_mime_message("Subject: new\nReply-To:\nCc: \n\n")
    assert (message.sender, message.to, message.subject, message.body) == (
        "s@example.com",
        ["a@b", "c@d"],
        "new",
        "body",
    )
    assert message.attachments == ("a.txt", "")
    assert not hasattr(message, "reply_to")
    assert not hasattr(message, "cc")
    assert not hasattr(message, "original")


def test_one_header_is_a_text_and_several_are_a_list() -> None:
    message = mail.EmailMessage("To: a@b, c@d\nCc: e@f\nCC: =?utf-8?q?Zo=C3=AB?= <z@b>\nBcc: \nBcc: g@h\n\n")
    assert (message.to, message.cc, message.bcc) == ("a@b, c@d", ["e@f", "Zoë  <z@b>"], ["g@h"])


@pytest.mark.parametrize(
    ("header", "separator", "text"),
    [
        (None, " ", None),
        ("", " ", ""),
        ("plain", " ", "plain"),
        ("=?utf-8?q?Zo=C3=AB?= <z@b>", " ", "Zoë  <z@b>"),
        ("=?utf-8?q?Zo=C3=AB?= <z@b>", "", "Zoë <z@b>"),
        (
            "=?iso-8859-1?b?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\n =?iso-8859-2?b?dSB1bmRlcnN0YW5k?=",
            "",
            "If you can read this you understand",
        ),
        ("x =?latin-1?q?=e9?= y", " ", "x  é  y"),
        ("=?utf-8?q?=ff?=", " ", "\ufffd"),
        ("=?nobody?q?Zo=C3=AB?=", " ", "Zoë"),
        ("=?nobody?q?=ff?=", " ", "ÿ"),
        ("=?utf-8?b?a?= b", " ", "=?utf-8?b?a?= b"),
        ("ä =?utf-8?q?b?=", " ", "ä  b"),
    ],
)
def test_headers_are_decoded_and_whatever_cannot_be_stays(header: str | None, separator: str, text: str | None) -> None:
    assert decode_and_join_header(header, separator) == text


@pytest.mark.parametrize(("octets", "text"), [(b"Zo\xc3\xab", "Zoë"), (b"Zo\xeb", "Zoë")])
def test_octets_in_a_header_that_names_no_charset_are_guessed(octets: bytes, text: str) -> None:
    message = mail.InboundEmailMessage(
        b"Subject: " + octets + b"\nFrom: " + octets + b" <z@b>\nTo: " + octets + b"\n\n"
    )
    assert (message.subject, message.sender, message.to) == (text, f"{text} <z@b>", text)


def multipart() -> MIMEMultipart:
    alternatives = MIMEMultipart("alternative", _subparts=[MIMEText("plain 1"), MIMEText("html 1", "html")])
    named = MIMEApplication(b"\x00\xff", Name="by name.bin")
    disposed = MIMEText("text", "plain")
    disposed.add_header("Content-Disposition", "attachment", filename=("utf-8", "", "Zoë.txt"))
    disposed["Content-ID"] = "<id>"
    rest = [MIMEText("", "plain"), MIMEText("plain 2"), MIMEText("html 2", "html"), MIMEText("xml", "xml")]
    return MIMEMultipart("mixed", _subparts=[alternatives, named, disposed, *rest])


@pytest.mark.parametrize("kind", [mail.EmailMessage, mail.AdminEmailMessage])
def test_of_several_bodies_the_last_of_a_kind_wins(kind: Any) -> None:
    message = kind(multipart())
    assert (message.body.decode(), message.html.decode()) == ("plain 2", "html 2")
    assert not hasattr(message, "alternate_bodies")


def test_an_inbound_message_keeps_every_body() -> None:
    message = mail.InboundEmailMessage(multipart())
    assert [(kind, payload.decode()) for kind, payload in message.bodies()] == [
        ("text/html", "html 1"),
        ("text/plain", "plain 1"),
        ("text/plain", "plain 2"),
        ("text/html", "html 2"),
        ("text/xml", "xml"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_with_names_are_attachments(kind: Any) -> None:
    message = kind(multipart())
    by_name, disposed = message.attachments
    assert by_name == ("by name.bin", mail.EncodedPayload(b"AP8=\n", None, "base64"))
    assert by_name.payload.decode() == b"\x00\xff"
    assert disposed == ("Zoë.txt", mail.EncodedPayload(b"text", "us-ascii", "7bit"), "<id>")
    request = mail.EmailMessage(multipart(), sender="s@example.com", to="t@example.com").ToProto()
    assert [(part.FileName, part.Data, part.ContentID) for part in request.Attachment] == [
        ("by name.bin", b"\x00\xff", ""),
        ("Zoë.txt", b"text", "<id>"),
    ]


@pytest.mark.parametrize(
    "present", [("a.txt", "b"), ["a.txt", "b"], [("a.txt", "b")], (("a.txt", "b"),), mail.Attachment("a.txt", "b")]
)
def test_attachments_are_added_to_those_that_are_there(present: Any) -> None:
    message = mail.EmailMessage(attachments=present)
    message.update_from_mime_message(multipart())
    assert [name for name, _ in message.attachments] == ["a.txt", "by name.bin", "Zoë.txt"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('Content-Type: image/png; name="a b.png"', "a b.png"),
        ("Content-Type: image/png; name*=utf-8''Zo%C3%AB.png", "Zoë.png"),
        ('Content-Type: image/png; name="a.png"\nContent-Disposition: inline; filename="b.png"', "b.png"),
        ('Content-Type: image/png; name="a.png"\nContent-Disposition: attachment; filename=""', "a.png"),
        ("Content-Disposition: attachment; filename*=\"GB2312''%D5%D5%C6%AC.txt\"", "照片.txt"),
        ("Content-Disposition: attachment", None),
        ('Content-Disposition: attachment; filename=""', None),
    ],
)
def test_the_name_of_an_attachment(header: str, name: str | None) -> None:
    message = mail.InboundEmailMessage(f"{header}\n\ncontent")
    assert [found for found, _ in getattr(message, "attachments", [])] == ([] if name is None else [name])
    assert len(list(message.bodies())) == (1 if name is None else 0)


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        (b"Content-Type: text/plain; charset=utf-8\n\nZo\xc3\xab", mail.EncodedPayload(b"Zo\xc3\xab", "utf-8")),
        (b"Content-Type: text/plain; charset=latin-1\n\nZo\xeb\xff", mail.EncodedPayload(b"Zo\xeb\xff", "latin-1")),
        (b"\n\xff\x00", mail.EncodedPayload(b"\xff\x00")),
        ("Content-Type: text/plain; charset=latin-1\n\nZoë", mail.EncodedPayload(b"Zo\xeb", "latin-1")),
        ("Content-Type: text/plain; charset=ascii\n\nZoë", mail.EncodedPayload("Zoë".encode(), "ascii")),
        ("Content-Type: text/plain; charset=nobody\n\nZoë", mail.EncodedPayload("Zoë".encode(), "nobody")),
        ("\nZoë€", mail.EncodedPayload("Zoë€".encode())),
        ("Content-Transfer-Encoding: BASE64\n\nYQ==\n", mail.EncodedPayload(b"YQ==\n", None, "BASE64")),
    ],
)
def test_a_payload_keeps_its_octets(source: str | bytes, payload: mail.EncodedPayload) -> None:
    assert mail.InboundEmailMessage(source).body == payload


def test_date_and_id_are_as_they_stand_in_the_header() -> None:
    message = mail.InboundEmailMessage("Date: whenever\nMessage-Id: =?utf-8?q?a?= b\nReferences: x\n\n")
    assert (message.date, message.message_id) == ("whenever", "=?utf-8?q?a?= b")
    assert not hasattr(message, "headers")
    assert not hasattr(mail.InboundEmailMessage("Date:\n\n"), "date")


@pytest.mark.parametrize("length", ["9", 9])
def test_an_inbound_message_is_read_from_a_request(length: Any) -> None:
    environ = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"From: a\n\nb")}
    assert mail.InboundEmailMessage.from_environ(environ).original.as_bytes() == b"From: a\n\n"


@pytest.mark.parametrize("length", [None, "", "x", "-1", "0"])
def test_a_request_without_a_length_is_empty(length: Any) -> None:
    environ = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"From: a\n\nb")}
    message = mail.InboundEmailMessage.from_environ(environ)
    assert not hasattr(message, "sender")
    assert not hasattr(message, "original")


def test_from_environ_makes_the_class_it_is_called_of() -> None:
    class Own(mail.InboundEmailMessage):
        pass

    assert type(Own.from_environ({"CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()})) is Own


def test_a_message_of_the_standard_library_comes_over_whole() -> None:
    standard = StandardMessage()
    standard["From"] = "Zoë <z@example.com>"
    standard["To"] = "t@example.com"
    standard["Subject"] = "Grüße"
    standard.set_content("Größe\n")
    standard.add_alternative("<p>Größe</p>\n", subtype="html")
    standard.add_attachment(b"\x00\xff", maintype="application", subtype="pdf", filename="Zoë.pdf")
    for source in (standard, standard.as_bytes()):
        request = mail.EmailMessage(source).ToProto()
        assert (request.Sender.replace("  ", " "), list(request.To)) == ("Zoë <z@example.com>", ["t@example.com"])
        assert (request.Subject, request.TextBody, request.HtmlBody) == ("Grüße", "Größe\n", "<p>Größe</p>\n")
        assert [(part.FileName, part.Data) for part in request.Attachment] == [("Zoë.pdf", b"\x00\xff")]


@given(st.binary(max_size=200))
def test_any_octets_make_an_inbound_message(octets: bytes) -> None:
    message = mail.InboundEmailMessage(octets)
    for _, payload in message.bodies():
        assert isinstance(payload, mail.EncodedPayload)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["From", "To", "Cc", "Subject", "Reply-To", "Date", "Content-Type", "Content-Disposition"]),
        st.sampled_from(
            ["", " ", "a@b", "=?x?q?=ff?=", "=?utf-8?b?a?=", "multipart/mixed; boundary=b", "message/rfc822"]
        )
        | st.text(max_size=20),
    ),
    max_size=6,
)


@given(HEADERS, st.sampled_from(["", "text", "--b\n\n\xff\n--b\nContent-Type: message/rfc822\n\n\n--b--"]))
def test_any_headers_make_an_inbound_message(headers: list[tuple[str, str]], body: str) -> None:
    text = "".join(f"{name}: {' '.join(value.split())}\n" for name, value in headers) + "\n" + body
    for source in (text, text.encode("utf-8", "surrogatepass")):
        message = mail.InboundEmailMessage(source)
        assert set(vars(message)) <= message.PROPERTIES | {"_original"}


@pytest.mark.parametrize(
    "source",
    [
        b"Subject: =?idna?q?xn--?=\n\nx",  # a charset that Python has, and that replaces nothing
        "Subject: x\n\n\u00e9\udcff",  # a text with octets in it, as a file that was opened with surrogateescape gives it
    ],
)
def test_no_charset_and_no_octet_keeps_a_message_from_being_made(source: Any) -> None:
    assert [kind for kind, _ in mail.InboundEmailMessage(source).bodies()] == ["text/plain"]
