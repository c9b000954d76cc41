"""Records behave as the protocol buffers that they stand in for."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine.protocol import MailAttachment, MailHeader, MailMessage, MailServiceError, VoidProto

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.builds(
    MailMessage,
    Sender=TEXT,
    ReplyTo=st.none() | TEXT,
    To=st.lists(TEXT, max_size=3),
    Bcc=st.lists(TEXT, max_size=2),
    Subject=TEXT,
    TextBody=st.none() | TEXT,
    AmpHtmlBody=st.none() | TEXT,
    Attachment=st.lists(
        st.builds(MailAttachment, FileName=TEXT, Data=st.binary(max_size=300), ContentID=st.none() | TEXT), max_size=2
    ),
    Header=st.lists(st.builds(MailHeader, name=TEXT, value=TEXT), max_size=2),
)


def full_message(kinds: Any) -> Any:
    """The same message, of ours or of the original's records."""
    message = kinds.MailMessage(Sender='Zoë "Z" <z@example.com>\n', To=["a@example.com"])
    message.Subject = ""
    message.Cc.extend(["b@example.com", "c@example.com"])
    message.TextBody = "it's\t\\"
    message.AmpHtmlBody = "<html ⚡4email>"
    message.Attachment.add(FileName="a.bin", Data=bytes(range(256)) * 2, ContentID="<logo>")
    message.Header.add(name="References", value="<a@b>")
    return message


class Ours:
    MailMessage = MailMessage


@given(MESSAGES)
def test_a_message_survives_its_octets_and_copies(message: MailMessage) -> None:
    octets = message.SerializeToString()
    assert MailMessage.FromString(octets) == message
    assert len(octets) == message.ByteSize()
    assert copy.deepcopy(message) == message
    assert pickle.loads(pickle.dumps(message)) == message


@given(MESSAGES, MESSAGES)
def test_messages_are_equal_when_their_octets_are(one: MailMessage, other: MailMessage) -> None:
    assert (one == other) == (one.SerializeToString() == other.SerializeToString())


@given(st.binary(max_size=60))
def test_damaged_octets_are_refused_or_read_but_nothing_else(octets: bytes) -> None:
    message = MailMessage()
    try:
        message.ParseFromString(octets)
    except (ValueError, TypeError):
        return
    assert MailMessage.FromString(message.SerializePartialToString()) == message


def test_an_unset_field_is_not_set_and_an_empty_one_is() -> None:
    message = MailMessage()
    assert (message.TextBody, message.HasField("TextBody")) == ("", False)
    message.TextBody = ""
    assert message.HasField("TextBody")
    assert message != MailMessage()
    message.ClearField("TextBody")
    assert message == MailMessage()


def test_looking_at_a_repeated_field_changes_nothing() -> None:
    looked_at = MailMessage()
    assert list(looked_at.To) == []
    assert looked_at == MailMessage()
    assert looked_at.ListFields() == []


def test_what_is_appended_or_copied_is_a_copy() -> None:
    attachment = MailAttachment(FileName="a.txt", Data=b"a")
    message = MailMessage(Attachment=[attachment])
    twin = MailMessage()
    twin.CopyFrom(message)
    attachment.Data = b"b"
    message.Attachment[0].Data = b"c"
    assert twin.Attachment[0].Data == b"a"
    twin.CopyFrom(twin)
    assert twin.Attachment[0].Data == b"a"


def test_merging_appends_and_overwrites() -> None:
    message = MailMessage(Sender="a", To=["x"])
    message.MergeFrom(MailMessage(Sender="b", To=["y"], Subject="s"))
    assert message == MailMessage(Sender="b", To=["x", "y"], Subject="s")


def test_what_is_missing_is_named() -> None:
    message = MailMessage(Sender="a")
    message.Attachment.add(FileName="a.txt")
    assert message.FindInitializationErrors() == ["Subject", "Attachment[0].Data"]
    errors: list[str] = []
    assert not message.IsInitialized(errors)
    assert errors == message.FindInitializationErrors()
    assert MailMessage(Sender="", Subject="").IsInitialized()
    with pytest.raises(ValueError, match="missing required fields: Subject,Attachment"):
        message.SerializeToString()


def set_to_none(message: MailMessage) -> None:
    message.Subject = None  # type: ignore[assignment]


def set_to_surrogate(message: MailMessage) -> None:
    message.Subject = "\ud800"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (set_to_none, TypeError),
        (set_to_surrogate, UnicodeError),
        (lambda message: message.To.append(3), TypeError),
        (lambda message: message.To.insert(0, None), TypeError),
        (lambda message: message.To.extend(["a", 3]), TypeError),
        (lambda message: message.To.__iadd__([b"\xff"]), UnicodeError),
        (lambda message: message.To.__setitem__(slice(None), [None]), TypeError),
        (lambda message: message.Attachment.add(Data="text"), TypeError),
        (lambda message: message.Attachment.append(MailHeader()), TypeError),
        (lambda message: setattr(message, "To", ["a"]), AttributeError),
        (lambda message: setattr(message, "Attachment", []), AttributeError),
        (lambda message: setattr(message, "Nothing", "a"), AttributeError),
        (lambda message: message.HasField("To"), ValueError),
        (lambda message: message.HasField("Nothing"), ValueError),
        (lambda message: message.ClearField("Nothing"), ValueError),
        (hash, TypeError),
        (lambda message: message.CopyFrom(VoidProto()), TypeError),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change: Any, error: type[Exception]) -> None:
    message = MailMessage()
    with pytest.raises(error):
        change(message)
    assert message.ListFields() == []


def test_codes_have_names() -> None:
    assert MailServiceError.ErrorCode.Name(MailServiceError.UNAUTHORIZED_SENDER) == "UNAUTHORIZED_SENDER"
    assert MailServiceError.ErrorCode.Value("INVALID_CONTENT_ID") == MailServiceError.INVALID_CONTENT_ID == 6
    assert dict(MailServiceError.ErrorCode.__members__) == {
        name: value for name, value in vars(MailServiceError).items() if name.isupper()
    }
    with pytest.raises(ValueError, match="NOTHING"):
        MailServiceError.ErrorCode.Value("NOTHING")


def test_ours_and_the_originals_are_equal_and_interchangeable() -> None:
    original = pytest.importorskip("google.appengine.api.mail_service_pb2")
    ours, theirs = full_message(Ours), full_message(original)
    assert ours == theirs
    assert theirs == ours
    assert ours.SerializeToString() == theirs.SerializeToString()
    assert str(ours) == str(theirs)
    copied = MailMessage()
    copied.CopyFrom(theirs)
    copied.Attachment.append(theirs.Attachment[0])
    assert copied != theirs
    del copied.Attachment[1]
    assert copied == theirs
    theirs.Subject = "other"
    assert ours != theirs
    assert MailMessage() != original.MailHeader()
