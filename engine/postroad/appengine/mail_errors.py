"""The errors of App Engine's Mail API, by the names and in the hierarchy that applications catch.

`postroad.appengine.mail` exports every one of them.  MissingSubjectError and MissingBodyError are never raised, as in the
original's third version; they exist because applications name them in `except`.
"""


class Error(Exception):
    """Base of every error of the mail API."""


class BadRequestError(Error):
    """The service could not accept the message as it is."""


class InvalidSenderError(Error):
    """The sender may not send, or the server refused the login."""


class InvalidEmailError(Error):
    """An address or the dictionary of headers is not acceptable."""


class InvalidAttachmentTypeError(Error):
    """An attachment has an extension that is not carried."""


class InvalidHeaderNameError(Error):
    """The service refused the name of a header."""


class MissingRecipientsError(Error):
    """None of to, cc and bcc is set."""


class MissingSenderError(Error):
    """The sender is not set."""


class MissingSubjectError(Error):
    """Never raised: a missing subject is an empty one."""


class MissingBodyError(Error):
    """Never raised: a message may lack a body."""


class PayloadEncodingError(Error):
    """An encoded body or attachment could not be decoded."""


class UnknownEncodingError(PayloadEncodingError):
    """The transfer encoding of a payload is unknown."""


class UnknownCharsetError(PayloadEncodingError):
    """The character set of a payload is unknown."""
