"""Mail becomes files: whole or not at all, one per recipient, the same name again when it is delivered again."""

from __future__ import annotations

import errno
import mailbox
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest
import trio
import trio.testing

import postroad_file
from postroad import hookspecs
from postroad.errors import ConfigError, StoreError
from postroad.store.contract import LeasedRecipient
from postroad.testing import check_transport
from postroad.testing.fakes import MemoryContent, make_request
from postroad.transport import DeliveryRequest
from postroad.verdict import Disposition, Scope, Verdict
from postroad_file import open_file_transport, writer

ID = "01k0000000aaaaaaaaaa"
CONTENT = b"Subject: Lunch\r\n\r\nToday?\r\n"
TRACE = b"Return-Path: <a@example.com>\r\nDelivered-To: b@example.org\r\n"


async def deliver(folder: Path, request: DeliveryRequest | None = None, **settings: Any) -> list[Verdict]:
    async with open_file_transport({"folder": str(folder), **settings}) as transport:
        return list(await transport.deliver(request or make_request(content=CONTENT)))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- What is written ---


async def test_an_eml_file_holds_the_mail_as_it_is_below_its_trace(tmp_path: Path) -> None:
    (verdict,) = await deliver(tmp_path / "mail")
    path = tmp_path / "mail" / f"{ID}.0.eml"
    assert path.read_bytes() == TRACE + CONTENT
    assert verdict.disposition is Disposition.ACCEPTED
    assert verdict.reply == f"written to {path}"


async def test_a_maildir_has_unix_line_ends_and_is_read_by_others(tmp_path: Path) -> None:
    await deliver(tmp_path / "box", format="maildir")
    assert files(tmp_path) == [f"box/new/{ID}.0.postroad"]
    assert (tmp_path / "box" / "cur").is_dir()
    (message,) = mailbox.Maildir(tmp_path / "box", create=False)
    assert (message["Return-Path"], message["Delivered-To"]) == ("<a@example.com>", "b@example.org")
    assert message.get_payload() == "Today?\n"
    assert b"\r" not in next((tmp_path / "box" / "new").iterdir()).read_bytes()


async def test_a_file_is_whole_where_one_write_takes_only_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    await deliver(tmp_path)
    assert (tmp_path / f"{ID}.0.eml").read_bytes() == TRACE + CONTENT


async def test_every_recipient_gets_a_file(tmp_path: Path) -> None:
    recipients = [f"b{number}@example.org" for number in range(100)]
    verdicts = await deliver(tmp_path, make_request(recipients))
    assert [v.reply for v in verdicts] == [f"written to {tmp_path}/{ID}.{number}.eml" for number in range(100)]
    assert len(files(tmp_path)) == 100


async def test_by_recipient_everybody_has_a_maildir(tmp_path: Path) -> None:
    recipients = ["b@Example.org", "../../c@example.org"]
    await deliver(tmp_path, make_request(recipients), format="maildir", layout="by_recipient")
    assert files(tmp_path) == [
        f"%2E.%2F..%2Fc@example.org/new/{ID}.1.postroad",
        f"b@example.org/new/{ID}.0.postroad",
    ]


async def test_the_null_sender_is_written_as_such(tmp_path: Path) -> None:
    await deliver(tmp_path, make_request(sender=""))
    assert (tmp_path / f"{ID}.0.eml").read_bytes().startswith(b"Return-Path: <>\r\n")


async def test_mail_is_for_its_owner_alone(tmp_path: Path) -> None:
    await deliver(tmp_path / "mail")
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "mail" / f"{ID}.0.eml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("piece_bytes", [1, 1000, 65_536])
@pytest.mark.parametrize("form", ["eml", "maildir"])
async def test_a_large_content_is_streamed_to_every_recipient(
    tmp_path: Path, form: str, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_file.transport._SMALL_BYTES", 100)
    monkeypatch.setattr("postroad_file.transport._PIECE_BYTES", 1000)
    data = b"Subject: x\r\n\r\n" + b"line\r\n" * 1000 + b"a\r\r\n\r\n"
    content = MemoryContent(data, at_hand=False, piece_bytes=piece_bytes)
    await deliver(tmp_path, make_request(["b@example.org", "c@example.org"], content=content), format=form)
    expected = data if form == "eml" else data.replace(b"\r\n", b"\n")
    assert [(tmp_path / name).read_bytes().endswith(expected) for name in files(tmp_path)] == [True, True]


# --- Again, and never twice ---


@pytest.mark.parametrize("form", ["eml", "maildir"])
async def test_the_same_mail_again_takes_the_same_name(tmp_path: Path, form: str) -> None:
    for _ in range(2):
        (verdict,) = await deliver(tmp_path, format=form)
        assert verdict.disposition is Disposition.ACCEPTED
    assert len(files(tmp_path)) == 1


async def test_mail_that_was_read_meanwhile_is_not_delivered_again(tmp_path: Path) -> None:
    await deliver(tmp_path, format="maildir")
    seen = tmp_path / "cur" / f"{ID}.0.postroad:2,S"
    (tmp_path / "new" / f"{ID}.0.postroad").rename(seen)
    again = make_request([LeasedRecipient(0, "b@example.org", attempts=1, in_doubt=True)])
    (verdict,) = await deliver(tmp_path, again, format="maildir")
    assert verdict.disposition is Disposition.ACCEPTED
    assert files(tmp_path) == [f"cur/{ID}.0.postroad:2,S"]


async def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / f".{ID}.0.tmp").write_bytes(b"half a mail" * 1000)
    await deliver(tmp_path)
    assert (tmp_path / f"{ID}.0.eml").read_bytes() == TRACE + CONTENT
    assert files(tmp_path) == [f"{ID}.0.eml"]


