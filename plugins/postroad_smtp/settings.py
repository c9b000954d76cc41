"""The settings of an SMTP transport: the keys of a `[transports.NAME]` table with `plugin = "smtp"`."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from postroad.errors import ConfigError

from . import emit

__all__ = ["Login", "Network", "Place", "SmtpSettings", "read_login", "read_networks", "read_place"]

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
_SECRET_BYTES = 4096


def _seconds(text: str) -> Meta:
    return Meta(description=f"Seconds. {text}", gt=0)


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "smtp": to one smarthost, or to the recipients' own servers."""

    smarthost: Annotated[
        str,
        Meta(
            description="The server that takes all mail: `host`, `host:port` or `[address]:port`. Empty: delivery to the "
            "recipients' own servers, found by their MX records."
        ),
    ] = ""
    port: Annotated[
        int, Meta(description="The port, where `smarthost` names none. 25 for MX delivery.", ge=1, le=65535)
    ] = 25
    helo: Annotated[
        str,
        Meta(
            description="This host's name in EHLO; it should resolve to the sending address, and back. Empty: the machine's name."
        ),
    ] = ""
    tls: Annotated[
        Literal["none", "opportunistic", "required", "verified"],
        Meta(
            description="none: never TLS. opportunistic: where offered, any certificate, falling back to plain "
            "text once and remembering it. required: no mail without TLS, any certificate. verified: TLS with a "
            "certificate for the server's name."
        ),
    ] = "opportunistic"
    ca_file: Annotated[
        str,
        Meta(description="PEM file with the authorities to trust for `verified`, instead of the system's."),
    ] = ""
    username: Annotated[str, Meta(description="Login (AUTH PLAIN or LOGIN). Empty: none.")] = ""
    password_env: Annotated[str, Meta(description="Name of the environment variable that holds the password.")] = ""
    password_file: Annotated[
        str, Meta(description="File whose first line is the password; relative to the working directory.")
    ] = ""
    login_without_tls: Annotated[
        bool, Meta(description="Allow the login without TLS. Whoever listens on the way then has the password.")
    ] = False
    sessions: Annotated[
        int,
        Meta(
            description="Connections at once to one site (the servers behind a domain, or the smarthost). Half of `[windows] "
            "max`: each can then have the next envelope under way with the content before it.",
            ge=1,
            le=1000,
        ),
    ] = 10
    messages_per_session: Annotated[
        int, Meta(description="Messages over one connection before it is closed; servers resent endless ones.", ge=1)
    ] = 100
    session_seconds: Annotated[
        float, _seconds("The age at which a connection takes no more messages, so that changes of DNS are noticed.")
    ] = 300.0
    idle_seconds: Annotated[
        float,
        _seconds("How long a connection is kept without work. Servers wait for at least 300 (RFC 5321 4.5.3.2.7)."),
    ] = 15.0
    pipelining: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="auto: where offered, until a server shows that it is confused by it. on: where "
            "offered, always. off: never."
        ),
    ] = "auto"
    connect_seconds: Annotated[float, _seconds("For a TCP connection to one address. As Postfix.")] = 30.0
    greeting_seconds: Annotated[float, _seconds("For the greeting (RFC 5321 4.5.3.2.1).")] = 300.0
    command_seconds: Annotated[float, _seconds("For the reply to EHLO, MAIL, RCPT and others (4.5.3.2.2, .3).")] = 300.0
    tls_seconds: Annotated[float, _seconds("For the TLS handshake; the RFC says nothing.")] = 60.0
    data_seconds: Annotated[float, _seconds("For the reply to DATA (4.5.3.2.4).")] = 120.0
    block_seconds: Annotated[float, _seconds("For each write of content, at most 256 KiB (4.5.3.2.5).")] = 180.0
    dot_seconds: Annotated[
        float, _seconds("For the reply to the final dot (4.5.3.2.6); ending it early makes duplicates.")
    ] = 600.0
    allow_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks that MX delivery may connect to although they are not public, such as `10.1.0.0/16`. By "
            "default none: a stranger's MX record could otherwise point at this machine. A smarthost is allowed by being named."
        ),
    ] = ()
    dns_servers: Annotated[
        tuple[str, ...],
        Meta(description="DNS servers to ask: `address` or `address:port`. Empty: those of the system."),
    ] = ()
    dns_seconds: Annotated[float, _seconds("For one DNS look-up with all its repetitions.")] = 15.0

    def __post_init__(self) -> None:
        """Refuse what no single setting shows."""
        if self.smarthost:
            read_place("smarthost", self.smarthost, self.port)
        if self.helo and not _is_fit(self.helo):
            raise ConfigError("helo", f"{self.helo!r} is no host name and no address literal such as [192.0.2.1]")
        read_networks(self.allow_networks)
        for server in self.dns_servers:
            read_place("dns_servers", server, 53)
        if bool(self.password_env) + bool(self.password_file) != bool(self.username):
            raise ConfigError("username", "a login needs username and one of password_env and password_file")
        if not self.username.isprintable():
            raise ConfigError("username", "must be printable characters")
        if self.username and not self.smarthost:
            raise ConfigError("username", "a login is for a smarthost; a password must not go to strangers' servers")
        if self.username and self.tls == "none" and not self.login_without_tls:
            raise ConfigError("tls", "a login needs TLS, or login_without_tls = true")

    @property
    def helo_name(self) -> str:
        """The name for EHLO: as configured, or the machine's own if it is fit for the wire."""
        name = self.helo or socket.gethostname()
        return name if _is_fit(name) else "localhost"


def _is_fit(name: str) -> bool:
    try:
        emit.ehlo(name)
    except emit.Unsafe:
        return False
    return True


class Place(NamedTuple):
    """A host (name or numeric address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_place(key: str, text: str, port: int) -> Place:
    """Read `host`, `host:port`, `[v6]:port` or a bare IPv6 address.  Raises ConfigError."""
    try:
        return Place(str(ipaddress.IPv6Address(text)), port)
    except ValueError:
        pass
    match = _PLACE.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 0 < number < 65_536:
        raise ConfigError(key, f"{text!r} must be host, host:port or [address]:port")
    return Place(match["v6"] or match["host"], number)


def read_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError("allow_networks", str(error)) from None


class Login(NamedTuple):
    """Credentials.  Never logged: the password is not part of the text."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


def read_login(settings: SmtpSettings) -> Login | None:
    """The configured credentials, or None.  Raises ConfigError where the password is not to be had."""
    if not settings.username:
        return None
    password = _from_env(settings.password_env) if settings.password_env else _from_file(settings.password_file)
    if "\0" in password:  # it separates the parts of a PLAIN login (RFC 4616 section 2)
        raise ConfigError("password_file", "the password holds NUL, which no login can carry")
    return Login(settings.username, password)


def _from_env(name: str) -> str:
    password = os.environ.get(name, "")
    if not password:
        raise ConfigError("password_env", f"the environment has no {name}")
    return password


def _from_file(name: str) -> str:
    try:
        with Path(name).open(encoding="utf-8") as file:
            password = file.readline(_SECRET_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("password_file", f"cannot be read: {error}") from None
    if not password:
        raise ConfigError("password_file", "its first line is empty")
    return password
