"""The fuzzer's corpus, tried on every run without the fuzzer; and proof that its oracles find mistakes."""

from __future__ import annotations

import contextlib
from email.message import Message
from pathlib import Path

import fuzz_targets
import pytest
from fuzz_targets import TARGETS

from postroad.callbacks.reading import Notice
from postroad.compose import Canonical
from postroad_smtp import emit

CORPUS = Path(__file__).parent / "corpus"
CASES = [(name, path) for name in TARGETS for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize(("name", "path"), CASES, ids=lambda value: value if isinstance(value, str) else value.name)
def test_what_the_fuzzer_found_or_began_with_is_still_right(name: str, path: Path) -> None:
    TARGETS[name](path.read_bytes())


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(any(name == target for name, _ in CASES) for target in TARGETS)


class _Careless(fuzz_targets.ReplyParser):
    """Takes the end of a piece for the end of a line."""

    def feed(self, data: bytes) -> None:
        super().feed(data if data.endswith(b"\n") else data + b"\n")


def _fail(*_: object, **__: object) -> None:
    raise IndexError


BROKEN: dict[str, tuple[str, object]] = {
    "reply": ("fuzz_targets.ReplyParser", _Careless),
    "features": ("fuzz_targets.read_features", _fail),
    "handshake": ("postroad_smtp.emit.auth_answer", _fail),
    "challenge": ("postroad_smtp.passwords.LoginMechanism.answer", lambda self, line: line.decode("ascii")),
    "content": ("fuzz_targets.canonicalise", lambda data, **_: Canonical(content=data, checksum=0, message_id="x@y")),
    "encoder": ("postroad_smtp.encoding.ContentEncoder.finish", lambda self: b".\r\n"),
    "returned": ("fuzz_targets.read_report", _fail),
    "notice": ("fuzz_targets.read_notice", lambda data: Notice({"subject": "a\nBcc: b"}, {}, data)),
    "inbound": ("postroad.appengine.mime_in.BoundedMessage", Message),
    "letter": ("fuzz_targets.read_letter", _fail),
    "told": ("postroad_http.events.mailersend.MailerSendEvents.check", lambda *_: None),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_mistake_is_found(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[target])
    with pytest.raises((AssertionError, IndexError, UnicodeDecodeError, RecursionError, emit.Unsafe)):
        for name, path in CASES:
            if name == target:
                TARGETS[name](path.read_bytes())


def _quadratic(data: bytes) -> None:
    for _ in data:
        for octet in data:
            abs(octet)


def test_work_that_grows_faster_than_the_input_is_a_mistake() -> None:
    for size, may_pass in ((100, True), (10_000, False)):
        outcome = contextlib.nullcontext() if may_pass else pytest.raises(AssertionError, match="calls")
        with outcome, fuzz_targets.bounded(bytes(size)):
            _quadratic(bytes(min(size, 1000)))
