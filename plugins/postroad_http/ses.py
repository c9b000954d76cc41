"""Amazon SES, by its API v2: SendEmail with Content.Raw.

Written from docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html and, for its limits,
.../ses/latest/APIReference/API_SendRawEmail.html, read 2026-11-27.  The message goes as it is; Amazon writes a Message-ID and a
Date of its own.

Envelope: exactly the request's recipients, named in Destination; with Raw that changes no header field.  One bad address makes
Amazon refuse all of a request, so each is then tried alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from postroad.config import PathSetting
from postroad.errors import ConfigError
from postroad.secret import read_secret
from postroad.verdict import Scope, Verdict

from .fields import check_tags
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import HttpTable, check_word
from .sigv4 import Signer, sign
from .verdicts import accepted, deferred, refused

__all__ = ["Ses", "SesSettings"]

_PATH = "/v2/email/outbound-emails"
_REFUSED = frozenset({"MessageRejected", "BadRequestException"})
_OURS = frozenset(
    {
        "AccountSuspendedException",
        "SendingPausedException",
        "MailFromDomainNotVerifiedException",
        "NotFoundException",  # the configuration set
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "RequestExpired",
        "IncompleteSignature",
    }
)
_TOO_MUCH = frozenset({"LimitExceededException", "TooManyRequestsException", "ThrottlingException", "Throttling"})
_UNVERIFIED = re.compile(
    r"not verified", re.IGNORECASE
)  # an identity or, in the sandbox, a recipient: the operator's to mend


class SesSettings(HttpTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "ses": Amazon SES. The secret is the secret access key."""

    region: Annotated[str, Meta(description="Amazon's region, such as `eu-west-1`.")]
    access_key_id: Annotated[str, Meta(description="The access key's id, which belongs to the secret.")]
    session_token_file: Annotated[
        PathSetting,
        Meta(
            description="File whose first line is the session token of temporary credentials. Read anew for each request."
        ),
    ] = ""
    session_token_env: Annotated[
        str, Meta(description="Name of the environment variable that holds the session token.")
    ] = ""
    configuration_set: Annotated[str, Meta(description="Amazon's configuration set for this mail. Empty: none.")] = ""
    events_topics: Annotated[
        tuple[str, ...],
        Meta(
            description="ARNs of the SNS topics that events come by (docs/provider-events.md); no others are believed. "
            "Instead of `events_secret`."
        ),
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("region", self.region, r"[a-z0-9-]{3,40}")
        check_word("access_key_id", self.access_key_id, r"[A-Za-z0-9]{4,128}")
        if self.configuration_set:
            check_word("configuration_set", self.configuration_set, r"[A-Za-z0-9_-]{1,64}")
        if self.session_token_env and self.session_token_file:
            raise ConfigError("session_token_file", "there is a session_token_env, too; name one of them")

        if super().takes_events:
            raise ConfigError("events_secret", "Amazon's events have none: name their events_topics")
        for topic in self.events_topics:
            check_word("events_topics", topic, r"arn:aws[a-z-]*:sns:[a-z0-9-]{1,30}:\d{12}:[A-Za-z0-9_.-]{1,256}")

    @property
    def takes_events(self) -> bool:
        return bool(self.events_topics)

    def token(self) -> str:
        """The session token as it is now, "" for lasting credentials.  Raises ConfigError."""
        for key in ("session_token_env", "session_token_file"):
            if place := getattr(self, key):
                return read_secret(key, place)
        return ""


class _Taken(msgspec.Struct):
    MessageId: str


class _Error(msgspec.Struct):
    kind: str = msgspec.field(default="", name="__type")
    code: str = ""
    message: str = ""
    Message: str = ""


class Ses:
    """As `provider.Provider` says."""

    name = "ses"
    title = "Amazon SES"
    documentation = "https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"
    read_on = "2026-11-27"
    able = Able(raw=True, recipients_per_call=50, message_bytes=29_000_000)  # 40 MB once it is base64
    settings = SesSettings

    def base_url(self, settings: SesSettings) -> str:
        return f"https://email.{settings.region}.amazonaws.com"

    def write(self, parcel: Parcel, settings: SesSettings) -> Call:
        table: dict[str, Any] = {
            "Content": {"Raw": {"Data": parcel.content}},
            "Destination": {"ToAddresses": parcel.recipients},
        }
        if settings.configuration_set:
            table["ConfigurationSetName"] = settings.configuration_set
        if tags := _tags(parcel, settings):
            table["EmailTags"] = tags
        body, url = msgspec.json.encode(table), parcel.base + _PATH
        signer = Signer(settings.access_key_id, parcel.secret, settings.region, "ses", settings.token())
        return Call(url, sign(signer, url, [("Content-Type", "application/json")], body, parcel.now), body)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if answer.status != 200 or taken is None:
            raise Unreadable("no MessageId")
        return [accepted(taken.MessageId)] * len(parcel.recipients)

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """The error's name stands in a header; Amazon's front doors put it into the body."""
        error = answer.read(_Error) or _Error()
        kind = answer.headers.get("x-amzn-errortype") or error.kind or error.code
        kind = kind.partition(":")[0].rpartition("#")[2]
        said = f"{kind}: {error.message or error.Message}"
        if kind in _TOO_MUCH:
            return deferred(answer, said, "4.7.1", scope=Scope.SITE, now=parcel.now)
        if kind in _OURS:
            return deferred(answer, said, "4.7.8", scope=Scope.TRANSPORT, now=parcel.now)
        if kind in _REFUSED and answer.status == 400:
            if _UNVERIFIED.search(said):
                return deferred(answer, said, "4.7.1", now=parcel.now)
            return refused(answer, said)
        return None


def _tags(parcel: Parcel, settings: SesSettings) -> list[dict[str, str]]:
    check_tags(parcel.tags, r"[A-Za-z0-9_.@-]{1,256}", 49)
    found = [{"Name": f"tag{place}", "Value": tag} for place, tag in enumerate(parcel.tags, 1)]
    if settings.metadata:
        found.append({"Name": "postroad_id", "Value": parcel.id})
    return found
