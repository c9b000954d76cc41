"""The SMTP variables as the configuration of a queue: for the engine, for send(), and for the command."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from mail_site import Server, send

import postroad
from postroad.appengine import config_from_environ, service
from postroad.appengine.apiproxy_errors import FeatureNotEnabledError
from postroad.appengine.environment import admins_of, spool_url
from postroad.cli.app import postroad as command
from postroad.errors import ConfigError
from postroad.offline import open_offline
from postroad.spool import SpoolPlace

pytestmark = pytest.mark.usefixtures("nothing_said")

QUEUED = {
    "APPENGINE_USE_SMTP_MAIL_SERVICE": "true",
    "POSTROAD_QUEUE_SMTP": "true",
    "POSTROAD_SPOOL": "/var/spool/postroad.db",
    "APPENGINE_SMTP_HOST": "smtp.example.com",
}


def transport(**more):
    return dict(config_from_environ({**QUEUED, **more}).transports["smarthost"])


def test_the_variables_are_a_smarthost_that_takes_all_mail():
    config = config_from_environ(
        {
            **QUEUED,
            "APPENGINE_SMTP_USER": "user",
            "APPENGINE_SMTP_PASSWORD": "secret",
            "APPENGINE_ADMIN_EMAIL_RECIPIENTS": "x@example.org, y@example.org",
        }
    )
    assert config.spool.url == "sqlite:/var/spool/postroad.db"
    assert config.senders.authorized == ("*",)
    assert config.senders.admins == ("x@example.org", "y@example.org")
    assert [(route.recipients, route.transport) for route in config.routes] == [("*", "smarthost")]
    assert dict(config.transports["smarthost"]) == {
        "plugin": "smtp",
        "smarthost": "smtp.example.com:587",
        "tls": "required",
        "username": "user",
        "password_env": "APPENGINE_SMTP_PASSWORD",
    }


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"APPENGINE_SMTP_PORT": "2525"}, "smarthost", "smtp.example.com:2525"),
        ({"APPENGINE_SMTP_HOST": "::1"}, "smarthost", "[::1]:587"),
        ({"APPENGINE_SMTP_USE_TLS": "False"}, "tls", "none"),
        ({"APPENGINE_SMTP_USE_TLS": "false", "APPENGINE_SMTP_PORT": "465"}, "tls", "required"),
        ({"POSTROAD_SMTP_TLS": "verified"}, "tls", "verified"),
    ],
)
def test_each_variable_has_its_setting(given, key, value):
    assert transport(**given)[key] == value


def test_without_tls_a_login_is_as_the_original_has_it():
    given = {"APPENGINE_SMTP_USE_TLS": "false", "APPENGINE_SMTP_USER": "u", "APPENGINE_SMTP_PASSWORD": "p"}
    assert transport(**given)["login_without_tls"] is True


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"POSTROAD_QUEUE_SMTP": "yes"}, "POSTROAD_QUEUE_SMTP"),
        ({"POSTROAD_QUEUE_SMTP": "false"}, "POSTROAD_QUEUE_SMTP"),
        ({"APPENGINE_USE_SMTP_MAIL_SERVICE": "false"}, "POSTROAD_QUEUE_SMTP"),
        ({"POSTROAD_CONFIG": "postroad.toml"}, "POSTROAD_QUEUE_SMTP"),
        ({"POSTROAD_SPOOL": ""}, "POSTROAD_SPOOL"),
        ({"APPENGINE_SMTP_HOST": ""}, "APPENGINE_SMTP_HOST"),
        ({"APPENGINE_SMTP_PORT": "smtp"}, "APPENGINE_SMTP_PORT"),
        ({"APPENGINE_SMTP_PORT": "65536"}, "APPENGINE_SMTP_PORT"),
        ({"APPENGINE_SMTP_USER": "user"}, "APPENGINE_SMTP_PASSWORD"),
        ({"APPENGINE_SMTP_PASSWORD": "secret"}, "APPENGINE_SMTP_USER"),
        ({"POSTROAD_SMTP_TLS": "none"}, "POSTROAD_SMTP_TLS"),
        ({"POSTROAD_SMTP_TLS": "verified", "APPENGINE_SMTP_USE_TLS": "false"}, "POSTROAD_SMTP_TLS"),
    ],
)
def test_what_is_missing_or_contradicts_is_refused_by_the_variables_name(given, key):
    with pytest.raises(ConfigError) as caught:
        config_from_environ({**QUEUED, **given})
    assert caught.value.key == key
    assert "secret" not in str(caught.value)


def test_senders_may_be_named_and_administrators_may_be_none():
    config = config_from_environ({**QUEUED, "POSTROAD_AUTHORIZED_SENDERS": "a@example.com, *@b.example"})
    assert config.senders.authorized == ("a@example.com", "*@b.example")
    assert admins_of({}) == ()


def test_a_spool_is_a_path_or_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert spool_url("a.db") == spool_url("sqlite:a.db") == f"sqlite:{tmp_path}/a.db"
    assert spool_url(tmp_path / "b:c.db") == f"sqlite:{tmp_path}/b:c.db"
    assert spool_url("memory:") == "memory:"


@pytest.fixture
def queued(monkeypatch, tmp_path):
    for name, value in {**QUEUED, "POSTROAD_SPOOL": str(tmp_path / "spool.db")}.items():
        monkeypatch.setenv(name, value)
    service.configure()
    return tmp_path


async def test_what_is_sent_waits_in_the_spool_until_an_engine_of_the_same_environment_has_sent_it(queued, monkeypatch):
    server = Server()
    server.start()
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("APPENGINE_SMTP_PORT", str(server.port))
    monkeypatch.setenv("APPENGINE_SMTP_USE_TLS", "false")
    id = send(Sender="anybody@example.net")
    async with postroad.open_engine(config_from_environ()) as engine:
        assert (await (await engine.receipt(id)).settled()).is_delivered
    server.join(60)
    server.listener.close()
    assert b"Subject: Hello\r\n" in server.content


def test_the_command_takes_its_configuration_from_the_environment(queued, monkeypatch):
    monkeypatch.chdir(queued)
    (queued / "postroad.toml").write_text("this is another's")
    id = send()
    shown = CliRunner().invoke(command, ["queue", "list"])
    assert shown.exit_code == 0, shown.stderr
    assert id in shown.stdout
    shown = CliRunner().invoke(command, ["--config", "postroad.toml", "queue", "list"])
    assert shown.exit_code == 78
    assert "POSTROAD_QUEUE_SMTP" in shown.stderr


def check():
    found = CliRunner().invoke(command, ["check", "--json"])
    return found.exit_code, {each["where"]: each["problem"] for each in json.loads(found.stdout)}


def test_what_is_checked_is_what_would_run(queued, monkeypatch):
    monkeypatch.chdir(queued)
    (queued / "postroad.toml").write_text("this is another's")
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "not a host")
    code, found = check()
    assert code == 78
    assert "transports.smarthost.smarthost" in found
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "smtp.example.com")
    assert check()[0] == 0
    monkeypatch.setenv("APPENGINE_SMTP_PORT", "no port")
    assert check() == (78, {"APPENGINE_SMTP_PORT": "'no port' is no port; write a number from 1 to 65535"})
    monkeypatch.setenv("POSTROAD_CONFIG", "postroad.toml")
    assert "both say where mail goes" in check()[1]["POSTROAD_QUEUE_SMTP"]


def test_a_contradiction_is_refused_at_send(queued, monkeypatch):
    monkeypatch.setenv("POSTROAD_CONFIG", "postroad.toml")
    with pytest.raises(FeatureNotEnabledError, match="both say where mail goes"):
        send()
    assert not (queued / "spool.db").exists()


def test_the_spool_is_that_of_the_variables(queued):
    send()
    with open_offline(SpoolPlace.parse(f"sqlite:{queued}/spool.db", queued), config_from_environ()) as spool:
        assert spool._store.tally().messages == 1