async def test_a_symbolic_link_in_the_temporary_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".{ID}.0.tmp").symlink_to(tmp_path / "victim")
    (verdict,) = await deliver(tmp_path)
    assert verdict.disposition is Disposition.DEFERRED
    assert (tmp_path / "victim").read_text() == "precious"


# --- The order of things ---


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """System calls that make mail durable, in their order; "F" and "D" tell the sync of a file and of a folder."""
    steps: list[str] = []

    def note(name: str, call: Callable[..., Any], label: Callable[..., str]) -> None:
        def noted(*args: Any) -> Any:
            steps.append(label(*args))
            return call(*args)

        monkeypatch.setattr(writer.os, name, noted)

    note("fsync", os.fsync, lambda fd: "sync D" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync F")
    note("rename", os.rename, lambda *_: "rename")
    note("mkdir", os.mkdir, lambda *_: "mkdir")
    return steps


async def test_synced_then_announced_then_renamed_then_the_folder_synced(tmp_path: Path, trail: list[str]) -> None:
    await deliver(tmp_path, make_request(commit=lambda: trail.append("committing")))
    assert trail == ["sync F", "committing", "rename", "sync D"]


async def test_new_folders_are_synced_into_theirs(tmp_path: Path, trail: list[str]) -> None:
    await deliver(tmp_path / "a" / "b")
    assert trail[-3:] == ["sync F", "rename", "sync D"]
    assert trail[:-3].count("sync D") == 2
    assert trail[-4] == "sync D"


async def test_many_at_once_share_the_sync_of_their_folder(tmp_path: Path, trail: list[str]) -> None:
    async with open_file_transport({"folder": str(tmp_path)}) as transport, trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(transport.deliver, make_request(id=f"id{number}"))
    assert trail.count("rename") == trail.count("sync F") == len(files(tmp_path)) == 40
    assert trail.count("sync D") <= 5


# --- Trouble ---


def failing(number: int, path: str | None = None) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number), path)

    return fail


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, "4.3.1"), (errno.EIO, "4.3.0"), (errno.EACCES, "4.3.5"), (errno.EROFS, "4.3.5")],
)
async def test_trouble_with_the_disk_makes_mail_wait_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, status: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writer.os, call, failing(number, "/mail/x"))
        (verdict,) = await deliver(tmp_path)
    assert (verdict.disposition, verdict.scope, verdict.status) == (Disposition.DEFERRED, Scope.TRANSPORT, status)
    assert verdict.reply == f"{os.strerror(number)}: /mail/x"
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_local_trouble_costs_no_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "open", failing(number))
        (verdict,) = await deliver(tmp_path)
    assert verdict.disposition is Disposition.POSTPONED
    assert str(tmp_path) in verdict.reply


async def test_a_file_in_the_folders_place_makes_mail_wait(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("I am no folder")
    (verdict,) = await deliver(tmp_path / "mail")
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)
    assert str(tmp_path / "mail") in verdict.reply


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir(0o500)
    (verdict,) = await deliver(tmp_path / "mail")
    assert (verdict.disposition, verdict.scope, verdict.status) == (Disposition.DEFERRED, Scope.TRANSPORT, "4.3.5")
    assert str(tmp_path / "mail") in verdict.reply


async def test_one_recipients_trouble_is_not_the_others(tmp_path: Path) -> None:
    (tmp_path / "c@example.org").write_text("in the way")
    request = make_request(["b@example.org", "c@example.org", "d@example.org"])
    verdicts = await deliver(tmp_path, request, layout="by_recipient")
    assert [v.disposition.value for v in verdicts] == ["accepted", "deferred", "accepted"]


async def test_an_unsynced_folder_is_no_acceptance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("mail").mkdir()
    real = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "fsync", fail_for_folders)
        (verdict,) = await deliver(tmp_path / "mail")
    assert verdict.disposition is Disposition.DEFERRED
    (again,) = await deliver(tmp_path / "mail")
    assert again.disposition is Disposition.ACCEPTED
    assert files(tmp_path) == [f"mail/{ID}.0.eml"]


async def test_a_large_contents_trouble_with_the_disk_is_a_verdict_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = MemoryContent(b"Subject: x\r\n\r\n" + b"x\r\n" * 100_000, at_hand=False)
    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "write", failing(errno.ENOSPC))
        verdicts = await deliver(tmp_path, make_request(["b@example.org", "c@example.org"], content=content))
    assert [v.status for v in verdicts] == ["4.3.1", "4.3.1"]
    assert files(tmp_path) == []


