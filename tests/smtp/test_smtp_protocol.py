"""The table of steps, EHLO's offers, verdict details, and that the page shows the table as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.verdict import Scope
from postroad_smtp.features import read_features
from postroad_smtp.protocol import TABLE, Awaited, Protocol, Step, draw
from postroad_smtp.reply import Reply
from postroad_smtp.trouble import Kind, Trouble
from postroad_smtp.verdicts import Remote, of_reply, of_trouble, retry_hint


def test_the_page_shows_the_table() -> None:
    page = Path(__file__, "../../../docs/smtp.md").resolve().read_text(encoding="utf-8")
    assert draw() in page


def test_every_reply_that_can_be_awaited_stands_in_the_table() -> None:
    assert set(TABLE) == set(Awaited)


def test_answers_are_matched_in_the_order_of_the_commands() -> None:
    protocol: Protocol[str] = Protocol()
    for awaited, owner in [(Awaited.DOT, "one"), (Awaited.MAIL, "two"), (Awaited.RCPT, "two"), (Awaited.DATA, "two")]:
        protocol.expect(awaited, owner)
    protocol.receive(b"250 queued\r\n250 ok\r\n550 no\r\n35")
    answers = [protocol.next_answer() for _ in range(4)]
    assert [(each.awaited, each.step, each.owner) for each in answers if each] == [
        (Awaited.DOT, Step.DELIVERED, "one"),
        (Awaited.MAIL, Step.GO_ON, "two"),
        (Awaited.RCPT, Step.REFUSE, "two"),
    ]
    assert protocol.awaited is Awaited.DATA
    protocol.receive(b"4 go\r\n220 unasked\r\n")
    last = protocol.next_answer()
    assert last is not None
    assert last.step is Step.SEND
    assert protocol.next_answer() is None
    assert protocol.has_more


@pytest.mark.parametrize(
    ("awaited", "code"),
    [(Awaited.MAIL, 354), (Awaited.RCPT, 354), (Awaited.DATA, 250), (Awaited.DOT, 354), (Awaited.GREETING, 354)],
)
def test_a_class_that_makes_no_sense_breaks(awaited: Awaited, code: int) -> None:
    protocol: Protocol[None] = Protocol()
    protocol.expect(awaited, None)
    protocol.receive(b"%d x\r\n" % code)
    answer = protocol.next_answer()
    assert answer is not None
    assert answer.step is Step.BREAK


def _offers(*lines: bytes) -> Reply:
    return Reply(250, (b"host", *lines))


def test_offers_are_read_whatever_their_case() -> None:
    features = read_features(_offers(b"Pipelining", b"size 1000", b"AUTH plain LOGIN", b"AUTH=CRAM-MD5", b"x-odd \xff"))
    assert features.pipelining
    assert features.size == 1000
    assert features.mechanisms == {"PLAIN", "LOGIN", "CRAM-MD5"}
    assert not features.starttls


@pytest.mark.parametrize("offer", [b"SIZE", b"SIZE 0", b"SIZE many", b"SIZE -1", b"SIZE " + b"9" * 400, b"SIZE \xb2"])
def test_a_size_that_is_no_limit_is_none(offer: bytes) -> None:
    features = read_features(_offers(offer))
    assert features.has_size
    assert features.size is None or features.size > 10**15


def test_the_first_line_is_no_offer() -> None:
    assert not read_features(Reply(250, (b"PIPELINING",))).pipelining


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("451 4.7.1 Greylisted, please try again in 300 seconds", 300),
        ("450 4.2.0 Try again in 5 minutes.", 300),
        ("421 Come back in 2 hours", 7200),
        ("450 retry in 90s", 90),
        ("451 greylisted for 10 minutes", 600),
        ("451 wait 1 min", 60),
        ("451 4.7.1 Try again later", None),
        ("450 4.2.1 3 recipients were slow", None),
        ("451 see http://example.com/wait?n=5", None),
        ("451 try again after 20 years", None),
    ],
)
def test_a_wish_for_a_time_is_understood(text: str, seconds: float | None) -> None:
    assert retry_hint(text) == seconds


def test_refusals_by_the_dns_do_not_hold_a_site() -> None:
    remote = Remote(site="s", host="h", tls="none")
    verdict = of_trouble(Trouble(Kind.NO_SUCH_HOST, "gone", "5.1.2", scope=Scope.RECIPIENT), remote)
    assert (verdict.scope, verdict.site, verdict.remote) == (Scope.RECIPIENT, "s", "h")


def test_a_deferral_never_carries_a_permanent_status() -> None:
    remote = Remote(site="s")
    for awaited in Awaited:
        for code, text in [
            (550, b"5.7.1 x"),
            (552, b"5.2.2 x"),
            (421, b"4.3.2 x"),
            (451, b"5.1.1 x"),
            (530, b"5.7.0 x"),
        ]:
            verdict = of_reply(awaited, Reply(code, (text,)), remote, too_many=True)
            assert verdict.status[0] == ("5" if verdict.disposition.value == "refused" else "4")
