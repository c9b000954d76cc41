"""What a sender can do about a failure, by the enhanced status code (RFC 3463 section 3)."""

from __future__ import annotations

__all__ = ["advice_for"]

_DEFAULT = "The words above say why. If they do not help, ask the recipient by other means."

_BY_DETAIL = {
    "1.8": "The server does not take mail from your address. Ask whoever runs your mail about it.",
    "1.7": "The server does not take mail from your address. Ask whoever runs your mail about it.",
    "2.2": "The recipient's mailbox is full. Reach the recipient by other means, or try again later.",
    "2.3": "The message is larger than the recipient may receive. Send it without large attachments.",
    "3.4": "The message is larger than the recipient's server takes. Send it without large attachments.",
    "4.7": "There is no more time for it. Send the message again later, or reach the recipient by other means.",
    "1.10": "The recipient's domain does not receive mail. Check the address for mistakes.",
}
_BY_SUBJECT = {
    "1": "Check the address for mistakes, and send the message again to the right one.",
    "2": "The recipient's mailbox does not take the message. Reach the recipient by other means.",
    "3": "The recipient's mail server had trouble of its own. Send the message again later.",
    "4": "The recipient's mail server could not be reached. Check the part of the address behind the @, or send the "
    "message again later.",
    "5": "The recipient's mail server did not understand. Ask whoever runs your mail about it.",
    "6": "The recipient's server cannot take this form of message. Send it as plain text, or ask whoever runs your mail.",
    "7": "The recipient's server refused the message by its own rules. The words above say why; ask the recipient, or "
    "whoever runs your mail.",
}


def advice_for(status: str) -> str:
    """One or two plain sentences."""
    _, _, rest = status.partition(".")
    return _BY_DETAIL.get(rest) or _BY_SUBJECT.get(rest.partition(".")[0], _DEFAULT)
