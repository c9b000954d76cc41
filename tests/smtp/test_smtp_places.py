"""Where things are: servers, sockets, addresses to send from; and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from postroad.config import read_settings
from postroad.errors import ConfigError
from postroad.transport import TransportSettings
from postroad_smtp.places import Place, Sources, read_place, read_sources
from postroad_smtp.settings import SmtpSettings


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("mail.example.com", Place("mail.example.com", 25), "mail.example.com:25"),
        ("mail.example.com:587", Place("mail.example.com", 587), "mail.example.com:587"),
        ("mail.example.com.", Place("mail.example.com.", 25), "mail.example.com.:25"),
        ("xn--mnchen-3ya.example", Place("xn--mnchen-3ya.example", 25), "xn--mnchen-3ya.example:25"),
        ("192.0.2.1:26", Place("192.0.2.1", 26), "192.0.2.1:26"),
        ("2001:db8::1", Place("2001:db8::1", 25), "[2001:db8::1]:25"),
        ("[2001:db8::1]:465", Place("2001:db8::1", 465), "[2001:db8::1]:465"),
        ("[2001:db8::1:26]", Place("2001:db8::1:26", 25), "[2001:db8::1:26]:25"),
        ("2001:db8:0:0:0:0:0:1", Place("2001:db8::1", 25), "[2001:db8::1]:25"),
        ("unix:/run/dovecot/lmtp", Place("/run/dovecot/lmtp", 0), "unix:/run/dovecot/lmtp"),
        ("unix:/with a:25/colon", Place("/with a:25/colon", 0), "unix:/with a:25/colon"),
    ],
)
def test_a_place_is_read_and_shown(text: str, place: Place, shown: str) -> None:
    assert read_place("smarthost", text, 25) == place
    assert str(place) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "host:0",
        "host:65536",
        "host:x",
        "[2001:db8::1",
        "/run/dovecot/lmtp",
        "unix:",
        "unix:relative/path",
        "unix:/a\0b",
        "unix:/" + "x" * 107,
        "unix:/" + "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 54,
    ],
)
def test_a_place_that_is_none_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(ConfigError) as info:
        read_place("smarthost", text, 25)
    assert info.value.key == "smarthost"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("256.1.1.1", "four numbers from 0 to 255"),
        ("127.1:25", "four numbers from 0 to 255"),
        ("x" * 70 + ".example", "1 to 63 letters"),
        ("a..example", "1 to 63 letters"),
        ("-a.example", "1 to 63 letters"),
        (".".join(["x" * 60] * 5), "too long"),
        ("m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen.example:587", "its A-label, xn--mnchen-3ya.example"),
        ("[::1::]", "is no IP address"),
        ("[1.2]", "is no IP address"),
        ("::1:53", r"\[::1\]:53 with a port, or \[::1:53\] without"),
        ("2001:db8::1:587", r"\[2001:db8::1\]:587"),
    ],
)
def test_a_host_that_is_none_is_refused_with_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as info:
        SmtpSettings(smarthost=text)
    assert info.value.key == "smarthost"


def test_an_ambiguous_dns_server_is_refused_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match=r"\[::1\]:53") as info:
        SmtpSettings(dns_servers=("::1:53",))
    assert info.value.key == "dns_servers"


@pytest.mark.parametrize(
    ("network", "remedy"),
    [
        ("10.1.2.3/16", "write 10.1.0.0/16 for all of that, or 10.1.2.3 for it alone"),
        ("2001:db8::1/32", "write 2001:db8::/32 for all of that"),
        ("10.1.2.3/99", "such as 10.1.0.0/16"),
        ("intranet", "such as 10.1.0.0/16"),
    ],
)
def test_a_network_that_is_none_is_refused_with_its_remedy(network: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as info:
        SmtpSettings(allow_networks=("10.1.0.0/16", network))
    assert info.value.key == "allow_networks"


def test_a_path_may_have_107_octets() -> None:
    assert read_place("smarthost", "unix:/" + "x" * 106, 25).is_unix


def test_without_a_source_the_system_chooses() -> None:
    sources = read_sources(())
    assert sources.may_reach("192.0.2.1")
    assert sources.may_reach("2001:db8::1")
    assert sources.source_for("192.0.2.1") == sources.source_for("2001:db8::1") == ""


def test_with_a_source_only_its_family_is_used() -> None:
    sources = read_sources(["192.0.2.5"])
    assert sources == Sources("192.0.2.5", "")
    assert sources.may_reach("198.51.100.1")
    assert not sources.may_reach("2001:db8::1")


def test_there_may_be_one_source_of_each_family() -> None:
    sources = read_sources(["2001:DB8::5", "192.0.2.5"])
    assert (sources.source_for("198.51.100.1"), sources.source_for("2001:db8:1::1")) == ("192.0.2.5", "2001:db8::5")


@pytest.mark.parametrize(
    ("sources", "remedy"),
    [
        (("192.0.2.5", "192.0.2.6"), "further transport"),
        (("2001:db8::5", "2001:db8::6"), "further transport"),
        (("0.0.0.0",), "leave it out"),
        (("::",), "leave it out"),
        (("eth0",), "such as 192.0.2.5"),
        (("192.0.2.0/24",), "such as 192.0.2.5"),
        (("224.0.0.1",), "plain IPv4 or IPv6 address"),
        (("::ffff:192.0.2.5",), "plain IPv4 or IPv6 address"),
        (("fe80::1%eth0",), "plain IPv4 or IPv6 address"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_its_remedy(sources: tuple[str, ...], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as info:
        SmtpSettings(source_addresses=sources)
    assert info.value.key == "source_addresses"


@pytest.mark.parametrize(
    ("settings", "key", "remedy"),
    [
        ({"smarthost": "unix:/run/lmtp", "source_addresses": ("192.0.2.5",)}, "source_addresses", "leave them out"),
        ({"smarthost": "[2001:db8::1]", "source_addresses": ("192.0.2.5",)}, "source_addresses", "add one"),
        ({"smarthost": "192.0.2.1", "source_addresses": ("2001:db8::5",)}, "source_addresses", "add one"),
        ({"smarthost": "unix:/run/lmtp", "tls": "verified"}, "tls", "write required"),
        ({"implicit_tls": "on"}, "implicit_tls", "leave it out, or name a smarthost"),
        ({"smarthost": "host", "allow_networks": ("10.1.0.0/16",)}, "allow_networks", "leave them out"),
        ({"smarthost": "host", "dns_servers": ("192.0.2.53",)}, "dns_servers", "by the system"),
        ({"smarthost": "host", "login_without_tls": True}, "login_without_tls", "leave this out"),
        ({"login_without_tls": True}, "login_without_tls", "leave this out"),
        ({"smarthost": "host:587", "port": 25}, "port", "the smarthost host:587"),
        ({"smarthost": "[2001:db8::1]:587", "port": 587}, "port", "leave it out"),
        ({"smarthost": "unix:/run/lmtp", "port": 25}, "port", "the smarthost unix:/run/lmtp"),
        (
            {"smarthost": "host", "username": "u", "password_file": "/p", "token_file": "/t"},
            "token_file",
            "password_file names one already",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], key: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as info:
        SmtpSettings(**settings)  # type: ignore[arg-type]
    assert info.value.key == key


@pytest.mark.parametrize(
    ("settings", "port"),
    [({}, 25), ({"port": 2525}, 2525), ({"smarthost": "host", "port": 587}, 587), ({"smarthost": "host"}, 25)],
)
def test_the_usual_port_is_25(settings: dict[str, Any], port: int) -> None:
    assert SmtpSettings(**settings).usual_port == port


@pytest.mark.parametrize("port", [0, 65_536, "25"])
def test_a_port_that_is_none_is_refused(port: object) -> None:
    with pytest.raises(ConfigError) as info:
        read_settings({"smarthost": "host", "port": port}, SmtpSettings)
    assert info.value.key == "port"


def test_a_smarthost_by_name_may_have_any_source() -> None:
    assert SmtpSettings(smarthost="mail.example.com", source_addresses=("2001:db8::5",)).source_addresses


def test_paths_count_from_the_configuration_files_folder() -> None:
    keys = ("ca_file", "client_cert_file", "client_key_file", "token_file")
    table = {key: f"{key}.txt" for key in keys}
    table |= {"smarthost": "mail.example.com", "username": "u", "tls": "verified"}
    read = read_settings(TransportSettings(table, base=Path("/etc/postroad")), SmtpSettings)
    assert [getattr(read, key) for key in keys] == [f"/etc/postroad/{key}.txt" for key in keys]
    assert read.login_source is not None
    assert read.login_source.place == "/etc/postroad/token_file.txt"
