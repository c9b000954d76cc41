"""[quotas]: how much may be sent in a day and in a minute; App Engine's numbers as a profile.  Read by `decide/quotas.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ["PROFILES", "Quotas"]

_KB, _MB = 1024, 1024 * 1024


def _most(text: str) -> Meta:
    return Meta(description=f"{text} 0: as the profile says.", ge=0)


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[quotas]: how much may be sent; beyond, submissions get QuotaExceeded.

    A day begins at midnight Pacific time, as App Engine's, and a minute at each full one. Counted by the commit that stores
    a message, reports not: exact for any number of processes and over restarts.
    """

    profile: Annotated[
        Literal["none", "appengine"],
        Meta(description="none: no quota but those set here. appengine: App Engine's numbers, where none is set here."),
    ] = "none"
    recipients_per_day: Annotated[
        int, _most("Recipients, each of each message; administrators (`senders.admins`) count by themselves.")
    ] = 0
    recipients_per_minute: Annotated[int, _most("The same.")] = 0
    admins_per_day: Annotated[int, _most("Recipients that are administrators.")] = 0
    admins_per_minute: Annotated[int, _most("The same.")] = 0
    body_bytes_per_day: Annotated[
        int, _most("Octets of bodies as given, in UTF-8; a message that comes already written counts whole.")
    ] = 0
    body_bytes_per_minute: Annotated[int, _most("The same.")] = 0
    attachments_per_day: Annotated[int, _most("Attachments of messages given as fields.")] = 0
    attachments_per_minute: Annotated[int, _most("The same.")] = 0
    attachment_bytes_per_day: Annotated[int, _most("Octets of attachments as given.")] = 0
    attachment_bytes_per_minute: Annotated[int, _most("The same.")] = 0


PROFILES: dict[str, dict[str, int]] = {
    "none": {},
    "appengine": {  # cloud.google.com/appengine/docs/standard/quotas, read in April 2026
        "recipients_per_day": 100,
        "recipients_per_minute": 8,
        "admins_per_day": 5000,
        "admins_per_minute": 24,
        "body_bytes_per_day": 60 * _MB,
        "body_bytes_per_minute": 340 * _KB,
        "attachments_per_day": 2000,
        "attachments_per_minute": 8,
        "attachment_bytes_per_day": 100 * _MB,
        "attachment_bytes_per_minute": 10 * _MB,
    },
}
