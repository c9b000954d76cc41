"""Settings: what is refused and in which words, where a secret comes from, and that it shows nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakes_of_providers import MAKERS, SECRET
from http_road import Road

from postroad.errors import ConfigError
from postroad.testing import make_request
from postroad.verdict import Disposition, Scope
from postroad_http import http_transport
from postroad_http.providers import PROVIDERS

POSTMARK: dict[str, Any] = {"provider": "postmark", "api_key": SECRET}


async def _open(**table: Any) -> None:
    async with http_transport(table):
        pass


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "provider: must be one of brevo, mailersend"),
        ({"provider": "gmail"}, "provider: must be one of"),
        ({"provider": "postmark"}, "api_key: must be there"),
        ({**POSTMARK, "api_key_env": "X"}, "api_key_env: there are api_key and api_key_env; keep one"),
        ({**POSTMARK, "api_key": "two words"}, "api_key: the secret must be"),
        ({"provider": "postmark", "api_key_env": "NO_SUCH_THING"}, "api_key_env: the environment has no NO_SUCH_THING"),
        ({"provider": "postmark", "api_key_file": "/nowhere/at/all"}, "api_key_file: cannot be read"),
        ({**POSTMARK, "base_url": "http://api.example.com"}, "base_url: the secret would go in clear text"),
        ({**POSTMARK, "base_url": "https://u:p@api.example.com"}, "base_url: must have no user name"),
        ({**POSTMARK, "base_url": "ftp://api.example.com"}, "base_url: must be such as"),
        ({**POSTMARK, "base_url": "https://api.example.com:0"}, "base_url: must be such as"),
        ({**POSTMARK, "timeout_seconds": 0}, "timeout_seconds"),
        ({**POSTMARK, "others": "show"}, "others"),
        ({**POSTMARK, "ca_file": "/nowhere/at/all"}, "ca_file: cannot be read"),
        ({**POSTMARK, "message_stream": "a b"}, "message_stream: 'a b' cannot be one"),
        ({"provider": "mailgun", "api_key": SECRET}, "domain"),
        ({"provider": "mailgun", "api_key": SECRET, "domain": "a/b"}, "domain: 'a/b' cannot be one"),
        ({"provider": "ses", "api_key": SECRET, "region": "x.evil/", "access_key_id": "AKIA"}, "region"),
        ({"provider": "ses", "api_key": SECRET, "region": "eu-west-1", "access_key_id": "A\r\nB"}, "access_key_id"),
    ],
)
async def test_what_cannot_be_right_is_refused_with_its_key(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as found:
        await _open(**table)
    assert words in str(found.value)
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
async def test_a_providers_own_place_is_https_and_shows_no_secret(name: str) -> None:
    table = {**MAKERS[name]().settings, "api_key": SECRET}
    provider = PROVIDERS[name]
    import msgspec

    settings = msgspec.convert(table, provider.settings)
    assert provider.base_url(settings).startswith("https://")
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    async with http_transport(table) as transport:
        assert SECRET not in repr(transport)


@pytest.mark.parametrize(
    ("name", "region", "url"),
    [
        ("mailgun", "eu", "https://api.eu.mailgun.net"),
        ("sendgrid", "eu", "https://api.eu.sendgrid.com"),
        ("mailjet", "us", "https://api.us.mailjet.com"),
        ("sparkpost", "eu", "https://api.eu.sparkpost.com"),
        ("ses", "ap-south-1", "https://email.ap-south-1.amazonaws.com"),
    ],
)
def test_a_region_has_its_place(name: str, region: str, url: str) -> None:
    import msgspec

    provider = PROVIDERS[name]
    table = {**MAKERS[name]().settings, "api_key": SECRET, "region": region}
    assert provider.base_url(msgspec.convert(table, provider.settings)) == url


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_says_what_it_was_written_from(name: str) -> None:
    provider = PROVIDERS[name]
    said = sys.modules[type(provider).__module__].__doc__ or ""
    assert provider.read_on in said
    assert "Envelope:" in said
    assert provider.documentation.startswith("https://")


async def test_a_key_from_the_environment(postmark: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTMARK_KEY", SECRET)
    table = {**postmark.settings, "api_key": "", "api_key_env": "POSTMARK_KEY"}
    async with http_transport(table) as transport:
        (verdict,) = await transport.deliver(make_request(("b@example.org",)))
    assert verdict.disposition is Disposition.ACCEPTED


async def test_a_key_in_a_file_is_read_anew_and_a_lost_one_holds_the_transport(postmark: Road, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old-key\n")
    table = {**postmark.settings, "api_key": "", "api_key_file": str(file)}
    async with http_transport(table) as transport:
        (verdict,) = await transport.deliver(make_request(("b@example.org",)))
        assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)
        file.write_text(SECRET + "\nwhat follows is no part of it\n")
        (verdict,) = await transport.deliver(make_request(("b@example.org",)))
        assert verdict.disposition is Disposition.ACCEPTED
        file.unlink()
        (verdict,) = await transport.deliver(make_request(("b@example.org",)))
        assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)
        assert "api_key_file" in verdict.reply
    assert len(postmark.peer.asked) == 2


async def test_two_accounts_at_one_provider_are_two_sites(postmark: Road) -> None:
    sites: list[str] = []
    for key in (SECRET, "another-key"):
        async with http_transport({**postmark.settings, "api_key": key}) as transport:
            (verdict,) = await transport.deliver(make_request(("b@example.org",)))
            sites.append(verdict.site)
    assert len(set(sites)) == 2
    assert not any(SECRET in site for site in sites)


async def test_a_certificate_by_strangers_is_not_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with http_transport({**POSTMARK, "ca_file": str(file)}):
        pass  # a file that can be read is taken; who is trusted by it, the TLS library tests


def test_an_engine_without_such_a_transport_never_imports_httpx2() -> None:
    code = "import sys, postroad_http, postroad.engine; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_without_httpx2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("postroad_http.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigError, match=r"postroad\[http\]"):
        await _open(**POSTMARK)
