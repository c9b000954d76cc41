"""From fields, or from mail already written, to canonical RFC 5322 bytes: CRLF, 7-bit clean, no line over 998 octets.

`writer.py` composes fields, `canonical.py` makes written mail canonical (by `downgrade.py` where it must be re-encoded); both
do it once, at the door.  Nothing here knows the queue, the spool or the network.
"""

from .attachment import Attachment
from .canonical import Canonical, canonicalise
from .writer import Composed, MailFields, compose

__all__ = ["Attachment", "Canonical", "Composed", "MailFields", "canonicalise", "compose"]
