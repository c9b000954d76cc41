"""The scripted transport does what its script says and remembers it; made requests look like an engine's."""

from __future__ import annotations

import pluggy
import pytest
import trio
from trio.testing import MockClock

from postroad import hookspecs
from postroad.testing.fakes import ACCEPTED, Hang, MemoryContent, ScriptedTransport, Slow, make_request
from postroad.verdict import Disposition, Verdict

LATER = Verdict.deferred("451 4.3.0 later")
NEVER = Verdict.refused("550 5.1.1 no such user", status="5.1.1")


async def test_a_sequence_is_followed_over_the_calls_and_then_the_default() -> None:
    transport = ScriptedTransport([LATER, NEVER])
    answers = [await transport.deliver(make_request()) for _ in range(3)]
    assert [verdict for (verdict,) in answers] == [LATER, NEVER, ACCEPTED]


async def test_each_address_has_a_script_of_its_own() -> None:
    transport = ScriptedTransport({"x@example.org": [LATER, ACCEPTED], "y@example.org": [NEVER]}, default=LATER)
    request = make_request(["y@example.org", "x@example.org", "z@example.org"])
    assert await transport.deliver(request) == (NEVER, LATER, LATER)
    assert await transport.deliver(request) == (LATER, ACCEPTED, LATER)
    assert transport.accepted == [(request.message.id, "x@example.org")]


async def test_an_exception_ends_the_call_and_is_remembered() -> None:
    error = OSError("broken")
    transport = ScriptedTransport([error])
    with pytest.raises(OSError, match="broken"):
        await transport.deliver(make_request())
    assert transport.calls[0].error is error
    assert transport.calls[0].verdicts is None


async def test_a_step_may_be_a_function() -> None:
    transport = ScriptedTransport(
        default=lambda request, to: Verdict.deferred(f"{request.message.sender} {to.address}")
    )
    (verdict,) = await transport.deliver(make_request())
    assert verdict.reply == "a@example.com b@example.org"


async def test_a_slow_step_takes_its_time(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport([Slow(30, LATER)])
    assert await transport.deliver(make_request()) == (LATER,)
    assert trio.current_time() - transport.calls[0].began == 30


@pytest.mark.parametrize("committed", [False, True])
async def test_a_hang_ends_only_by_cancellation(committed: bool, autojump_clock: MockClock) -> None:
    marks: list[str] = []
    transport = ScriptedTransport([Hang(committed)])
    with trio.move_on_after(60) as scope:
        await transport.deliver(make_request(commit=lambda: marks.append("marked")))
    assert scope.cancelled_caught
    assert isinstance(transport.calls[0].error, trio.Cancelled)
    assert len(marks) == transport.calls[0].committed == committed
    assert transport.running == 0


async def test_acceptance_is_announced_before_and_deferral_is_not() -> None:
    marks: list[str] = []
    transport = ScriptedTransport([LATER, ACCEPTED])
    await transport.deliver(make_request(commit=lambda: marks.append("a")))
    assert marks == []
    await transport.deliver(make_request(commit=lambda: marks.append("b")))
    assert marks == ["b"]


async def test_calls_can_be_waited_for(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport(default=Slow(5, ACCEPTED))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(transport.deliver, make_request())
        assert len(await transport.wait_calls(3)) == 3
        assert transport.running == transport.most_running == 3
        assert all(call.verdicts == (ACCEPTED,) for call in await transport.wait_ended(3))


async def test_content_is_kept_unless_it_is_not_wanted() -> None:
    content = MemoryContent(b"Subject: x\r\n\r\nx\r\n", at_hand=False)
    keeping, forgetting = ScriptedTransport(), ScriptedTransport(keep_content=False)
    await keeping.deliver(make_request(content=content))
    await forgetting.deliver(make_request(content=content))
    assert keeping.calls[0].content == b"Subject: x\r\n\r\nx\r\n"
    assert forgetting.calls[0].content == b""


async def test_the_plugin_registers_its_transport_under_its_name() -> None:
    manager = pluggy.PluginManager("postroad")
    manager.add_hookspecs(hookspecs)
    transport = ScriptedTransport()
    manager.register(transport.plugin("fake"))
    found: dict[str, object] = {}
    manager.hook.postroad_register_transports(register=found.__setitem__)
    assert list(found) == ["fake"]
    async with transport.factory({}) as made:
        assert made is transport
        assert (transport.opened, transport.closed) == (1, 0)
    assert transport.closed == 1


async def test_memory_content_reads_the_same_by_every_road() -> None:
    data = bytes(range(256)) * 700
    content = MemoryContent(data)
    async with content.chunks() as pieces:
        assert content.opened == 1
        parts = [piece async for piece in pieces]
    assert content.opened == 0
    assert b"".join(parts) == await content.read() == content.read_nowait() == data
    assert max(map(len, parts)) == 65_536
    assert MemoryContent(data, at_hand=False).read_nowait() is None


async def test_a_made_request_tells_what_the_content_needs() -> None:
    assert make_request(content="Subject: x\r\n\r\nä".encode()).message.eight_bit
    utf8 = make_request(content="Subject: ä\r\n\r\nx".encode()).message
    assert utf8.eight_bit
    assert utf8.smtputf8
    plain = make_request().message
    assert not plain.eight_bit
    assert plain.size == make_request().content.size


async def test_a_slow_remote_is_recorded_with_its_disposition() -> None:
    transport = ScriptedTransport([Verdict.in_doubt("reply lost")])
    (verdict,) = await transport.deliver(make_request())
    assert verdict.disposition is Disposition.IN_DOUBT
    assert transport.accepted == []
    assert transport.calls[0].committed
