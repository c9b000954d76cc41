"""The settings of an SMTP transport: the keys of a `[transports.NAME]` table with `plugin = "smtp"`."""

from __future__ import annotations

import socket
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from postroad.config import PathSetting
from postroad.errors import ConfigError

from . import emit, sasl
from .contradictions import SECRETS, check_login, check_tls, check_way
from .login import Source
from .places import read_networks, read_server, read_sources

__all__ = ["SmtpSettings", "read_login"]

_SMTP = 25
_SMTPS = 465  # RFC 8314 section 3.3


def _seconds(text: str) -> Meta:
    return Meta(description=f"Seconds. {text}", gt=0)


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "smtp": to one smarthost, or to the recipients' own servers."""

    smarthost: Annotated[
        str,
        Meta(
            description="The server that takes all mail: `host`, `host:port`, `[address]:port` or `unix:/path`. Empty: delivery "
            "to the recipients' own servers, found by their MX records."
        ),
    ] = ""
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(description="The port, where `smarthost` names none, or of MX delivery. Left out: 25."),
    ] = None
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
            "certificate for the server's name. Always TLS 1.2 or newer."
        ),
    ] = "opportunistic"
    implicit_tls: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="TLS from the first byte on instead of by STARTTLS (RFC 8314). auto: at port 465, unless `tls` is none. "
            "on: to a smarthost only. There is no falling back to plain text then, at no level."
        ),
    ] = "auto"
    ca_file: Annotated[
        PathSetting,
        Meta(description="PEM file with the authorities to trust for `verified`, instead of the system's."),
    ] = ""
    client_cert_file: Annotated[
        PathSetting,
        Meta(description="PEM file with our own certificate, and the chain behind it, for servers that ask for one."),
    ] = ""
    client_key_file: Annotated[
        PathSetting,
        Meta(description="PEM file with its key, not encrypted. Empty: the key is in `client_cert_file` too."),
    ] = ""
    username: Annotated[
        str, Meta(description="Login name, with one of the four settings that follow. Empty: no login.")
    ] = ""
    password_env: Annotated[str, Meta(description="Name of the environment variable that holds the password.")] = ""
    password_file: Annotated[
        PathSetting,
        Meta(description="File whose first line is the password. Read anew for each login."),
    ] = ""
    token_env: Annotated[
        str, Meta(description="Name of the environment variable that holds a bearer token (XOAUTH2).")
    ] = ""
    token_file: Annotated[
        PathSetting,
        Meta(
            description="File whose first line is a bearer token (XOAUTH2). Read anew for each login, because tokens live "
            "for an hour; it must be there at the start."
        ),
    ] = ""
    mechanisms: Annotated[
        tuple[str, ...],
        Meta(
            description="Login mechanisms that may be used: SCRAM-SHA-256, PLAIN, LOGIN, CRAM-MD5, XOAUTH2. Empty: any. Of "
            "those that the server offers the best is taken, whatever the order here."
        ),
    ] = ()
    login_without_tls: Annotated[
        bool,
        Meta(
            description="Allow the login without TLS. Whoever listens on the way then has the password, unless the server "
            "offers SCRAM-SHA-256 or CRAM-MD5, which are preferred there. A token never goes without TLS."
        ),
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
        _seconds(
            "How long a connection is kept without work; of more than 250 the one without it the longest is closed. "
            "Servers wait for at least 300 (RFC 5321 4.5.3.2.7)."
        ),
    ] = 15.0
    protocol: Annotated[
        Literal["smtp", "lmtp"],
        Meta(
            description="lmtp: for a mail store such as Dovecot, which answers for each recipient after the content "
            "(RFC 2033). Only to a smarthost, and never on port 25."
        ),
    ] = "smtp"
    pipelining: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="auto: where offered, until a server shows that it is confused by it. on: where "
            "offered, always, and complaints are believed. off: never."
        ),
    ] = "auto"
    chunking: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Content by BDAT (RFC 3030) where CHUNKING is offered. auto: over 256 KiB, until a server shows "
            "that it is confused by it. on: every content. off: never."
        ),
    ] = "auto"
    connect_seconds: Annotated[float, _seconds("For a TCP connection to one address. As Postfix.")] = 30.0
    greeting_seconds: Annotated[float, _seconds("For the greeting (RFC 5321 4.5.3.2.1).")] = 300.0
    command_seconds: Annotated[float, _seconds("For the reply to EHLO, MAIL, RCPT and others (4.5.3.2.2, .3).")] = 300.0
    envelope_seconds: Annotated[
        float,
        _seconds(
            "For all replies of an envelope, from MAIL to DATA: a server that is slow for each recipient is left then."
        ),
    ] = 900.0
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
    source_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses of this machine to send from, at most one IPv4 and one IPv6. Once one is given, only its "
            "family is used: mail from any other address would fail SPF. Empty: the system chooses."
        ),
    ] = ()
    dns_servers: Annotated[
        tuple[str, ...],
        Meta(
            description="DNS servers that MX delivery asks: `address` or `address:port`, IPv6 as `[::1]:53`. Empty: those of the "
            "system, as always for a smarthost's name."
        ),
    ] = ()
    dns_seconds: Annotated[float, _seconds("For one DNS look-up with all its repetitions.")] = 15.0

    def __post_init__(self) -> None:
        """Refuse what no single setting shows."""
        if self.helo and not _is_fit(self.helo):
            raise ConfigError("helo", f"{self.helo!r} is no host name and no address literal such as [192.0.2.1]")
        read_networks(self.allow_networks)
        for server in self.dns_servers:
            read_server("dns_servers", server, 53)
        read_sources(self.source_addresses)
        check_way(self)
        check_tls(self)
        check_login(self)

    @property
    def usual_port(self) -> int:
        """The port of MX delivery, and of a smarthost that names none."""
        return _SMTP if self.port is None else self.port

    @property
    def login_source(self) -> Source | None:
        """Where the login's secret is, or None without a login."""
        key = next((key for key in SECRETS if getattr(self, key)), "")
        return Source(self.username, key, getattr(self, key)) if key else None

    def is_tls_implicit(self, port: int) -> bool:
        """Whether TLS comes before the greeting at this port."""
        if self.tls == "none" or self.implicit_tls == "off":
            return False
        return self.implicit_tls == "on" or port == _SMTPS

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


def read_login(settings: SmtpSettings) -> Source | None:
    """Where the configured login comes from, or None.  Raises ConfigError where it cannot be read, or used by any mechanism."""
    source = settings.login_source
    if source is None:
        return None
    if not sasl.usable(source.read(), settings.mechanisms):
        problem = (
            "none of them is for this login (XOAUTH2 is for tokens, and only that; SCRAM is for what RFC 4013 allows)"
        )
        raise ConfigError("mechanisms", problem)
    return source
