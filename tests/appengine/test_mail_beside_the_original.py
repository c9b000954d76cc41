"""The mail API beside the original, where that can be imported: the same values give the same fields, errors and MIME.

What differs on purpose is left out of the values, and listed in docs/appengine.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.appengine import mail
from postroad.appengine import settings as mail_settings

original: Any = pytest.importorskip("google.appengine.api.mail")
pytestmark = pytest.mark.filterwarnings("default")  # those of the original are its own


@dataclass(frozen=True)
class Payload:
    """An EncodedPayload, before it is known of which of the two."""

    octets: bytes
    charset: str | None
    encoding: str | None


@dataclass(frozen=True)
class File:
    """An Attachment, likewise."""

    name: Any
    payload: Any
    content_id: str | None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ADDRESS = st.sampled_from(["a@b.c", "Jörg <a@b>", "", " ", "x, y", " a ", "not an address", "ä@ö"]) | TEXT.map(
    lambda text: text.translate(dict.fromkeys(map(ord, '",<>()\\'), "x"))  # these are split with more care here
)
WRONG = st.sampled_from([None, 3, True, [], b"a@b", {}, (), 0, ""])
RECIPIENTS = ADDRESS | st.lists(ADDRESS | WRONG, max_size=3) | st.lists(ADDRESS, max_size=3).map(tuple) | WRONG
PAYLOAD = st.builds(
    Payload,
    st.binary(max_size=8) | st.sampled_from([b"YQ==", b"a=3D", b"caf\xc3\xa9"]),
    st.sampled_from([None, "utf-8", "ascii", "latin-1", "strange", "7bit", "", "utf-16"]),
    st.sampled_from([None, "base64", "quoted-printable", "7bit", "8BIT", "zip", "strange", "rot13", "hex", ""]),
)
BODY = TEXT | PAYLOAD
NAME = (
    st.sampled_from(["a.txt", "a.EXE", "x.tar.gz", "none", ".bat", "é.png", "d/e.pdf", 'a"b.txt', "a.", "", b"a.txt"])
    | TEXT
)
FILE = st.tuples(NAME, st.binary(max_size=6) | BODY) | st.builds(
    File, NAME, st.binary(max_size=6) | BODY, st.sampled_from([None, "<x>", "", "é"])
)
FILES = FILE | st.lists(FILE, max_size=3) | WRONG | st.tuples(NAME) | st.lists(st.tuples(NAME, TEXT, TEXT), max_size=2)
HEADERS = WRONG | st.dictionaries(
    st.sampled_from(["References", "List-Id", "list-id", "X-Other", "é-H", 3]), TEXT | st.just(3), max_size=3
)
FIELDS = {
    "sender": ADDRESS | WRONG,
    "reply_to": ADDRESS | WRONG,
    "to": RECIPIENTS,
    "cc": RECIPIENTS,
    "bcc": RECIPIENTS,
    "subject": TEXT,
    "body": BODY,
    "html": BODY,
    "amp_html": BODY,
    "attachments": FILES,
    "headers": HEADERS,
    "nothing": WRONG | TEXT,
    "date": TEXT,
    "message_id": TEXT,
}
SETTINGS = st.lists(st.one_of(*[st.tuples(st.just(name), values) for name, values in FIELDS.items()]), max_size=8).map(
    lambda settings: [("sender", "s@example.com"), ("to", "t@example.com"), *settings]
)
KINDS = st.sampled_from(["EmailMessage", "AdminEmailMessage", "InboundEmailMessage"])


def made(module: Any, value: Any) -> Any:
    """A value with the classes of a module."""
    if isinstance(value, Payload):
        return module.EncodedPayload(value.octets, value.charset, value.encoding)
    if isinstance(value, File):
        return module.Attachment(value.name, made(module, value.payload), content_id=value.content_id)
    if isinstance(value, (list, tuple)):
        return type(value)(made(module, one) for one in value)
    return value


def plain(value: Any) -> Any:
    """A value without any class of either module."""
    if type(value).__name__ == "EncodedPayload":
        return value.payload, value.charset, value.encoding
    if type(value).__name__ == "Attachment":
        return plain(value.filename), plain(value.payload), value.content_id
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def outcome(act: Callable[[], Any]) -> tuple[str, Any]:
    """What an act gives, or the type and text of its error; TypeErrors of Python and of protobuf have texts of their own."""
    try:
        return "gives", act()
    except Exception as error:
        if isinstance(error, UnicodeError):
            return "PayloadEncodingError", ""  # a body that is no text: an error of the API here
        is_worded_here = isinstance(error, TypeError) or "Could read characters: 'utf-8'" in str(error)
        return type(error).__name__, "" if is_worded_here else str(error)


def headers_and_payloads(message: Any) -> Any:
    headers = [(name, str(value)) for name, value in message.items()]
    parts = message.get_payload()
    if message.is_multipart():
        return headers, [headers_and_payloads(part) for part in parts]
    return headers, parts, message.get_payload(decode=True)


def life(module: Any, kind: str, values: list[tuple[str, Any]]) -> list[Any]:
    message = getattr(module, kind)()
    seen: list[Any] = [outcome(lambda one=one: setattr(message, one[0], made(module, one[1]))) for one in values]
    seen.append({name: plain(value) for name, value in vars(message).items()})
    seen.append(outcome(message.check_initialized))
    seen.append(outcome(message.is_initialized))
    seen.append(outcome(lambda: message.ToProto().SerializeToString()))
    seen.append(outcome(lambda: headers_and_payloads(message.to_mime_message())))
    seen.append(plain(list(message.bodies())))
    return seen


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(kind=KINDS, values=SETTINGS)
def test_the_same_values_give_the_same_fields_errors_requests_and_mime(
    kind: str, values: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_settings, "strict_headers", True)
    assert life(mail, kind, values) == life(original, kind, values)


SOURCE_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Date", "Message-ID", "X-Other", "References"]
        ),
        st.sampled_from(
            ["a@b", "=?utf-8?q?J=C3=B6rg?= <a@b>", "x =?utf-8?q?y?= z", "two,\n words", "text", "=?utf-8?q?=ff?="]
        ),
    ),
    max_size=6,
)
PARTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["", "Content-Type: text/html\n", "Content-Type: image/png; name=x.png\n", "Content-Type: text/xml\n"]
        ),
        st.sampled_from(
            ["", "Content-Disposition: attachment; filename=q.txt\nContent-ID: <i>\n", "Content-Disposition: inline\n"]
        ),
        st.sampled_from(["", "Content-Transfer-Encoding: base64\n", "Content-Transfer-Encoding: quoted-printable\n"]),
        st.sampled_from(["", "YQ==\n", "a=3Db\n"]),
    ),
    max_size=4,
)


def mime_of(headers: list[tuple[str, str]], parts: list[tuple[str, ...]]) -> str:
    head = "".join(f"{name}: {value}\n" for name, value in headers)
    body = "".join(f"--B\n{kind}{place}{encoding}\n{content}\n" for kind, place, encoding, content in parts)
    return f"{head}Content-Type: multipart/mixed; boundary=B\n\n{body}--B--\n"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(KINDS, SOURCE_HEADERS, PARTS)
def test_the_same_mime_gives_the_same_fields(
    kind: str, headers: list[tuple[str, str]], parts: list[tuple[str, ...]]
) -> None:
    source = mime_of(headers, parts)
    seen: list[Any] = []
    for module in (mail, original):
        message = getattr(module, kind)(source)
        fields = {name: plain(value) for name, value in vars(message).items() if not name.startswith("_")}
        seen.append((fields, plain(list(message.bodies())), message.original.as_string()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["EXTENSION_BLACKLIST", "EXTENSION_MIME_MAP", "HEADER_WHITELIST"])
def test_the_tables_are_the_originals(name: str) -> None:
    assert getattr(mail, name) == getattr(original, name)


def test_every_public_name_of_the_original_exists() -> None:
    imported = {
        "MIMEBase",
        "MIMEMultipart",
        "MIMEText",
        "MutableMapping",
        "api_base_pb2",
        "apiproxy_stub_map",
        "binascii",
        "cgi",
    }
    imported |= {"codecs", "email", "functools", "map", "parser", "six", "typing", "users", "wrapping"}
    names = {name for name in vars(original) if not name.startswith("_")} - imported
    assert sorted(name for name in names if not hasattr(mail, name)) == []
