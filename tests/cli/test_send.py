"""`postroad send` while no engine runs; what it stores is read back through the spool."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from postroad.config import load_config
from postroad.offline import open_offline
from postroad.spool import SpoolPlace

ENVELOPE = ("--from", "Support <support@example.com>", "--to", "Albert <albert@example.org>")
RAW = b"From: a@example.com\nTo: b@example.org, C <c@example.org>\nBcc: d@example.org\nSubject: Hello\n\nHello.\n"


def content_of(command, id):
    config = load_config(command.file)
    place = SpoolPlace.parse(config.spool.url, config.resolved(""))
    with open_offline(place, config) as spool:
        content = spool._store.content(spool._store.message(id).handle)
        return content if isinstance(content, bytes) else (place.content_folder / content.name).read_bytes()


def message_of(command, id):
    return message_from_bytes(content_of(command, id), policy=policy.default)


def addresses(command, id):
    return [recipient["address"] for recipient in command.json("queue", "show", id)["recipients"]]


def test_fields_become_a_message_and_its_id_is_printed(command, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    (tmp_path / "page.html").write_text("<p>Grüße</p>", encoding="utf-8")
    id = command.ok(
        "send", *ENVELOPE, "--cc", "c@example.org", "--bcc", "d@example.org", "--reply-to", "r@example.com",
        "--subject", "Grüße", "--body", "Hello.", "--html", tmp_path / "page.html", "--attach", tmp_path / "a.bin",
        "--header", "X-Any: value: with colon", "--priority", "2", "--tag", "news", "--tag", "x",
    )  # fmt: skip
    message = message_of(command, id)
    assert message["From"].addresses[0].addr_spec == "support@example.com"
    assert (message["Subject"], message["X-Any"], message["Bcc"]) == ("Grüße", "value: with colon", None)
    assert message.get_body(("plain",)).get_content().strip() == "Hello."
    assert "Grüße" in message.get_body(("html",)).get_content()
    assert [(part.get_filename(), part.get_content()) for part in message.iter_attachments()] == [("a.bin", b"\0\1")]
    known = command.json("queue", "show", id)
    assert (known["priority"], known["tags"], known["sender"]) == (2, ["news", "x"], "support@example.com")
    assert addresses(command, id) == ["albert@example.org", "c@example.org", "d@example.org"]


def test_the_text_is_read_from_standard_input(command):
    id = command.json("send", *ENVELOPE, stdin="Größe\n".encode())["id"]
    assert message_of(command, id).get_content() == "Größe\r\n"


def test_text_that_is_not_utf8_is_refused(command):
    result = command.run("send", *ENVELOPE, stdin=b"Gr\xf6\xdfe")
    assert result.exit_code == 1
    assert "body: it is not UTF-8" in result.stderr


def test_a_whole_message_goes_to_whom_it_names(command):
    id = command.ok("send", "--raw", stdin=RAW)
    assert addresses(command, id) == ["b@example.org", "c@example.org", "d@example.org"]
    content = content_of(command, id)
    assert content.endswith(b"\r\n\r\nHello.\r\n")
    assert b"d@example.org" not in content


def test_an_envelope_given_beside_a_whole_message_counts(command):
    id = command.ok("send", "--raw", "--from", "Bounces <bounces@example.com>", "--to", "X <x@example.org>", stdin=RAW)
    assert addresses(command, id) == ["x@example.org"]
    assert command.json("queue", "show", id)["sender"] == "bounces@example.com"


def test_fields_beside_a_whole_message_are_a_mistake(command):
    result = command.run("send", "--raw", "--subject", "New", stdin=RAW)
    assert result.exit_code == 2
    assert "--subject cannot change" in result.stderr


def test_one_key_is_one_message(command):
    words = ("send", *ENVELOPE, "--body", "Hello.", "--key", "order-7")
    assert command.ok(*words) == command.ok(*words)
    other = command.run("send", *ENVELOPE, "--body", "Other.", "--key", "order-7")
    assert other.exit_code == 1
    assert "idempotency_key" in other.stderr


def test_a_later_moment_is_kept(command):
    id = command.ok("send", *ENVELOPE, "--body", "x", "--at", "+1h", "--expires", "+2h")
    known = command.json("queue", "show", id)
    assert known["send_at"] - known["accepted_at"] == pytest.approx(3600, abs=5)
    assert known["expires_at"] - known["send_at"] == pytest.approx(3600, abs=5)
    assert known["recipients"][0]["due"] == known["send_at"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "x@example.net", "--to", "b@example.org"), "sender: 'x@example.net' is not an authorized sender"),
        (("--from", "a@example.com"), "to: there is no recipient"),
        (("--from", "a@example.com", "--to", "nobody"), "to"),
        ((*ENVELOPE, "--subject", "a\nBcc: x@example.org"), "subject"),
        ((*ENVELOPE, "--subject", "\udcff"), "subject: it holds the character U+DCFF"),
        ((*ENVELOPE, "--header", "Bad Name: x"), "headers[Bad Name]"),
        ((*ENVELOPE, "--header", "X-A: a\rb"), "headers[X-A]"),
        ((*ENVELOPE, "--tag", "t" * 101), "tags[0]"),
        ((*ENVELOPE, "--expires", "1000000000"), "expires_at"),
        ((*ENVELOPE, "--attach", "missing"), "attach: the file 'missing' cannot be read: No such file"),
        ((*ENVELOPE, "--html", "missing"), "html: the file 'missing' cannot be read: No such file"),
        ((*ENVELOPE, "--attach", "/"), "attach: the file '/' cannot be read: Is a directory"),
    ],
)
def test_bad_input_is_told_by_its_field_and_stores_nothing(command, words, said):
    result = command.run("send", *words, "--body", "x")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"postroad: {said}")
    assert command.json("queue", "list") == []


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "b@example.org"),
        (*ENVELOPE, "--header", "no colon"),
        (*ENVELOPE, "--at", "soon"),
    ],
)
def test_a_wrong_option_is_told_by_click(command, words):
    assert command.run("send", *words, "--body", "x").exit_code == 2


def test_a_large_attachment_is_stored_in_a_file(command, tmp_path):
    (tmp_path / "large").write_bytes(bytes(400_000))
    id = command.ok("send", *ENVELOPE, "--body", "x", "--attach", tmp_path / "large")
    assert (tmp_path / "spool" / "postroad.db.content" / id).stat().st_size > 400_000


def test_a_message_over_the_limit_is_refused(command):
    command.configure("[limits]\nmessage_bytes = 2000\n[senders]\nauthorized = ['*']\n")
    for words, stdin in ((("send", "--raw"), RAW + b"x" * 2000), (("send", *ENVELOPE), b"x" * 3000)):
        result = command.run(*words, stdin=stdin)
        assert result.exit_code == 1
        assert "message_bytes" in result.stderr
