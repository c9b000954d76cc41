"""A secret is read from where its setting says, is bounded, and stands in no error."""

from __future__ import annotations

import pytest

from postroad.errors import ConfigError
from postroad.secret import SECRET_OCTETS, read_secret, secret_text


def test_it_stands_where_the_settings_name_says(monkeypatch, tmp_path):
    monkeypatch.setenv("KEY", "of-the-environment")
    file = tmp_path / "key"
    file.write_bytes(b"of-a-file\r\nand a remark\n")
    assert read_secret("api_key_env", "KEY") == "of-the-environment"
    assert read_secret("api_key_file", str(file)) == "of-a-file"
    assert read_secret("api_key", "itself") == "itself"


def test_what_is_not_there_is_named_by_its_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("KEY", raising=False)
    for key, place in (("a_env", "KEY"), ("a_file", str(tmp_path)), ("a_file", "no\0where")):
        with pytest.raises(ConfigError, match=key):
            secret_text(key, place)


@pytest.mark.parametrize(
    "octets", [b"", b"two words", b"caf\xc3\xa9", b"caf\xe9", b"x" * (SECRET_OCTETS + 1), b"tab\tbed"]
)
def test_what_no_header_can_bear_is_refused_and_not_shown(tmp_path, octets):
    file = tmp_path / "key"
    file.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        read_secret("api_key_file", str(file))
    assert not octets or octets.decode("latin-1") not in str(caught.value)
    assert "caf" not in str(caught.value)


def test_an_endless_file_is_not_read_to_its_end():
    assert len(secret_text("key_file", "/dev/zero")) == SECRET_OCTETS + 3


def test_the_longest_is_taken(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"x" * SECRET_OCTETS + b"\r\n")
    assert read_secret("key_file", str(file)) == "x" * SECRET_OCTETS
