"""The configuration: typed settings from TOML or Python, each with its unit, default and reason; contradictions are refused.

docs/configuration.md is made from the descriptions here (`python -m postroad.configdoc`), and a test compares the two.
Who reads a setting names it in the setting's description.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta
from msgspec import inspect as shape

from .contradictions import check_config, is_hostname
from .errors import ConfigError
from .misfits import endless_number, misfit
from .quotas import Quotas

__all__ = [
    "CALLBACKS",
    "Callbacks",
    "Config",
    "GiveUp",
    "InDoubt",
    "InFlight",
    "Limits",
    "PathSetting",
    "Quotas",
    "Reports",
    "Retry",
    "Route",
    "Senders",
    "Spool",
    "Windows",
    "is_hostname",
    "load_config",
    "read_settings",
    "revalidate",
]

CALLBACKS = "callbacks"  # the lane of what is for the application, and the label of its route
_DAY = 86_400
_T = TypeVar("_T")
_S = TypeVar("_S", bound=msgspec.Struct)

PathSetting: TypeAlias = Annotated[str, Meta(extra={"counts_from": "the configuration file's folder"})]
"""A path among a plugin's settings: `read_settings` makes a relative one count from the configuration file's folder."""


def _about(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Spool(_Section, frozen=True, kw_only=True):
    """[spool]: where accepted mail is kept."""

    url: Annotated[
        str,
        _about(
            "Kind and place of the spool: `sqlite:PATH` (durable) or `memory:` (tests only: nothing survives the process). "
            "A relative path counts from the folder of the configuration file, or the working directory."
        ),
    ] = "sqlite:var/postroad.db"
    socket: Annotated[
        bool,
        _about(
            "Listen on a unix socket beside the spool, so that other processes can hand over mail and operate the queue "
            "while the engine runs."
        ),
    ] = True
    content_file_bytes: Annotated[
        int,
        _about(
            "Octets. Content larger than this is kept in a file of its own beside the spool, because SQLite writes everything "
            "twice and a large content holds up everybody's commit.",
            ge=4096,
        ),
    ] = 262_144
    reserve_bytes: Annotated[
        int,
        _about(
            "Octets of a file beside the spool that only takes room. When the disk is full it is given up, so that outcomes can "
            "still be written down; nothing new is accepted until there is room for it again. 0 keeps none.",
            ge=0,
        ),
    ] = 16_777_216


class Senders(_Section, frozen=True, kw_only=True):
    """[senders]: who may send."""

    authorized: Annotated[
        tuple[str, ...],
        _about(
            "Return paths that may be used: exact addresses, or `*@domain`; `*` allows every sender. None by default: an "
            "engine that sends for anybody is an open relay inside the application."
        ),
    ] = ()
    admins: Annotated[
        tuple[str, ...],
        _about(
            "Addresses of administrators: they may send, and get the mail of `Engine.send_mail_to_admins` and its reports."
        ),
    ] = ()


_INCOMING_SHARE = 0.9  # strangers' mail that nobody takes is held for ever: it must leave room for our own


class Limits(_Section, frozen=True, kw_only=True):
    """[limits]: what is refused at the door, and how long finished mail is remembered."""

    message_bytes: Annotated[
        int,
        _about("Octets of a message with attachments, as given: before base64. App Engine's figure, 31.5 MB.", ge=1024),
    ] = 33_030_144
    recipients: Annotated[
        int, _about("Recipients of one message. Every SMTP server takes 100 at a time; larger lists are split.", ge=1)
    ] = 1000
    hops: Annotated[
        int,
        _about(
            "Received fields of a written message; beyond, it goes round between servers and is refused. Postfix's figure; "
            "RFC 5321 section 6.3 asks for a large one, normally 100.",
            ge=1,
        ),
    ] = 50
    queue_messages: Annotated[
        int,
        _about(
            "Unfinished messages; beyond, submissions get QueueFull, incoming mail at nine tenths. Bounds a backlog's disk.",
            ge=1,
        ),
    ] = 2_000_000
    queue_bytes: Annotated[
        int, _about("Octets of content of unfinished messages; beyond, submissions get QueueFull.", ge=1024)
    ] = 20_000_000_000
    intake_messages: Annotated[
        int,
        _about(
            "Submissions that wait for the same moment's commit; further callers of `submit` wait their turn. Bounds memory.",
            ge=1,
        ),
    ] = 1000
    intake_bytes: Annotated[
        int, _about("Octets of content in waiting submissions, as `intake_messages`.", ge=65_536)
    ] = 64_000_000
    content_cache_bytes: Annotated[
        int,
        _about(
            "Octets of content kept in memory between acceptance and the first attempt, so that it is not read back.",
            ge=0,
        ),
    ] = 32_000_000
    history_seconds: Annotated[
        float,
        _about("Seconds. How long the outcome of a finished message can be asked for (`Engine.receipt`).", ge=0),
    ] = 7.0 * _DAY
    history_messages: Annotated[
        int, _about("Finished messages remembered at the most, whatever their age. Bounds the spool's size.", ge=0)
    ] = 1_000_000
    idempotency_seconds: Annotated[float, _about("Seconds. How long an idempotency key is remembered.", gt=0)] = (
        7.0 * _DAY
    )
    event_buffer: Annotated[int, _about("Events kept for a slow reader before it gets `Missed`.", ge=1)] = 1000

    @property
    def incoming_messages(self) -> float:
        """Of `queue_messages`, how many may be there before incoming mail is refused."""
        return self.queue_messages * _INCOMING_SHARE

    @property
    def incoming_bytes(self) -> float:
        """Of `queue_bytes`, what incoming mail may fill."""
        return self.queue_bytes * _INCOMING_SHARE


class InFlight(_Section, frozen=True, kw_only=True):
    """[in_flight]: how much is under way at once."""

    leases: Annotated[
        int,
        _about(
            "Leases (one message's recipients on one lane) under way at once, in all. Bounds memory and open attempts; every "
            "inbox inside the ring has room for all of them.",
            ge=1,
            le=100_000,
        ),
    ] = 400
    content_bytes: Annotated[
        int,
        _about(
            "Octets of content held by attempts at once; further ones wait. A content counts with at most "
            "`spool.content_file_bytes`, because larger ones are read in pieces.",
            ge=65_536,
        ),
    ] = 64_000_000
    attempt_seconds: Annotated[
        float,
        _about(
            "Seconds. The longest a single attempt may take before it is cancelled and deferred: above the sum of SMTP's own "
            "phase limits for a slow but working server (RFC 5321 section 4.5.3.2).",
            gt=0,
        ),
    ] = 3600.0
    drain_seconds: Annotated[float, _about("Seconds. Grace for running attempts when the engine is closed.", ge=0)] = (
        10.0
    )
    doubt_seconds: Annotated[
        float,
        _about(
            "Seconds. How much longer an attempt may wait at shutdown once its content is handed over and only the reply is "
            "missing; after that it is in doubt.",
            ge=0,
        ),
    ] = 20.0


class Retry(_Section, frozen=True, kw_only=True):
    """[retry]: when a deferred recipient is tried again. A route may have a table of its own."""

    first_seconds: Annotated[
        float, _about("Seconds to the first retry. Short enough for greylisting, as Postfix's minimum.", gt=0)
    ] = 300.0
    max_seconds: Annotated[
        float,
        _about("Seconds between retries at the most; between the two the delay grows with the message's age.", gt=0),
    ] = 4000.0
    give_up_seconds: Annotated[
        float,
        _about("Seconds after acceptance when a recipient fails. RFC 5321 section 4.5.4.1 asks for 4-5 days.", gt=0),
    ] = 5.0 * _DAY
    jitter: Annotated[
        float,
        _about(
            "Part of each delay, up or down, drawn at random, so that a crowd deferred together does not return together.",
            ge=0,
            le=0.5,
        ),
    ] = 0.1
    hint_max_seconds: Annotated[
        float, _about('Seconds. A server\'s own wish ("try again in 10 minutes") is honoured up to this.', ge=0)
    ] = 14_400.0


class Windows(_Section, frozen=True, kw_only=True):
    """[windows]: attempts at the same time per site (the servers behind a destination)."""

    start: Annotated[int, _about("Attempts at once to a site not known yet.", ge=1)] = 5
    max: Annotated[int, _about("Attempts at once to a site that behaves.", ge=1)] = 20
    trouble: Annotated[int, _about("Failed attempts of the whole site in a row before it is held.", ge=1)] = 5
    hold_seconds: Annotated[
        float, _about("Seconds. The first hold of a site that is down; doubled while it stays so.", gt=0)
    ] = 60.0
    hold_max_seconds: Annotated[float, _about("Seconds. The longest hold of a site.", gt=0)] = 1800.0


class Reports(_Section, frozen=True, kw_only=True):
    """[reports]: what the engine writes to senders (RFC 3464)."""

    delay_notice_seconds: Annotated[
        float,
        _about("Seconds after acceptance when the sender is told, once, of a delay; 0 never. Off as in Postfix.", ge=0),
    ] = 0.0
    from_name: Annotated[str, _about("The name in the From field of reports.")] = "Mail Delivery System"
    hostname: Annotated[
        str,
        _about("This host's name in reports and Message-IDs; empty: the machine's own full name."),
    ] = ""
    full_bytes: Annotated[
        int, _about("Octets. Returned mail larger than this is cut to its headers in reports.", ge=0)
    ] = 50_000


InDoubt: TypeAlias = Literal["send_again", "hold", "take_as_delivered"]


class Route(_Section, frozen=True, kw_only=True):
    """[[routes]]: the first that fits a recipient takes it."""

    transport: Annotated[str, _about("Name of a table in [transports].")]
    name: Annotated[
        str,
        _about(
            "Name in lanes and events; by default the transport's. Letters, digits, `_` and `-`.",
            pattern=r"^[A-Za-z0-9_-]{0,64}$",
        ),
    ] = ""
    recipients: Annotated[str, _about("Recipients that fit: `*`, `*@domain`, `*@*.domain` or one address.")] = "*"
    senders: Annotated[str, _about("Senders that fit, in the same forms; reports have the empty sender `<>`.")] = "*"
    tag: Annotated[str, _about("Only messages with this tag; empty: all.")] = ""
    fail_over: Annotated[
        tuple[str, ...],
        _about("Further transports, which carry the mail while those before them are down, in this order."),
    ] = ()
    weights: Annotated[
        tuple[int, ...],
        _about(
            "Shares of the recipients: of `transport`, then of each in `fail_over`; 0: only while others are down. Empty: all go "
            "by the first that works."
        ),
    ] = ()
    fail_over_in_doubt: Annotated[
        bool,
        _about("Whether mail that one transport may have delivered goes by another, too: rather twice than late."),
    ] = False
    in_doubt: Annotated[
        InDoubt,
        _about(
            "What follows when a message was handed over and the answer not seen: `send_again` (perhaps a duplicate, never a "
            "loss), `hold` until somebody decides, or `take_as_delivered` (never a duplicate, perhaps a loss; what is not "
            "known to have left whole is held)."
        ),
    ] = "send_again"
    retry: Annotated[Retry | None, _about("As [retry], for this route alone.")] = None
    windows: Annotated[Windows | None, _about("As [windows], for this route alone.")] = None

    @property
    def label(self) -> str:
        return self.name or self.transport

    @property
    def transports(self) -> tuple[str, ...]:
        return (self.transport, *self.fail_over)


GiveUp: TypeAlias = Literal["hold", "drop"]


class Callbacks(_Section, frozen=True, kw_only=True):
    """[callbacks]: how the application hears of bounces, and gets incoming mail."""

    transport: Annotated[
        str,
        _about(
            "Name of the table in [transports] that tells the application, of the kind `appengine` (by HTTP) or `functions`. "
            "Empty: nothing is told, and `Engine.receive` takes nothing."
        ),
    ] = ""
    bounces: Annotated[
        bool,
        _about("Tell the application of each failure that is reported to a sender, and of bounces that come back."),
    ] = True
    in_doubt: Annotated[
        InDoubt,
        _about("As in [[routes]]: what follows when a callback was made and the answer not seen."),
    ] = "send_again"
    give_up: Annotated[
        GiveUp,
        _about(
            "What follows when the schedule is over: `hold` until somebody releases it, so that nothing is lost, or `drop` it. "
            "Nobody is sent a report of it."
        ),
    ] = "hold"
    retry: Annotated[
        Retry,
        _about(
            "As [retry], for callbacks alone. Without this table: `first_seconds = 30`, `max_seconds = 1800`, the rest as "
            "[retry]'s defaults, because an application comes back sooner than a strange server."
        ),
    ] = Retry(first_seconds=30.0, max_seconds=1800.0)
    windows: Annotated[
        Windows,
        _about("As [windows], for callbacks alone. Without this table: `hold_seconds = 10`, `hold_max_seconds = 300`."),
    ] = Windows(hold_seconds=10.0, hold_max_seconds=300.0)

    @property
    def route(self) -> Route | None:
        """The road of callbacks, where there are any."""
        if not self.transport:
            return None
        return Route(
            transport=self.transport,
            name=CALLBACKS,
            in_doubt=self.in_doubt,
            retry=self.retry,
            windows=self.windows,
        )

    @property
    def tells_bounces(self) -> bool:
        return bool(self.transport) and self.bounces


class Config(_Section, frozen=True, kw_only=True):
    """Everything an engine needs to know.  `transports` maps a name to its settings; `plugin` names the transport kind."""

    spool: Spool = Spool()
    senders: Senders = Senders()
    limits: Limits = Limits()
    quotas: Quotas = Quotas()
    in_flight: InFlight = InFlight()
    retry: Retry = Retry()
    windows: Windows = Windows()
    reports: Reports = Reports()
    callbacks: Callbacks = Callbacks()
    routes: tuple[Route, ...] = ()
    transports: Mapping[str, Mapping[str, Any]] = {}
    plugins: Annotated[
        tuple[str, ...],
        _about(
            "Further plugins to load, by entry-point name; those that the transports and the spool name are loaded by themselves."
        ),
    ] = ()
    folder: str = ""

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def all_routes(self) -> tuple[Route, ...]:
        """Those of mail, and that of callbacks."""
        route = self.callbacks.route
        return self.routes if route is None else (*self.routes, route)

    def retry_of(self, route: Route) -> Retry:
        return route.retry or self.retry

    def windows_of(self, route: Route) -> Windows:
        return route.windows or self.windows

    def resolved(self, path: str | os.PathLike[str]) -> Path:
        """A path of the configuration: relative ones count from the configuration file's folder."""
        return Path(self.folder or ".", path)


