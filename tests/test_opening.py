"""Starting and ending an engine on a real spool: what fails at the start fails at once, and leaves nothing running."""

from __future__ import annotations

import asyncio

import pytest
import trio
from structlog.testing import capture_logs

import postroad
from postroad.testing import ScriptedTransport
from postroad.transport import Capabilities


def config(folder, **sections):
    return {
        "folder": str(folder),
        "spool": {"url": "sqlite:spool/p.db"},
        "senders": {"authorized": ["*"]},
        "transports": {"scripted": {"plugin": "scripted"}},
        "routes": [{"transport": "scripted"}],
        **sections,
    }


def plugins():
    return {"scripted": ScriptedTransport().plugin("scripted")}


async def open_and_close(raw):
    async with postroad.open_engine(raw, plugins=plugins()):
        pass


def test_under_another_loop_the_error_says_that_trio_is_needed_and_what_else_there_is(tmp_path):
    with pytest.raises(RuntimeError, match=r"needs trio.*Handover.*docs/embedding\.md"):
        asyncio.run(open_and_close(config(tmp_path)))
    assert not list(tmp_path.iterdir())


async def test_a_socket_that_cannot_be_bound_is_an_error_and_not_a_hang(tmp_path):
    (tmp_path / "spool" / "p.db.sock").mkdir(parents=True)
    with trio.fail_after(20), pytest.raises((postroad.PostroadError, OSError)):
        await open_and_close(config(tmp_path))


async def test_a_socket_name_that_is_too_long_is_named(tmp_path):
    with trio.fail_after(20), pytest.raises(postroad.ConfigError, match=r"spool\.url"):
        await open_and_close(config(tmp_path, spool={"url": f"sqlite:{'d' * 110}.db"}))


async def test_a_second_engine_on_the_same_spool_is_refused(tmp_path):
    with trio.fail_after(30):
        async with postroad.open_engine(config(tmp_path), plugins=plugins()):
            with pytest.raises(postroad.SpoolInUse):
                await open_and_close(config(tmp_path))


async def test_the_applications_own_group_of_one_stays_a_group(tmp_path):
    with pytest.raises(ExceptionGroup) as caught:
        async with postroad.open_engine(config(tmp_path), plugins=plugins()):
            raise ExceptionGroup("mine", [ValueError("one")])
    assert caught.value.message == "mine"


async def test_a_message_is_found_again_after_a_restart(tmp_path):
    with trio.fail_after(30):
        async with postroad.open_engine(config(tmp_path), plugins=plugins()) as engine:
            receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="x", body="y")
            await receipt.settled()
        async with postroad.open_engine(config(tmp_path), plugins=plugins()) as engine:
            again = await engine.receipt(receipt.id)
            assert (await again.settled()).is_delivered


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("reports.hostname", {"reports": {"hostname": "a b"}}),
        ("reports.hostname", {"reports": {"hostname": "evil\r\nBcc: x@example.org"}}),
        ("reports.hostname", {"reports": {"hostname": "bücher.example"}}),
        ("senders.authorized[0]", {"senders": {"authorized": ["nobody"]}}),
        ("senders.authorized[1]", {"senders": {"authorized": ["a@example.com", "*.example.com"]}}),
        ("senders.admins[0]", {"senders": {"admins": ["junk"]}}),
        ("routes[0].recipients", {"routes": [{"transport": "scripted", "recipients": "example.com"}]}),
        ("transports.scripted.smarthots", {"transports": {"scripted": {"plugin": "smtp", "smarthots": "x"}}}),
        ("retry.first", {"retry": {"first": 1}}),
    ],
)
async def test_a_setting_that_cannot_be_right_is_named(tmp_path, key, sections):
    with pytest.raises(postroad.ConfigError) as caught:
        await open_and_close(config(tmp_path, **sections))
    assert caught.value.key == key


@pytest.mark.parametrize("count", [0, 101])
async def test_a_transport_that_declares_nonsense_is_named(tmp_path, count):
    transport = ScriptedTransport(capabilities=Capabilities(recipients_per_call=count))
    with pytest.raises(postroad.PluginError, match="recipients_per_call"):
        async with postroad.open_engine(config(tmp_path), plugins={"scripted": transport.plugin("scripted")}):
            pass


@pytest.mark.parametrize(
    ("machine", "configured", "warned"), [("box", "", ["box"]), ("mail.example.com", "", []), ("box", "a.example", [])]
)
async def test_a_machine_without_a_name_that_others_know_is_warned_of(monkeypatch, machine, configured, warned):
    monkeypatch.setattr("socket.getfqdn", lambda: machine)
    with capture_logs() as logs:
        async with postroad.open_engine({"spool": {"url": "memory:"}, "reports": {"hostname": configured}}):
            pass
    assert [log["hostname"] for log in logs if log["event"] == "hostname_unknown"] == warned
