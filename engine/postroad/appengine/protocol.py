"""What passes between the mail API and the service: MailMessage and its parts, duck-typed.

The names, fields and numbers are those of the original's `mail_service_pb2`, so that applications inspect, compare and build
requests as they did; the original's own protocol buffers are equal to these and may be handed in instead.
"""

from __future__ import annotations

from enum import IntEnum

from .fields import Blob, Flag, Text, Texts
from .record import Record, Records

__all__ = ["MailAttachment", "MailHeader", "MailMessage", "MailServiceError", "VoidProto"]


class MailServiceErrorCode(IntEnum):
    """The codes of an `apiproxy_errors.ApplicationError` that the mail service raises."""

    OK = 0
    INTERNAL_ERROR = 1
    BAD_REQUEST = 2
    UNAUTHORIZED_SENDER = 3
    INVALID_ATTACHMENT_TYPE = 4
    INVALID_HEADER_NAME = 5
    INVALID_CONTENT_ID = 6

    @classmethod
    def Name(cls, number: int) -> str:
        """The name of a code.  ValueError for an unknown one."""
        return cls(number).name

    @classmethod
    def Value(cls, name: str) -> int:
        """The code of a name.  ValueError for an unknown one."""
        if name not in cls.__members__:
            raise ValueError(f"Enum ErrorCode has no value defined for name {name!r}")
        return int(cls[name])


class MailServiceError:
    """Where the original keeps the codes."""

    ErrorCode = MailServiceErrorCode
    OK = 0
    INTERNAL_ERROR = 1
    BAD_REQUEST = 2
    UNAUTHORIZED_SENDER = 3
    INVALID_ATTACHMENT_TYPE = 4
    INVALID_HEADER_NAME = 5
    INVALID_CONTENT_ID = 6


class MailAttachment(Record):
    """A file: its name and octets, and the content id by which HTML shows it."""

    __slots__ = ()
    FileName = Text(1, is_required=True)
    Data = Blob(2, is_required=True)
    ContentID = Text(3)
    DEPRECATED_ContentID_set = Flag(13)


class MailHeader(Record):
    """A further header."""

    __slots__ = ()
    name = Text(1, is_required=True)
    value = Text(2, is_required=True)


class MailMessage(Record):
    """The request of the calls Send and SendToAdmins.  Addresses are as the application wrote them."""

    __slots__ = ()
    Sender = Text(1, is_required=True)
    ReplyTo = Text(2)
    To = Texts(3)
    Cc = Texts(4)
    Bcc = Texts(5)
    Subject = Text(6, is_required=True)
    TextBody = Text(7)
    HtmlBody = Text(8)
    AmpHtmlBody = Text(11)
    Attachment = Records(9, MailAttachment)
    Header = Records(10, MailHeader)


class VoidProto(Record):
    """The response, which says nothing."""

    __slots__ = ()
