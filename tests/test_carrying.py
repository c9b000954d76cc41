"""What no road of its route can carry is refused at the door, with the field, and nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from postroad import Refusal, Submission, SubmissionError, Verdict, open_engine
from postroad.message import Message
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport
from postroad.transport import Capabilities

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
SMALL = ScriptedTransport(capabilities=Capabilities(message_bytes=600))
ASCII = ScriptedTransport(capabilities=Capabilities(smtputf8=False))
ABLE = ScriptedTransport()


class Choosy(ScriptedTransport):
    """Has something against a word; a test gives what it does then."""

    def __init__(self, does: Any = None) -> None:
        super().__init__()
        self._does = does or (lambda: Refusal(field="headers", problem="Acme forbids the header field X-Own"))
        self.asked: list[tuple[str, ...]] = []

    def objection(self, message: Message, recipients: Any, content: bytes) -> Any:
        self.asked.append(tuple(recipients))
        return self._does() if b"X-Own" in content else None


def over(*transports: ScriptedTransport, **route: Any) -> Any:
    """An engine whose route goes over these, one after the other."""
    names = [f"road{number}" for number in range(len(transports))]
    plugins = {name: each.plugin(name) for name, each in zip(names, transports, strict=True)}
    config = test_config(
        transports={name: {"plugin": name} for name in names},
        routes=[{"transport": names[0], "fail_over": names[1:], **route}],
    )
    return open_test_engine(config, plugins=plugins)


def written(**more: Any) -> Submission:
    return Submission(**{"sender": "a@example.com", "recipients": ["b@example.org"], "content": RAW, **more})


async def refusal_of(engine: Any, submission: Submission) -> SubmissionError:
    with pytest.raises(SubmissionError) as caught:
        await engine.submit(submission)
    assert (await engine.status()).messages == 0
    return caught.value


async def test_a_message_too_large_for_its_only_road_is_refused_with_its_name() -> None:
    async with over(SMALL) as engine:
        error = await refusal_of(engine, written(content=RAW + b"x" * 900))
        assert (error.field, "'road0': it takes at most 600 octets" in error.problem) == ("content", True)
        await (await engine.submit(written())).settled()


async def test_a_road_that_can_carry_it_is_enough_and_first_or_last_is_all_one() -> None:
    for roads in ((SMALL, ABLE), (ABLE, SMALL), (SMALL, Choosy()), (Choosy(), SMALL)):
        async with over(*roads) as engine:
            await engine.submit(written(content=RAW + b"x" * 900))


async def test_what_the_first_road_cannot_carry_begins_on_one_that_can() -> None:
    """The first would refuse it for good, and no other is asked after that."""
    small = ScriptedTransport(capabilities=Capabilities(message_bytes=600), default=Verdict.refused("too large"))
    for first, able in ((small, ScriptedTransport()), (Choosy(), ScriptedTransport()), (small, Choosy(lambda: None))):
        async with over(first, able) as engine:
            receipt = await engine.submit(written(content=b"X-Own: 1\r\n" + RAW + b"x" * 900))
            assert (await receipt.settled()).is_delivered
        assert (len(first.calls), len(able.calls)) == (0, 1)


async def test_one_road_for_each_recipient_is_enough_and_not_one_for_all() -> None:
    class Against(ScriptedTransport):
        def __init__(self, address: str) -> None:
            super().__init__({address: [Verdict.refused("never")]})
            self._address = address

        def objection(self, message: Message, recipients: Any, content: bytes) -> Any:
            return Refusal(field="recipients", problem="never") if self._address in recipients else None

    one, two = Against("b@example.org"), Against("c@example.org")
    async with over(one, two) as engine:
        try:
            receipt = await engine.submit(written(recipients=["b@example.org", "c@example.org", "d@example.org"]))
        except SubmissionError as error:
            pytest.fail(f"each has a road, and was refused: {error}")
        assert (await receipt.settled()).is_delivered
    async with over(one, Against("b@example.org")) as engine:
        error = await refusal_of(engine, written(recipients=["c@example.org", "b@example.org"]))
        assert "no transport of its route" in error.problem


async def test_where_no_road_can_each_says_why() -> None:
    async with over(SMALL, Choosy()) as engine:
        content = b"X-Own: 1\r\n" + RAW + b"x" * 900
        error = await refusal_of(engine, written(content=content))
    assert "no transport of its route" in error.problem
    assert "'road0': it takes at most 600 octets" in error.problem
    assert "'road1': Acme forbids the header field X-Own" in error.problem


async def test_an_address_in_utf8_is_refused_where_the_transport_takes_none() -> None:
    async with over(ASCII) as engine:
        error = await refusal_of(engine, written(recipients=["b@example.org", "jürgen@example.org"]))
        assert error.field == "recipients"
        assert "jürgen@example.org" in error.problem


async def test_octets_over_127_are_refused_where_the_transport_takes_none() -> None:
    signed = b"DKIM-Signature: v=1; b=x\r\n" + RAW + "Grüße\r\n".encode()
    async with over(ScriptedTransport(capabilities=Capabilities(eight_bit=False))) as engine:
        assert (await refusal_of(engine, written(content=signed))).field == "content"
    async with over(ABLE) as engine:
        await engine.submit(written(content=signed))


async def test_an_objection_names_the_argument_that_its_author_gave() -> None:
    choosy = Choosy()
    async with over(choosy) as engine:
        assert (await refusal_of(engine, written(content=b"X-Own: 1\r\n" + RAW))).field == "content"
        with pytest.raises(SubmissionError) as caught:
            await engine.send_mail(
                sender="a@example.com", to="b@example.org", subject="x", body="y", headers={"X-Own": "1"}
            )
        assert caught.value.field == "headers"
        with pytest.raises(SubmissionError) as caught:
            await engine.submit_many([written(), written(content=b"X-Own: 1\r\n" + RAW)])
        assert caught.value.field == "submissions[1].content"
    assert choosy.asked[0] == ("b@example.org",)


async def test_what_is_large_is_looked_at_in_a_thread(tmp_path: Path) -> None:
    in_trio: list[bool] = []

    def look() -> Refusal:
        in_trio.append(trio.lowlevel.in_trio_run())
        return Refusal(field="attachments", problem="no")

    choosy = Choosy(look)
    config = test_config(
        spool={"url": f"sqlite:{tmp_path}/spool.db", "content_file_bytes": 65_536},
        transports={"road0": {"plugin": "road0"}},
        routes=[{"transport": "road0"}],
    )
    async with open_engine(config, plugins={"road0": choosy.plugin("road0")}) as engine:
        for times in (1, 10_000):
            await refusal_of(engine, written(content=b"X-Own: 1\r\n" + RAW + b"0123456789\r\n" * times))
    assert in_trio == [True, False]


@pytest.mark.parametrize("answer", ["raises", "nonsense"])
async def test_a_transport_that_fails_to_say_lets_it_in(answer: str) -> None:
    def does() -> Any:
        if answer == "raises":
            raise RuntimeError("bug")
        return 7

    async with over(Choosy(does)) as engine:
        await (await engine.submit(written(content=b"X-Own: 1\r\n" + RAW))).settled()


async def test_each_recipient_has_the_roads_of_its_own_route() -> None:
    plugins = {"small": SMALL.plugin("small"), "able": ABLE.plugin("able")}
    config = test_config(
        transports={name: {"plugin": name} for name in plugins},
        routes=[
            {"name": "s", "transport": "small", "recipients": "*@small.example"},
            {"name": "a", "transport": "able"},
        ],
    )
    large = RAW + b"x" * 900
    async with open_test_engine(config, plugins=plugins) as engine:
        await engine.submit(written(content=large))
        with pytest.raises(SubmissionError):
            await engine.submit(written(content=large, recipients=["b@example.org", "c@small.example"]))


async def test_what_is_refused_so_counts_no_more() -> None:
    async with over(SMALL) as engine:
        for _ in range(5):
            await refusal_of(engine, written(content=RAW + b"x" * 900))
        assert engine._acceptance._under_way.messages == 0


async def test_a_report_is_never_refused_so() -> None:
    nobody = ScriptedTransport(
        default=Verdict.refused("no", status="5.1.1"),
        capabilities=Capabilities(message_bytes=600),
    )
    async with over(nobody) as engine:
        outcome = await (await engine.submit(written())).settled()
        assert outcome.recipients
