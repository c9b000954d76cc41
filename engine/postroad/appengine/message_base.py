"""What every message has: fields that are checked when they are set, and again before they are sent.

A field is unset until it is set, by a keyword, an attribute or a MIME message; it is kept as it was given.  Which field takes
what, the order of the checks and the texts of the errors are the contract's.  `messages` has the kinds that applications make.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from . import smtp_service
from .addresses import check_email_valid, kept
from .apiproxy_stub_map import stubbed_call
from .attachment_types import mime_type_of
from .calling import MakeSyncCall, call_service
from .mail_errors import Error, MissingSenderError
from .mime_in import MimeMessage, decode_and_join_header, filename_of, leaves_of, parse_mime_message, payload_of
from .mime_out import mail_message_to_mime_message
from .payloads import Attachment, EncodedPayload, attachments_of, check_attachments, decoded, is_one_attachment
from .protocol import MailMessage
from .requests import BODIES, request_of

__all__ = ["EmailMessageBase", "is_of_type"]


class EmailMessageBase:
    """What every message has: a sender, a subject, bodies and attachments.

    mime_message: a str, bytes, a file of either or an `email.message.Message`, whose fields are taken over; keywords win.
    """

    PROPERTIES: ClassVar[set[str]] = {
        "sender",
        "reply_to",
        "subject",
        "body",
        "html",
        "amp_html",
        "attachments",
        "to",
        "cc",
        "bcc",
    }
    ALLOWED_EMPTY_PROPERTIES: ClassVar[set[str]] = {"subject", "body", "amp_html"}
    _API_CALL: ClassVar[str]

    def __init__(self, mime_message: Any = None, **kw: Any) -> None:
        if mime_message is not None and (mime_message or not isinstance(mime_message, (str, bytes))):
            original = parse_mime_message(mime_message)
            object.__setattr__(self, "_original", original)
            self.update_from_mime_message(original)
        self.initialize(**kw)

    def __setattr__(self, attr: str, value: Any) -> None:
        """Set a field, if it may have this value.

        Raises InvalidEmailError (addresses, headers), ValueError (empty), AttributeError (no such field), TypeError
        (attachments).
        """
        value = kept(value)
        if attr in ("sender", "reply_to"):
            check_email_valid(value, attr)
        if not value and attr not in self.ALLOWED_EMPTY_PROPERTIES:
            raise ValueError(f"May not set empty value for {attr!r}")
        if attr not in self.PROPERTIES:
            raise AttributeError(f"'EmailMessage' has no attribute {attr!r}")
        if attr == "attachments":
            check_attachments(value)
        super().__setattr__(attr, value)

    @property
    def original(self) -> MimeMessage:
        """The MIME message that it was made from.  AttributeError if it was made without one."""
        original: MimeMessage | None = vars(self).get("_original")
        if original is None:
            raise AttributeError(f"this {type(self).__name__} was not made from a MIME message: it has no original")
        return original

    def initialize(self, **kw: Any) -> None:
        """Set fields."""
        for name, value in kw.items():
            setattr(self, name, value)

    def check_initialized(self) -> None:
        """Raise unless it can be sent: a sender, payloads that can be decoded, attachments that are carried.

        Raises MissingSenderError, UnknownEncodingError, UnknownCharsetError, PayloadEncodingError, InvalidAttachmentTypeError.
        """
        if not hasattr(self, "sender"):
            raise MissingSenderError
        for name, _ in BODIES:
            decoded(getattr(self, name, None))
        for attachment in attachments_of(getattr(self, "attachments", ())):
            mime_type_of(attachment.filename)
            decoded(attachment.payload)

    def is_initialized(self) -> bool:
        """Whether it can be sent, as far as `check_initialized` knows."""
        try:
            self.check_initialized()
        except Error:
            return False
        return True

    def ToProto(self) -> MailMessage:
        """The request that describes it.  Raises what `check_initialized` does, and TypeError for fields of another type."""
        self.check_initialized()
        return request_of(self)

    def to_mime_message(self) -> Any:
        """It as a MIME message, to look at.  Raises what `ToProto` does."""
        return mail_message_to_mime_message(self.ToProto())

    def send(self, make_sync_call: MakeSyncCall | None = None) -> None:
        """Send it; returns once it is accepted.  make_sync_call: called instead of the service.

        Raises what `ToProto` does, the errors of the service and `apiproxy_errors`.
        """
        if stubbed_call(by_smtp=True) is None and smtp_service.is_wanted():
            smtp_service.hand_over(self)
        else:
            call_service(self._API_CALL, self.ToProto(), make_sync_call)

    def update_from_mime_message(self, mime_message: Any) -> None:
        """Take over what a MIME message has; fields that it lacks stay as they are, attachments are added."""
        mime_message = parse_mime_message(mime_message)
        found = {
            "sender": decode_and_join_header(mime_message["from"]),
            "reply_to": decode_and_join_header(mime_message["reply-to"]),
            "subject": decode_and_join_header(mime_message["subject"], ""),
        }
        self.initialize(**{name: text for name, text in found.items() if text and text.strip()})
        for leaf in leaves_of(mime_message):
            self._take_over(leaf)

    def _take_over(self, leaf: MimeMessage) -> None:
        filename = filename_of(leaf)
        if not filename:
            self._add_body(leaf.get_content_type(), payload_of(leaf))
            return
        content_id = leaf["content-id"]
        attachment = Attachment(filename, payload_of(leaf), content_id=None if content_id is None else str(content_id))
        present = getattr(self, "attachments", ())
        self.attachments = [*((present,) if is_one_attachment(present) else present), attachment]

    def _add_body(self, content_type: str, payload: EncodedPayload) -> None:
        """The last of a kind wins."""
        if content_type == "text/plain":
            self.body = payload
        elif content_type == "text/html":
            self.html = payload

    def bodies(self, content_type: str | None = None) -> Iterator[tuple[str, Any]]:
        """The HTML and the plain text, with their types.  content_type: only such, by the whole type or its first half."""
        for name, its_type in (("html", "text/html"), ("body", "text/plain")):
            if hasattr(self, name) and is_of_type(its_type, content_type):
                yield its_type, getattr(self, name)

    # The original's second names.  They call the first ones, so that what a subclass or a test puts in their place is called.

    def Initialize(self, *args: Any, **kwds: Any) -> None:
        self.initialize(*args, **kwds)

    def CheckInitialized(self, *args: Any, **kwds: Any) -> None:
        self.check_initialized(*args, **kwds)

    def IsInitialized(self, *args: Any, **kwds: Any) -> bool:
        return self.is_initialized(*args, **kwds)

    def ToMIMEMessage(self, *args: Any, **kwds: Any) -> Any:
        return self.to_mime_message(*args, **kwds)

    def Send(self, *args: Any, **kwds: Any) -> None:
        self.send(*args, **kwds)


def is_of_type(content_type: str, wanted: str | None) -> bool:
    """Whether a type is the wanted one, of the wanted kind (`text`), or anything is wanted."""
    return not wanted or wanted in (content_type, content_type.partition("/")[0])
