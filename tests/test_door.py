"""The door: what comes in is complete and checked; what does not is refused with the field's name and the remedy."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad import Attachment
from postroad.compose import MailFields
from postroad.config import load_config
from postroad.decide.admission import Refusal
from postroad.door import Door, hostname_of
from postroad.errors import NotAuthorized, PostroadError, QueueFull, SubmissionError, SubmissionTooLarge
from postroad.message import DsnOptions, Kind, Message, Submission
from postroad.store.contract import Tally
from postroad.store.states import State

NOW = 1_750_000_000.0
RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def door(lane_of=lambda sender, recipient, tags: "out", admit=None, **sections):
    raw = {
        "spool": {"url": "memory:"},
        "senders": {"authorized": ["a@example.com", "*@example.net"], "admins": ["ops@example.com"]},
        "reports": {"hostname": "engine.test"},
        **sections,
    }
    return Door(load_config(raw), lane_of, admit)


DOOR = door()
SMALL = door(limits={"message_bytes": 2000, "recipients": 3})


def prepared(at=DOOR, tally=Tally(), id=None, **fields):  # noqa: B008  # frozen
    given = {"sender": "a@example.com", "recipients": ["b@example.org"], "content": RAW, **fields}
    return at.prepare(Submission(**given), tally=tally, now=NOW, id=id)


def composed(at=DOOR, options=None, **fields):
    given = {"sender": "A <a@example.com>", "to": "b@example.org", "subject": "Hello", "body": "Hi", **fields}
    return at.compose(MailFields(**given), options or {}, tally=Tally(), now=NOW)


def refused(kind=SubmissionError, **fields):
    with pytest.raises(kind) as caught:
        prepared(**fields)
    assert isinstance(caught.value, PostroadError)
    assert isinstance(caught.value, ValueError)
    return caught.value


# --- what comes in ---


def test_a_submission_becomes_what_the_spool_keeps():
    accept = prepared(
        recipients=["b@Example.ORG", "c@example.org"],
        send_at=NOW + 60,
        expires_at=NOW + 3600,
        priority=2,
        tags=["x", "y"],
        report_to=["ops@example.com"],
        dsn=DsnOptions(notify=("failure", "delay"), ret="headers", envid="order-7"),
    )
    message = accept.message
    assert (message.sender, message.accepted_at, message.priority) == ("a@example.com", NOW, 2)
    assert (message.send_at, message.expires_at) == (NOW + 60, NOW + 3600)
    assert (message.tags, message.report_to) == (("x", "y"), ("ops@example.com",))
    assert message.dsn == DsnOptions(notify=("failure", "delay"), ret="headers", envid="order-7")
    assert message.kind is Kind.MAIL
    assert message.message_id == f"{message.id}@engine.test"
    assert message.size == len(accept.content)
    assert [(to.address, to.lane, to.due, to.state) for to in accept.recipients] == [
        ("b@example.org", "out", NOW + 60, State.WAITING),
        ("c@example.org", "out", NOW + 60, State.WAITING),
    ]
    assert accept.idempotency is None


def test_fields_become_the_same_kind_of_thing():
    accept = composed(cc=["c@example.org"], bcc="d@example.org", options={"priority": 0, "send_at": NOW - 60})
    assert (accept.message.sender, accept.message.priority) == ("a@example.com", 0)
    assert [to.address for to in accept.recipients] == ["b@example.org", "c@example.org", "d@example.org"]
    assert {to.due for to in accept.recipients} == {NOW}
    assert b"d@example.org" not in accept.content
    assert b"Message-ID: <" + accept.message.message_id.encode() + b">\r\n" in accept.content


def test_equal_recipients_are_kept_once_in_their_first_order():
    accept = prepared(recipients=["c@example.org", "b@example.org", "c@EXAMPLE.org", "C@example.org"])
    assert [to.address for to in accept.recipients] == ["c@example.org", "b@example.org", "C@example.org"]


def test_one_recipient_may_stand_for_a_list_of_one():
    assert [to.address for to in prepared(recipients="b@example.org").recipients] == ["b@example.org"]
    assert prepared(report_to="ops@example.com").message.report_to == ("ops@example.com",)
    assert prepared(tags="x").message.tags == ("x",)


def test_an_id_that_the_caller_minted_is_kept():
    assert prepared(id="01k0000000aaaaaaaaaa").message.id == "01k0000000aaaaaaaaaa"
    assert prepared().message.id != prepared().message.id


def test_a_recipient_without_a_route_is_held_from_the_beginning():
    accept = prepared(door(lambda sender, recipient, tags: None))
    assert [(to.state, to.lane, to.reason) for to in accept.recipients] == [(State.HELD, "?", "no route")]


def test_lanes_are_chosen_by_sender_recipient_and_tags():
    asked = []
    prepared(door(lambda *given: asked.append(given) or "out"), tags=["x"])
    assert asked == [("a@example.com", "b@example.org", ("x",))]


def test_a_report_is_exempt_from_sender_rules_and_the_queues_limit():
    message = Message(id="r", sender="", accepted_at=NOW, size=3, kind=Kind.REPORT)
    accept = door(limits={"queue_messages": 1}).report(b"abc", ["x@example.info"], message, NOW)
    assert (accept.message, accept.content) == (message, b"abc")
    assert [(to.address, to.lane) for to in accept.recipients] == [("x@example.info", "out")]


def test_the_name_of_this_host_is_the_configured_one_or_the_machines():
    assert hostname_of(load_config({"reports": {"hostname": "mail.example.com"}})) == "mail.example.com"
    assert hostname_of(load_config({}))


# --- sender and recipients ---


def test_the_refusal_of_a_sender_says_who_may_send_and_what_to_do():
    error = refused(NotAuthorized, sender="eve@example.org")
    assert error.field == "sender"
    assert "'eve@example.org' is not an authorized sender" in str(error)
    assert "a@example.com, *@example.net" in str(error)
    assert "[senders] authorized" in str(error)


@pytest.mark.parametrize("sender", ["a@example.com", "anybody@EXAMPLE.net", "ops@example.com"])
def test_authorized_senders_and_administrators_may_send(sender):
    assert prepared(sender=sender).message.sender.lower() == sender.lower()


@pytest.mark.parametrize(
    "sender", ["", "nobody", "a@example.com\r\nX: y", "A <a@example.com>", None, 7, b"a@example.com"]
)
def test_a_sender_that_is_no_address_is_refused(sender):
    assert refused(sender=sender).field == "sender"


def test_no_recipients_are_refused():
    error = refused(recipients=[])
    assert (error.field, "at least one" in str(error)) == ("recipients", True)


def test_too_many_recipients_are_refused_but_equal_ones_count_once():
    many = [f"{number}@example.org" for number in range(3)]
    assert len(prepared(SMALL, recipients=many * 5).recipients) == 3
    error = refused(at=SMALL, recipients=[*many, "4@example.org"])
    assert error.field == "recipients"
    assert "there are 4, [limits] recipients allows 3" in str(error)


@pytest.mark.parametrize(
    "bad", ["", "nobody", "b@example.org\n", "b@exa mple.org", "b@-example.org", None, b"b@example.org"]
)
def test_a_bad_recipient_is_named_by_its_place(bad):
    assert refused(recipients=["b@example.org", bad]).field == "recipients[1]"


@pytest.mark.parametrize("bad", [None, 7, b"b@example.org"])
def test_recipients_that_are_no_list_are_refused(bad):
    assert refused(recipients=bad).field in ("recipients", "recipients[0]")


# --- options ---


@pytest.mark.parametrize("priority", [-1, 10, 1.0, "1", True, None])
def test_a_priority_is_a_number_from_0_to_9(priority):
    error = refused(priority=priority)
    assert error.field == "priority"
    assert "0 (first) to 9 (last)" in str(error)


class _Nowhere(tzinfo):
    def utcoffset(self, dt):
        return None


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2030, 1, 1), "without a time zone"),
        (datetime(2030, 1, 1, tzinfo=_Nowhere()), "without a time zone"),
        (datetime(1901, 1, 1, tzinfo=UTC), "must be"),
        ("tomorrow", "must be"),
        (True, "must be"),
        (-1.0, "must be"),
        (float("nan"), "must be"),
        (float("inf"), "must be"),
        (1e15, "must be"),
        (timedelta(hours=1), "must be"),
    ],
)
def test_a_moment_is_unix_seconds_or_an_aware_datetime(field, moment, said):
    error = refused(**{field: moment})
    assert error.field == field
    assert said in str(error)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2900, 1, 1)), st.integers(-14, 14))
def test_an_aware_datetime_means_its_moment_in_any_zone(moment, hours):
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert prepared(send_at=aware).message.send_at == pytest.approx(aware.timestamp())


def test_send_at_in_the_past_means_now():
    accept = prepared(send_at=NOW - 60)
    assert accept.recipients[0].due == NOW


@pytest.mark.parametrize(
    "fields", [{"expires_at": NOW}, {"expires_at": NOW - 1}, {"expires_at": NOW + 60, "send_at": NOW + 60}]
)
def test_a_message_that_could_never_be_sent_is_refused(fields):
    error = refused(**fields)
    assert error.field == "expires_at"
    assert "later moment" in str(error)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "a\0", 7, b"key"])
def test_an_idempotency_key_is_1_to_200_printable_characters(key):
    assert refused(idempotency_key=key).field == "idempotency_key"


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ([str(number) for number in range(11)], "tags"),
        (["good", ""], "tags[1]"),
        (["x" * 101], "tags[0]"),
        (["a\r\nb"], "tags[0]"),
        ([7], "tags[0]"),
        (None, "tags"),
        (7, "tags"),
    ],
)
def test_tags_are_few_short_and_printable(tags, field):
    assert refused(tags=tags).field == field


@pytest.mark.parametrize(
    ("dsn", "field"),
    [
        (DsnOptions(notify=("never", "failure")), "dsn.notify"),
        (DsnOptions(notify=("failure", "sometimes")), "dsn.notify[1]"),  # type: ignore[arg-type]
        (DsnOptions(notify="failure"), "dsn.notify"),  # type: ignore[arg-type]
        (DsnOptions(ret="half"), "dsn.ret"),  # type: ignore[arg-type]
        (DsnOptions(ret=object()), "dsn"),  # type: ignore[arg-type]
        (DsnOptions(envid=""), "dsn.envid"),
        (DsnOptions(envid="x" * 101), "dsn.envid"),
        (DsnOptions(envid="a\r\nb"), "dsn.envid"),
        (DsnOptions(envid="ümlaut"), "dsn.envid"),
        (None, "dsn"),
        ({"notify": ["never"]}, "dsn"),
    ],
)
def test_delivery_reports_are_asked_for_by_the_rules_of_rfc_3461(dsn, field):
    assert refused(dsn=dsn).field == field


def test_what_may_be_asked_for_in_delivery_reports_is_told():
    error = refused(dsn=DsnOptions(ret="half"))  # type: ignore[arg-type]
    assert error.problem == 'must be "full" or "headers", not \'half\''


@pytest.mark.parametrize(
    ("report_to", "field"),
    [(["ops@example.com", "nobody"], "report_to[1]"), (None, "report_to"), ("x\n", "report_to[0]")],
)
def test_report_to_holds_addresses(report_to, field):
    assert refused(report_to=report_to).field == field


@pytest.mark.parametrize("option", ["priority", "send_at", "expires_at", "idempotency_key", "dsn"])
def test_options_are_checked_for_composed_mail_too(option):
    with pytest.raises(SubmissionError) as caught:
        composed(options={option: object()})
    assert caught.value.field == option


# --- content ---


class Endless(io.RawIOBase):
    """Gives octets for ever, at most 700 at a time, and counts them."""

    given = 0

    def read(self, size=-1):
        octets = min(size, 700)
        self.given += octets
        return b"x" * octets


def test_too_large_bytes_are_refused():
    big = RAW + b"x" * 2000
    for content in (big, bytearray(big), memoryview(big)):
        error = refused(SubmissionTooLarge, at=SMALL, content=content)
        assert error.field == "content"
        assert "2,000 are allowed" in str(error)


def test_too_large_files_are_refused(tmp_path):
    (tmp_path / "big.eml").write_bytes(RAW + b"x" * 2000)
    assert "[limits] message_bytes" in str(refused(SubmissionTooLarge, at=SMALL, content=tmp_path / "big.eml"))
    with (tmp_path / "big.eml").open("rb") as file:
        refused(SubmissionTooLarge, at=SMALL, content=file)


def test_an_endless_file_fills_no_memory():
    endless = Endless()
    refused(SubmissionTooLarge, at=SMALL, content=endless)
    assert endless.given == 2001


def test_what_grows_too_large_by_its_encoding_is_refused():
    text = EmailMessage()
    text["From"], text["To"] = "a@example.com", "b@example.org"
    text.set_content("ü" * 1000, cte="base64")
    assert refused(SubmissionTooLarge, at=SMALL, content=text).field == "content"


def test_content_may_be_bytes_a_path_a_file_or_an_email_message(tmp_path):
    (tmp_path / "a.eml").write_bytes(RAW)
    whole = prepared(id="m").content
    with (tmp_path / "a.eml").open("rb") as file:
        contents = [bytearray(RAW), memoryview(RAW), tmp_path / "a.eml", file, io.BytesIO(RAW)]
        assert all(prepared(id="m", content=content).content == whole for content in contents)
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.org", "Hello"
    message.set_content("Hello.\n")
    assert b"\r\n\r\nHello.\r\n" in prepared(content=message).content


class Drip(io.RawIOBase):
    """A pipe: gives less than was asked for."""

    def __init__(self, content):
        super().__init__()
        self.rest = content

    def read(self, size=-1):
        piece, self.rest = self.rest[:7], self.rest[7:]
        return piece


def test_a_file_that_gives_little_at_a_time_is_read_to_its_end():
    assert prepared(id="m", content=Drip(RAW)).content == prepared(id="m").content


class Faulty(io.RawIOBase):
    def read(self, size=-1):
        raise OSError("disk on fire")


def closed_file():
    file = io.BytesIO(RAW)
    file.close()
    return file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (RAW.decode(), "not str"),
        (None, "not NoneType"),
        (io.StringIO(RAW.decode()), "binary mode"),
        (closed_file(), "cannot be read"),
        (Faulty(), "disk on fire"),
    ],
)
def test_what_is_no_content_is_refused(content, said):
    error = refused(content=content)
    assert error.field == "content"
    assert said in str(error)


def test_a_path_that_cannot_be_read_is_refused(tmp_path):
    assert "cannot be read" in str(refused(content=tmp_path / "absent.eml"))
    assert "cannot be read" in str(refused(content=tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in str(refused(content=tmp_path / "pipe"))  # opening it would stop the whole engine


# --- the queue, plugins ---


@pytest.mark.parametrize("tally", [Tally(messages=10), Tally(content_bytes=20_000)])
def test_a_full_queue_refuses(tally):
    full = door(limits={"queue_messages": 10, "queue_bytes": 20_000, "message_bytes": 2000})
    with pytest.raises(QueueFull):
        prepared(full, tally)


def test_a_plugin_may_refuse_and_names_the_field():
    guarded = door(admit=lambda submission: Refusal(field="tags", problem="not today"))
    assert refused(at=guarded).field == "tags"
    with pytest.raises(SubmissionError, match="not today"):
        composed(guarded)


def test_plugins_see_only_what_is_well_formed():
    seen = []
    guarded = door(admit=lambda submission: seen.append(submission))
    for fields in ({"sender": "nobody"}, {"recipients": 7}, {"priority": 99}, {"tags": None}):
        refused(at=guarded, **fields)
    assert not seen
    prepared(guarded)
    composed(guarded)
    assert [submission.sender for submission in seen] == ["a@example.com", "a@example.com"]
    assert list(seen[1].recipients) == ["b@example.org"]


# --- idempotency ---


def digest(**fields):
    key = prepared(idempotency_key="order-7", **fields).idempotency
    assert key is not None
    assert (key.sender, key.key, key.expires_at) == (fields.get("sender", "a@example.com"), "order-7", NOW + 7 * 86_400)
    return key.digest


def mail(text="Hello.\n", subject="Hello"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.org", subject
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    return message


def test_the_same_fields_have_the_same_digest_and_others_another():
    assert digest() == digest()
    assert digest(recipients=["b@example.org"]) == digest(recipients=("b@example.org", "b@EXAMPLE.org"))
    changes = [
        {"recipients": ["c@example.org"]},
        {"content": RAW + b"more\r\n"},
        {"priority": 1},
        {"tags": ["x"]},
        {"send_at": NOW + 5},
        {"expires_at": NOW + 500},
        {"report_to": ["ops@example.com"]},
        {"dsn": DsnOptions(notify=("never",))},
        {"sender": "b@example.net"},
    ]
    assert len({digest(**change) for change in [{}, *changes]}) == len(changes) + 1


def test_an_email_message_built_again_has_the_same_digest_though_its_boundaries_are_random():
    first, second = mail(), mail()
    assert first.as_bytes() != second.as_bytes()
    assert digest(content=first) == digest(content=second) == digest(content=first)
    assert len({digest(content=mail()), digest(content=mail("Bye.\n")), digest(content=mail(subject="Bye"))}) == 3


def test_composed_mail_is_compared_by_its_fields():
    def fields_digest(**fields):
        key = composed(options={"idempotency_key": "k", "tags": fields.pop("tags", ())}, **fields).idempotency
        assert key is not None
        return key.digest

    several = {
        "headers": {"X-Order": "7"},
        "attachments": [("a.pdf", bytearray(b"%PDF")), Attachment(filename="b.txt", content=b"b")],
    }
    assert fields_digest(**several) == fields_digest(**several)
    assert (
        len({fields_digest(), fields_digest(body="Other"), fields_digest(tags=("x",)), fields_digest(**several)}) == 4
    )