async def test_trouble_of_the_spool_is_not_called_trouble_of_the_folder(tmp_path: Path) -> None:
    class Gone(MemoryContent):
        async def read(self) -> bytes:
            await trio.lowlevel.checkpoint()
            raise OSError(errno.ENOENT, "No such file or directory", "/spool/content/x")

    with pytest.raises(OSError, match="spool"):
        await deliver(tmp_path, make_request(content=Gone(CONTENT, at_hand=False)))


async def test_a_content_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Broken(MemoryContent):
        def chunks(self) -> Any:
            raise StoreError("gone")

    with pytest.raises(StoreError):
        await deliver(tmp_path, make_request(content=Broken(b"x" * 300_000, at_hand=False)))
    assert files(tmp_path) == []


# --- Cancellation ---


async def test_cancelled_while_another_batch_is_written_it_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = trio.Event(), trio.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        trio.from_thread.run_sync(began.set)
        trio.from_thread.run(go_on.wait)
        real(descriptor)

    monkeypatch.setattr(writer.os, "fsync", slow)
    async with open_file_transport({"folder": str(tmp_path)}) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(transport.deliver, make_request(id="first"))
        await began.wait()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as doomed:
                doomed.start_soon(transport.deliver, make_request(id="second"))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        go_on.set()
    assert files(tmp_path) == ["first.0.eml"]


async def test_cancelled_while_it_is_written_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = trio.Event(), trio.Event()

    def slow(descriptor: int) -> None:
        trio.from_thread.run_sync(began.set)
        trio.from_thread.run(go_on.wait)

    monkeypatch.setattr(writer.os, "fsync", slow)
    async with open_file_transport({"folder": str(tmp_path)}) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when, began, nursery.cancel_scope, go_on)
        await transport.deliver(make_request())
    assert files(tmp_path) == []


async def cancel_when(event: trio.Event, scope: trio.CancelScope, then: trio.Event) -> None:
    await event.wait()
    scope.cancel()
    then.set()


async def test_cancelled_after_committing_it_still_finds_out(tmp_path: Path) -> None:
    scope = trio.CancelScope()
    verdicts: list[Verdict] = []
    async with open_file_transport({"folder": str(tmp_path)}) as transport:
        with scope:
            verdicts = list(await transport.deliver(make_request(commit=scope.cancel)))
    assert [v.disposition for v in verdicts] == [Disposition.ACCEPTED]
    assert len(files(tmp_path)) == 1


async def test_a_disk_that_does_not_answer_in_time_leaves_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_file.transport._PUBLISH_SECONDS", 0.01)
    may_end = threading.Event()
    async with open_file_transport({"folder": str(tmp_path)}) as transport:
        publish = transport._publish._work  # type: ignore[attr-defined]
        transport._publish._work = lambda parcels: (may_end.wait(30), publish(parcels))  # type: ignore[attr-defined]
        (verdict,) = await transport.deliver(make_request())
        may_end.set()
    assert verdict.disposition is Disposition.IN_DOUBT


# --- The factory ---


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "folder"),
        ({"folder": ""}, "folder"),
        ({"folder": "a\0b"}, "folder"),
        ({"folder": "x", "format": "mbox"}, "format"),
    ],
)
async def test_settings_that_cannot_be_right_are_refused_by_name(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        async with open_file_transport(settings):
            pass


async def test_an_error_beside_the_transport_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        async with open_file_transport({"folder": str(tmp_path)}):
            raise KeyError("mine")


async def test_a_missing_folder_is_made_only_when_mail_comes(tmp_path: Path) -> None:
    async with open_file_transport({"folder": str(tmp_path / "mail")}):
        pass
    assert os.listdir(tmp_path) == []


def test_the_plugin_registers_the_name_file() -> None:
    manager = pluggy.PluginManager("postroad")
    manager.add_hookspecs(hookspecs)
    manager.register(postroad_file)
    found: dict[str, object] = {}
    manager.hook.postroad_register_transports(register=found.__setitem__)
    assert found == {"file": open_file_transport}


NO_LIMITS = {"largest_content", "too_large_content", "no_eight_bit", "no_smtputf8", "objection_holds", "begun_together"}


@pytest.mark.parametrize(("form", "layout"), [("eml", "one"), ("maildir", "one"), ("maildir", "by_recipient")])
async def test_it_does_a_transports_duties(tmp_path: Path, form: str, layout: str) -> None:
    (tmp_path / "in the way").write_text("")

    def written() -> list[bytes]:
        found = [*tmp_path.rglob("*.eml"), *tmp_path.rglob("new/*")]
        return [path.read_bytes() for path in found]

    report = await check_transport(
        open_file_transport,
        {"folder": str(tmp_path / "mail"), "format": form, "layout": layout},
        handed_over=written,
        broken={"folder": str(tmp_path / "in the way")},
    )
    no_peer = {r.case for r in report.results if r.skipped.startswith("needs")}
    assert {
        r.case for r in report.results if r.skipped
    } - no_peer == NO_LIMITS  # a disk neither refuses nor keeps silent