def load_config(source: str | os.PathLike[str] | Mapping[str, Any] | Config) -> Config:
    """Read a configuration: the path of a TOML file, a mapping of the same shape, or a Config (returned as it is).

    Raises ConfigError with the key at fault.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return _convert(dict(source))
    path = Path(source)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from error
    return _convert({"folder": str(path.resolve().parent), **raw})


def revalidate(config: Config) -> Config:
    """Check a Config made in Python as strictly as one from TOML."""
    return _to_struct(msgspec.to_builtins(config), Config, "configuration")


def read_settings(settings: Mapping[str, Any], into: type[_T]) -> _T:
    """For plugins: turn a transport's table into a msgspec Struct; raises ConfigError with the key at fault.

    Declare the Struct with `forbid_unknown_fields=True`, so that a misspelt key is named.  The engine puts
    `transports.NAME.` before the key.  A field of the kind `PathSetting` comes back as the file is to be opened; of settings
    that were not read from a file, a relative path counts from the working directory.
    """
    from .transport import TransportSettings  # which other readers of a configuration do without

    read = _to_struct(settings, into, "plugin")
    if isinstance(settings, TransportSettings) and isinstance(read, msgspec.Struct):
        return _resolved(read, settings.base)
    return read


def _resolved(read: _S, base: Path) -> _S:
    paths = [field.name for field in _fields(type(read)) if _is_path(field)]
    return msgspec.structs.replace(read, **{name: str(base / path) for name in paths if (path := getattr(read, name))})


def _fields(struct: type[msgspec.Struct]) -> tuple[shape.Field, ...]:
    info = shape.type_info(struct)
    assert isinstance(info, shape.StructType)
    return info.fields


def _is_path(field: shape.Field) -> bool:
    marks = cast("dict[str, str] | None", field.type.extra) if isinstance(field.type, shape.Metadata) else None  # pyright: ignore[reportUnknownMemberType]  # msgspec leaves it open
    return "counts_from" in (marks or {})


def _convert(raw: dict[str, Any]) -> Config:
    return _to_struct(raw, Config, "configuration")


def _to_struct(raw: Any, into: type[_T], whole: str) -> _T:
    try:
        read = msgspec.convert(raw, into, strict=True)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        key, problem = misfit(error, raw, into)
        raise ConfigError(key or whole, problem) from None
    if endless := endless_number(read):
        raise ConfigError(*endless)
    return read
