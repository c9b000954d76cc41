"""The configuration: what is read, what is refused, and that the key at fault is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from postroad.config import Config, PathSetting, Retry, Route, Windows, load_config, read_settings, revalidate
from postroad.errors import ConfigError, PostroadError
from postroad.transport import TransportSettings

MINIMAL: dict[str, Any] = {
    "routes": [{"recipients": "*", "transport": "outbound"}],
    "transports": {"outbound": {"plugin": "smtp", "smarthost": "127.0.0.1:2525"}},
}


def refused(raw: Mapping[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    return caught.value


def test_an_empty_configuration_is_one() -> None:
    assert load_config({}) == Config()


def test_a_toml_file_and_a_mapping_mean_the_same(tmp_path: Path) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text(
        '[[routes]]\nrecipients = "*"\ntransport = "outbound"\n'
        '[transports.outbound]\nplugin = "smtp"\nsmarthost = "127.0.0.1:2525"\n'
    )
    assert load_config(file) == msgspec.structs.replace(load_config(MINIMAL), folder=str(tmp_path))


def test_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "postroad.toml").write_text("")
    config = load_config(tmp_path / "postroad.toml")
    assert config.resolved("var/spool.db") == tmp_path / "var/spool.db"
    assert config.resolved("/srv/spool.db") == Path("/srv/spool.db")
    assert Config().resolved("var/spool.db") == Path("var/spool.db")


def test_a_config_is_returned_as_it_is() -> None:
    config = Config()
    assert load_config(config) is config


def test_transport_settings_are_left_to_the_plugin() -> None:
    assert load_config(MINIMAL).transports["outbound"]["smarthost"] == "127.0.0.1:2525"


@pytest.mark.parametrize(
    ("raw", "key", "said"),
    [
        ({"spol": {}}, "spol", "no such setting; did you mean spool?"),
        ({"xyz": {}}, "xyz", "no such setting"),
        ({"retry": {"first_second": 1}}, "retry.first_second", "no such setting; did you mean first_seconds?"),
        ({"retry": {"first_seconds": "soon"}}, "retry.first_seconds", "must be a number, not a text in quotes"),
        ({"retry": 300}, "retry", "must be a table, not a whole number"),
        ({"windows": {"start": 0}}, "windows.start", "must be >= 1"),
        ({"windows": {"start": 2.5}}, "windows.start", "must be a whole number"),
        ({"retry": {"jitter": 0.9}}, "retry.jitter", "must be <= 0.5"),
        ({"spool": {"socket": "yes"}}, "spool.socket", "must be true or false, not a text in quotes"),
        (
            {"senders": {"authorized": "*"}},
            "senders.authorized",
            'must be a list, such as ["..."], not a text in quotes',
        ),
        ({"routes": {"transport": "x"}}, "routes", "must be a list of tables"),
        ({"transports": {"out": "smtp"}}, "transports.out", "must be a table, not a text in quotes"),
        ({"retry": {"first_seconds": 5000}}, "retry.first_seconds", "retry.max_seconds (4000)"),
        ({"retry": {"give_up_seconds": 60}}, "retry.give_up_seconds", "retry.first_seconds (300)"),
        ({"windows": {"start": 30}}, "windows.start", "windows.max (20)"),
        ({"windows": {"hold_max_seconds": 1}}, "windows.hold_seconds", "windows.hold_max_seconds (1)"),
        ({"limits": {"queue_bytes": 2048}}, "limits.queue_bytes", "limits.message_bytes"),
        (
            {
                "limits": {"queue_bytes": 30_000, "message_bytes": 28_000},
                "transports": {"app": {"plugin": "functions"}},
                "callbacks": {"transport": "app"},
            },
            "limits.queue_bytes",
            "incoming mail",
        ),
        ({"spool": {"url": "postroad.db"}}, "spool.url", "sqlite:"),
        ({"transports": {"out": {}}}, "transports.out.plugin", "smtp"),
        ({"transports": {"out": {"plugin": 3}}}, "transports.out.plugin", "smtp"),
        ({"routes": [{"transport": "x"}]}, "routes[0].transport", "known: none"),
        ({**MINIMAL, "routes": [{"transport": "outbond"}]}, "routes[0].transport", "known: outbound"),
        ({**MINIMAL, "routes": [{"transport": "outbound"}] * 2}, "routes[1].name", "outbound"),
        ({**MINIMAL, "routes": [{"transport": "outbound", "name": "a b"}]}, "routes[0].name", "must fit the pattern"),
        (
            {**MINIMAL, "routes": [{"transport": "outbound", "retry": {"max_seconds": 1}}]},
            "routes[0].retry.first_seconds",
            "at most",
        ),
        (
            {**MINIMAL, "routes": [{"transport": "outbound", "windows": {"max": 1}}]},
            "routes[0].windows.start",
            "at most",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name(raw: Mapping[str, Any], key: str, said: str) -> None:
    error = refused(raw)
    assert error.key == key
    assert said in error.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load_config(tmp_path / "absent.toml")
    assert caught.value.key == str(tmp_path / "absent.toml")


@pytest.mark.parametrize("content", [b"[spool", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "postroad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_config(file)
    assert caught.value.key == str(file)


def test_a_config_error_is_both_ours_and_a_value_error() -> None:
    assert issubclass(ConfigError, PostroadError)
    assert issubclass(ConfigError, ValueError)


def test_contradictions_are_refused_in_python_too() -> None:
    with pytest.raises(ConfigError, match=r"retry\.first_seconds"):
        Config(retry=Retry(first_seconds=10, max_seconds=5))


def test_revalidation_finds_what_python_let_pass() -> None:
    config = Config(windows=Windows(start=0))
    with pytest.raises(ConfigError, match=r"windows\.start"):
        revalidate(config)


def test_revalidation_keeps_a_sound_configuration() -> None:
    config = load_config(MINIMAL)
    assert revalidate(config) == config


def test_a_routes_own_tables_win() -> None:
    own = Route(transport="outbound", retry=Retry(first_seconds=1), windows=Windows(max=50))
    plain = Route(transport="outbound", name="plain")
    config = Config(routes=(own, plain), transports={"outbound": {"plugin": "smtp"}})
    assert config.retry_of(own).first_seconds == 1
    assert config.retry_of(plain) is config.retry
    assert config.windows_of(own).max == 50
    assert config.windows_of(plain) is config.windows


def test_a_route_is_called_by_its_name_or_its_transports() -> None:
    assert Route(transport="outbound").label == "outbound"
    assert Route(transport="outbound", name="bulk").label == "bulk"


class PostcardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stamp: str
    pieces: int = 1
    album: PathSetting = ""
    size: Literal["small", "large"] = "small"
    sides: tuple[Literal["front", "back"], ...] = ()
    dry_seconds: float = 1.0
    names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)] = ("Ann",)
    code: Annotated[str, Meta(min_length=2)] = "ab"
    motto: Annotated[str, Meta(max_length=3)] = ""
    url: Annotated[str, Meta(pattern="^https?://.")] = "http://x"


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, field.name)
        for section in ("limits", "in_flight", "retry", "windows", "reports")
        for field in msgspec.structs.fields(type(getattr(Config(), section)))
        if field.type is not int and isinstance(field.default, float)
    ],
)
def test_no_number_is_endless(section: str, key: str, value: float) -> None:
    others = {"max_seconds": value} if key == "first_seconds" else {}
    others |= {"hold_max_seconds": value} if key == "hold_seconds" else {}
    error = refused({section: {key: value, **others}})
    assert error.key.startswith(f"{section}.")
    assert error.problem.startswith("must be ")


def test_what_is_endless_is_named_in_a_routes_own_table_and_in_python_too() -> None:
    endless = Retry(give_up_seconds=float("inf"))
    with pytest.raises(ConfigError, match="must be a finite number, not inf") as caught:
        revalidate(Config(routes=(Route(transport="out", retry=endless),), transports={"out": {"plugin": "smtp"}}))
    assert caught.value.key == "routes[0].retry.give_up_seconds"


def test_plugin_settings_become_a_struct() -> None:
    assert read_settings({"stamp": "airmail"}, PostcardSettings) == PostcardSettings(stamp="airmail")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"stamp": 3}, "stamp"),
        ({"stamp": "airmail", "piece": 2}, "piece"),
        ({}, "stamp"),
        ({"stamp": "airmail", "dry_seconds": float("inf")}, "dry_seconds"),
    ],
)
def test_wrong_plugin_settings_are_refused_by_name(settings: Mapping[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(settings, PostcardSettings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"size": "huge"}, "size", 'must be "large" or "small", not \'huge\''),
        ({"sides": ["front", "top"]}, "sides[1]", 'must be "back" or "front", not \'top\''),
        ({"size": 3}, "size", 'must be "large" or "small", not a whole number'),
        ({"pieces": "3"}, "pieces", "must be a whole number, not a text in quotes"),
        ({"names": []}, "names", "must not be empty"),
        ({"names": ["a", "b", "c"]}, "names", "must have at most 2 entries"),
        ({"code": "a"}, "code", "must have at least 2 characters"),
        ({"motto": "long"}, "motto", "must have at most 3 characters"),
        ({"url": "ftp://x"}, "url", "must fit the pattern ^https?://."),
    ],
)
def test_what_is_allowed_is_told(settings: Mapping[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"stamp": "airmail", **settings}, PostcardSettings)
    assert (caught.value.key, caught.value.problem) == (key, said)


@pytest.mark.parametrize(("given", "read"), [("album", "/etc/postroad/album"), ("/srv/album", "/srv/album"), ("", "")])
def test_a_plugins_paths_count_from_the_files_folder(given: str, read: str) -> None:
    table = TransportSettings({"stamp": "airmail", "album": given}, base=Path("/etc/postroad"))
    assert read_settings(table, PostcardSettings).album == read


def test_paths_given_from_python_count_from_the_working_directory() -> None:
    assert read_settings({"stamp": "airmail", "album": "album"}, PostcardSettings).album == "album"
    table = TransportSettings({"stamp": "airmail", "album": "album"})
    assert read_settings(table, PostcardSettings).album == "album"
