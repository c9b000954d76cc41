"""Hostile text becomes harmless and short; secrets stay out of every line; a filtered line is nearly free."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from postroad.log import configure_logging, get_logger, make_printable, printable, redact_secrets


@pytest.fixture(autouse=True)
def _default_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


# --- printable ---


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "550 5.1.1 Käyttäjää ei löydy: пользователь 🎉 <b@example.org>"
    assert printable(text) is text
    assert printable(text.encode()) == text


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a\r\nINFO forged", r"a\x0d\x0aINFO forged"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("nul\0", r"nul\x00"),
        ("c1\x85\x9b", r"c1\x85\x9b"),
        ("line\u2028para\u2029", r"line\u{2028}para\u{2029}"),
        ("\u202egnp.exe", r"\u{202e}gnp.exe"),
        ("lone \udc80", r"lone \u{dc80}"),
        ("tag \U000e0041", r"tag \u{e0041}"),
        (b"latin \xe9", r"latin \xe9"),
    ],
)
def test_what_could_harm_a_line_is_escaped(raw: str | bytes, safe: str) -> None:
    assert printable(raw) == safe


def test_no_break_space_stays_although_python_calls_it_unprintable() -> None:
    assert printable("a\u00a0b") == "a\u00a0b"


def test_long_text_is_cut_with_a_mark() -> None:
    assert printable("x" * 600) == "x" * 506 + " [cut]"
    assert printable("x" * 512) == "x" * 512


def test_an_escape_is_never_cut_in_the_middle() -> None:
    for limit in range(10, 30):
        cut = printable("\u202e" * 50, limit).removesuffix(" [cut]")
        assert cut.replace(r"\u{202e}", "") == ""


def test_a_huge_reply_is_cut_before_it_is_decoded() -> None:
    assert len(printable(b"\xff" * 10_000_000, 100)) <= 100
    assert printable("ä".encode() * 1000, 20) == "ä" * 14 + " [cut]"


@given(st.one_of(st.text(st.characters()), st.binary()), st.integers(0, 60))
def test_the_result_is_one_safe_line_within_the_limit_and_stable(raw: str | bytes, limit: int) -> None:
    safe = printable(raw, limit)
    assert len(safe) <= limit
    assert len(safe.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in safe)
    safe.encode()
    assert printable(safe, limit) == safe


# --- redaction ---


@pytest.mark.parametrize("key", ["password", "smtp_password", "Authorization", "token", "api_key", "content", "body"])
def test_secret_keys_are_blotted_out_at_any_depth(key: str) -> None:
    event = redact_secrets(None, "info", {"event": "x", key: "hunter2", "settings": {"deep": [{key: "hunter2"}]}})
    assert "hunter2" not in repr(event)
    assert key in event


def test_keys_that_only_look_alike_are_kept() -> None:
    event = {"event": "x", "content_bytes": 12, "nobody": "here", "tokens": 3, "body_size": 4}
    assert redact_secrets(None, "info", dict(event)) == event


def test_endless_nesting_is_cut() -> None:
    deep: dict[str, object] = {}
    deep["again"] = deep
    assert "[...]" in repr(redact_secrets(None, "info", {"event": "x", "deep": deep}))


def test_every_value_is_made_printable() -> None:
    event = make_printable(
        None, "info", {"event": "x", "reply": "a\nb", "many": ["c\x1b"], "raw": b"\xff", "n": 1, "no": None}
    )
    assert event == {"event": "x", "reply": r"a\x0ab", "many": [r"c\x1b"], "raw": r"\xff", "n": 1, "no": None}


# --- configure_logging ---


def test_json_lines_hold_the_bound_values_and_one_line_per_event() -> None:
    stream = io.StringIO()
    configure_logging(json=True, stream=stream)
    get_logger(actor="queue").info("deferred", id="01abc", reply="451 later\r\nforged", password="hunter2")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "deferred",
        "level": "info",
        "actor": "queue",
        "id": "01abc",
        "reply": r"451 later\x0d\x0aforged",
        "password": "[redacted]",
    }


_texts = st.one_of(
    st.text(max_size=20),
    st.text('ab "\\\x7f\x1b\n\u202e\ud800', max_size=5),
    st.integers(2000, 2100).map(lambda length: "x" * length),
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), _texts, st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "token"]), inner, max_size=2),
    max_leaves=4,
)


_flat = st.dictionaries(st.sampled_from(["id", "reply", "size", "lane"]), _texts | st.integers(-9, 9), max_size=4)
_any = st.dictionaries(st.sampled_from(["id", "reply", "password", "raw", "level"]), _values, max_size=5)


@given(_flat | _any, st.sampled_from(["debug", "info", "warning", "error", "critical"]))
@example({"reply": "550 \x1b[2J"}, "info")
@example({"reply": "550 \x7f"}, "info")
@example({"reply": 'said "no" \\'}, "info")
@example({"reply": "550 \u202e"}, "info")
def test_a_json_line_holds_what_the_two_nets_leave_of_its_values(values: dict[str, Any], level: str) -> None:
    configure_logging("debug", json=True, stream=io.StringIO())
    get_logger(actor="queue").info("first", **dict.fromkeys(values))  # the keys are known from here on
    stream = io.StringIO()
    configure_logging("debug", json=True, stream=stream)
    getattr(get_logger(actor="queue"), level)("said", **values)
    moment = json.loads(stream.getvalue())["timestamp"]
    line = {"actor": "queue", **values, "event": "said", "level": level, "timestamp": moment}
    safe = make_printable(None, level, redact_secrets(None, level, line))
    assert stream.getvalue() == msgspec.json.encode(safe).decode() + "\n"


def test_readable_lines_cannot_be_forged_either() -> None:
    stream = io.StringIO()
    configure_logging(json=False, stream=stream)
    get_logger().warning("refused", reply="550 \x1b[2J\n2025 [info] all is well", token="hunter2")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_auto_is_json_where_nobody_reads_along() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    get_logger().info("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"


def test_a_traceback_shows_no_local_variables_and_no_controls() -> None:
    stream = io.StringIO()
    configure_logging(json=False, stream=stream)
    password = "hunter2"
    try:
        raise RuntimeError("bad \x1b[31m" + str(len(password)))
    except RuntimeError:
        get_logger().exception("crashed")
    assert "RuntimeError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_below_the_level_nothing_is_written() -> None:
    stream = io.StringIO()
    configure_logging("warning", json=True, stream=stream)
    log = get_logger()
    log.info("no")
    log.warning("yes")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_second_configuration_reaches_loggers_that_exist() -> None:
    log = get_logger(actor="queue")
    first, second = io.StringIO(), io.StringIO()
    configure_logging(json=True, stream=first)
    log.info("one")
    configure_logging(json=True, stream=second)
    log.info("two")
    assert "two" not in first.getvalue()
    assert json.loads(second.getvalue())["actor"] == "queue"


def test_lines_can_be_captured_by_an_application() -> None:
    log = get_logger(actor="queue")
    with structlog.testing.capture_logs() as lines:
        log.info("one", id="x")
    assert lines == [{"actor": "queue", "id": "x", "event": "one", "log_level": "info"}]


def test_a_filtered_line_keeps_no_chain_of_lookups() -> None:
    configure_logging("info", json=True, stream=io.StringIO())
    log = get_logger()
    log.debug("x")
    assert "debug" in vars(log)  # the next call is one plain call: about 0.2 us


def test_importing_the_module_neither_imports_nor_configures_structlog() -> None:
    script = "import sys, postroad.log as l; l.get_logger(a=1); sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


STORY = """
import sys
from postroad.log import configure_logging, get_logger

