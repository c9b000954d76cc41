"""BounceNotification, from every form that web frameworks hand out, and from a request."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine import mail, posted

RAW = "From: Zoë <z@example.com>\nSubject: raw\n\nthe body\n"
FIELDS = {
    "original-to": "t@example.com",
    "original-from": "s@example.com",
    "original-subject": "Grüße",
    "original-text": "first\nsecond",
    "notification-from": "mailer-daemon@example.com",
    "notification-text": "",
}
ORIGINAL = {
    "to": "t@example.com",
    "cc": "",
    "bcc": "",
    "from": "s@example.com",
    "subject": "Grüße",
    "text": "first\nsecond",
}


def multipart(fields: list[tuple[str, str | bytes]], heads: str = "", end: str = "\r\n") -> bytes:
    parts = [
        f'--B{end}Content-Disposition: form-data; name="{name}"{end}{heads}{end}'.encode()
        + (value if isinstance(value, bytes) else value.encode())
        + end.encode()
        for name, value in fields
    ]
    return b"".join(parts) + f"--B--{end}".encode()


def request(octets: bytes, kind: str = "multipart/form-data; boundary=B") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "original-to=query",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(octets)),
        "wsgi.input": io.BytesIO(octets),
    }


def test_missing_fields_are_empty() -> None:
    bounce = mail.BounceNotification({})
    assert bounce.original == bounce.notification == dict.fromkeys(ORIGINAL, "")
    assert isinstance(bounce.original_raw_message, mail.InboundEmailMessage)
    assert not hasattr(bounce.original_raw_message, "sender")


@pytest.mark.parametrize("raw", [RAW, RAW.encode(), [RAW], [RAW.encode()], (RAW,), io.StringIO(RAW)])
def test_the_raw_message_is_whole_in_every_form(raw: Any) -> None:
    bounce = mail.BounceNotification({**FIELDS, "raw-message": raw})
    assert bounce.original == ORIGINAL
    assert bounce.notification["from"] == "mailer-daemon@example.com"
    assert bounce.original_raw_message.subject == "raw"
    assert bounce.original_raw_message.body.decode() == b"the body\n"


def test_fields_in_lists_stay_lists() -> None:
    """As in the original: an application that takes `["to"][0]` goes on to work."""
    bounce = mail.BounceNotification({"original-to": ["a@b"], "raw-message": []})
    assert bounce.original["to"] == ["a@b"]


def test_two_raw_messages_are_refused() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # its text is compared
        mail.BounceNotification({"raw-message": [RAW, RAW]})
    assert str(raised.value) == 'Multiple values found for "raw-message" in post_vars. Expected single value.'
    with pytest.raises(ValueError, match="Multiple values"):
        mail.BounceNotification.from_environ(request(multipart([("raw-message", RAW), ("raw-message", RAW)])))


@pytest.mark.parametrize("name", ["original", "notification", "original_raw_message"])
def test_what_it_says_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(mail.BounceNotification({}), name, {})


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("heads", ["", "Content-Type: text/plain; charset=utf-8{end}"])
def test_a_multipart_request(end: str, heads: str) -> None:
    octets = multipart([*FIELDS.items(), ("raw-message", RAW)], heads.format(end=end), end)
    bounce = mail.BounceNotification.from_environ(request(b"preamble" + end.encode() + octets + b"epilogue"))
    assert bounce.original == ORIGINAL
    assert bounce.notification["text"] == ""
    assert (
        bounce.original_raw_message.original.as_string() == mail.InboundEmailMessage(RAW.encode()).original.as_string()
    )


def test_an_urlencoded_request() -> None:
    octets = urlencode({**FIELDS, "raw-message": RAW}).encode()
    bounce = mail.BounceNotification.from_environ(request(octets, "application/x-www-form-urlencoded"))
    assert bounce.original == ORIGINAL
    assert bounce.original_raw_message.body.decode() == b"the body\n"


@pytest.mark.parametrize(
    ("head", "octets", "text"),
    [
        ("Content-Type: text/plain; charset=iso-8859-1", b"Zo\xeb", "Zoë"),
        ("Content-Type: text/plain; charset=nobody", b"Zo\xc3\xab", "Zoë"),
        ("Content-Type: text/plain", b"Zo\xeb", "Zo\ufffd"),
        ("Content-Transfer-Encoding: base64", b"Wm/Dqw==", "Zoë"),
        ("Content-Transfer-Encoding: quoted-printable", b"Zo=C3=AB", "Zoë"),
    ],
)
def test_parts_name_their_charset_and_encoding(head: str, octets: bytes, text: str) -> None:
    body = multipart([("original-text", octets)], head + "\r\n")
    assert mail.BounceNotification.from_environ(request(body)).original["text"] == text


def test_a_raw_message_keeps_its_octets() -> None:
    raw = b"Content-Type: text/plain; charset=latin-1\r\n\r\nZo\xeb\r\n\r\n--B? no\r\n"
    for head in (
        "",
        "Content-Type: text/plain; charset=utf-8\r\n",
        'X: y\r\nContent-Type: message/rfc822; name="a.eml"\r\n',
    ):
        bounce = mail.BounceNotification.from_environ(request(multipart([("raw-message", raw)], head)))
        assert bounce.original_raw_message.body.payload == b"Zo\xeb\r\n\r\n--B? no\r\n"


@pytest.mark.parametrize(
    "environ",
    [
        request(b"", "multipart/form-data"),
        request(b"--B\r\nno field\r\n--B--", "multipart/form-data; boundary=B"),
        request(b"--B\r\n\r\nno name\r\n--B--", "multipart/form-data; boundary=B"),
        request(b"--B\r\nContent-Disposition: form-data; name=original-to\r\n\r\nit does not end"),
        request(b"\xff\xfe", "text/plain"),
        {"wsgi.input": io.BytesIO(b"--B")},
    ],
)
def test_what_is_no_form_has_no_fields(environ: dict[str, Any]) -> None:
    assert mail.BounceNotification.from_environ(environ).original == dict.fromkeys(ORIGINAL, "")


def test_a_request_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = multipart([("original-to", "a@b")])
    monkeypatch.setattr(posted, "POSTED_OCTETS_MAX", len(octets))
    assert mail.BounceNotification.from_environ(request(octets)).original["to"] == "a@b"
    monkeypatch.setattr(posted, "POSTED_OCTETS_MAX", len(octets) - 1)
    environ = request(octets)
    with pytest.raises(ValueError, match="too large"):
        mail.BounceNotification.from_environ(environ)
    assert environ["wsgi.input"].tell() == 0
    with pytest.raises(ValueError, match="too large"):
        mail.InboundEmailMessage.from_environ(request(octets))


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=B", "application/x-www-form-urlencoded"])
def test_a_form_has_a_bounded_number_of_fields(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posted, "FIELDS_MAX", 3)
    for count in (3, 4):
        pairs = [(f"f{number}", "a") for number in range(count)]
        environ = request(multipart([*pairs]) if "multipart" in kind else urlencode(pairs).encode(), kind)
        if count == 3:
            assert len(posted.posted_fields(environ)) == 3
        else:
            with pytest.raises(ValueError, match="fields"):
                posted.posted_fields(environ)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=30)), max_size=4),
    st.sampled_from(["\r\n", "\n"]),
)
def test_files_come_as_they_were_posted(files: list[tuple[str, bytes]], end: str) -> None:
    files = [(name, octets) for name, octets in files if b"--B" not in octets and not octets.endswith(b"\r")]
    octets = multipart([*files], f"Content-Type: application/octet-stream{end}", end).replace(
        b'name="a"', b'name="a"; filename=f'
    )
    octets = octets.replace(b'name="b"', b'name="b"; filename=f')
    found = posted.posted_fields(request(octets))
    for name in ("a", "b"):
        values = [value for its_name, value in files if its_name == name]
        assert found.get(name, []) == (values[0] if len(values) == 1 else values)