configure_logging("info", json=True, stream=sys.stdout)
log = get_logger(actor="queue", id="01abc")
log.debug("unseen")
log.info("deferred", reply="451 later\\r\\nforged", password="hunter2", id="01abd")
log.warning("odd", many=["c\\x1b"], nothing=None)
try:
    raise RuntimeError("a bug")
except RuntimeError as caught:
    error = caught
    log.exception("crashed")
log.error("later", exc_info=error)
log.error("at the time", exc_info=(type(error), error, error.__traceback__))
log.critical("nothing is handled", exc_info=False)
"""
LATE = """
import structlog

structlog.get_logger().debug("unseen")
structlog.get_logger().warning("of a plug-in", token="hunter2")
log.info("of ours", n=1)
with structlog.testing.capture_logs() as caught:
    log.info("captured")
assert [line["event"] for line in caught] == ["captured"]
"""
KNOWS = "\nsys.stderr.write(str('structlog' in sys.modules))"


def _lines_of(script: str) -> tuple[list[dict[str, object]], str]:
    """The lines, without their moments; and what the script knows at its end."""
    ended = subprocess.run([sys.executable, "-c", script + KNOWS], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert all(line.pop("timestamp").endswith("Z") for line in lines)
    return lines, ended.stderr


def test_json_lines_are_the_same_with_and_without_structlog() -> None:
    alone, is_imported = _lines_of(STORY)
    through_structlog, was_imported = _lines_of("import structlog" + STORY)
    assert (is_imported, was_imported) == ("False", "True")
    assert alone == through_structlog
    assert [line["event"] for line in alone] == [
        *("deferred", "odd", "crashed", "later", "at the time", "nothing is handled")
    ]
    assert str(alone[2]["exception"]).endswith("RuntimeError: a bug")


def test_who_imports_structlog_later_finds_it_configured_and_the_loggers_that_exist_go_along() -> None:
    lines, is_imported = _lines_of(STORY + LATE)
    assert is_imported == "True"
    assert lines[-2:] == [
        {"token": "[redacted]", "event": "of a plug-in", "level": "warning"},
        {"actor": "queue", "id": "01abc", "n": 1, "event": "of ours", "level": "info"},
    ]


def test_who_only_looks_whether_structlog_is_there_keeps_nobody_from_finding_it_configured() -> None:
    lines, _ = _lines_of(STORY + "import importlib.util\nimportlib.util.find_spec('structlog')\n" + LATE)
    assert lines[-2:] == [
        {"token": "[redacted]", "event": "of a plug-in", "level": "warning"},
        {"actor": "queue", "id": "01abc", "n": 1, "event": "of ours", "level": "info"},
    ]


SECRETIVE = """
from postroad.log import get_logger

def fail(content):
    raise RuntimeError("a bug")

try:
    fail(b"the secret of the letter")
except RuntimeError:
    get_logger().exception("hook_failed", plugin="x")
"""


def test_without_any_configuration_a_traceback_shows_no_local_variables() -> None:
    ended = subprocess.run([sys.executable, "-c", SECRETIVE], capture_output=True, text=True, check=True)
    assert "hook_failed" in ended.stdout
    assert "RuntimeError: a bug" in ended.stdout
    shown = ended.stdout.replace('fail(b"the secret of the letter")', "")  # the line of source itself is no variable
    assert "the secret" not in shown


def test_the_moment_of_a_line_is_as_structlog_writes_it() -> None:
    stream = io.StringIO()
    configure_logging("info", json=True, stream=stream)
    stamp, said = structlog.processors.TimeStamper(fmt="iso", utc=True), []
    for _ in range(3):
        before = stamp(None, "info", {})["timestamp"]
        get_logger().info("line")
        said.append(
            (before, json.loads(stream.getvalue().splitlines()[-1])["timestamp"], stamp(None, "info", {})["timestamp"])
        )
    for before, moment, after in said:
        assert before <= moment <= after
        assert len(moment) == len("2026-01-01T00:00:00.000000Z")
