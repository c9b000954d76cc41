"""The gate: other processes' door to the running engine, on a unix socket beside the spool.

Whatever a client asks goes through Engine's own methods; many submissions of one client that are under way together are taken
in by one commit.  It must never let a client harm the engine or another client: frames, clients and large messages are
bounded, every exchange has a deadline, and a wrong frame ends that client's connection alone.  See `gate_protocol.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import trio

from .administrators import with_administrators
from .config import Senders
from .draft import ComposedDraft, Draft, WrittenDraft
from .engine import Engine
from .errors import EngineClosed, PostroadError, StoreError, SubmissionTooLarge, UnknownMessage
from .gate_frames import PREAMBLE, BadFrame, Frames, address_of, frame_limit
from .gate_protocol import (
    Call,
    CancelAll,
    Failed,
    Find,
    HoldAll,
    Look,
    Mail,
    Picture,
    Receive,
    ReceiveBounce,
    ReceiveNotices,
    ReleaseAll,
    Request,
    RetryAll,
    TakeAllAsDelivered,
    Written,
    encode_answer,
    encode_failure,
    failure_of,
    read_call,
    read_request,
)
from .gate_wire import EXCHANGE_SECONDS, Wire
from .log import get_logger

__all__ = ["serve_gate"]

_CLIENTS = 128  # at once; beyond, one that is idle has to go
_BACKLOG = 128
_LARGE_OCTETS, _LARGE_AT_ONCE = 1 << 20, 4  # frames over this are received four at a time: they fill memory
_FIND_MOST = 1000  # messages in one answer

_log = get_logger()

_Sending: TypeAlias = Written | Mail


async def serve_gate(engine: Engine, path: Path, *, task_status: trio.TaskStatus[None]) -> None:
    """Serve until cancelled.  The caller holds the spool's lock, so a socket that is there already is a dead engine's."""
    gate = _Gate(engine)
    async with _listening(path) as listener:
        task_status.started()
        await trio.serve_listeners(gate.receive, [listener])


@asynccontextmanager
async def _listening(path: Path) -> AsyncGenerator[trio.SocketListener]:
    """Bound, then made the owner's alone, and only then listening: nobody slips in between.  Removed at the end."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        _remove(path)
        try:
            with address_of(path) as address:
                await bound.bind(address)
        except OSError as error:
            raise StoreError(f"the socket {path} cannot be made: {error.strerror}; see [spool] socket") from error
        try:
            os.chmod(path, 0o600)
            bound.listen(_BACKLOG)
            yield trio.SocketListener(bound)
        finally:
            _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class _Gate:
    """What the clients share."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.frame_octets = frame_limit(engine.config.limits.message_bytes)
        self._clients = 0
        self._idle: dict[trio.CancelScope, None] = {}  # the longest idle first
        self._large = trio.CapacityLimiter(_LARGE_AT_ONCE)

    async def receive(self, stream: trio.abc.Stream) -> None:
        """One client, from its first octet to its last."""
        self._clients += 1
        try:
            async with stream:
                if self._clients <= _CLIENTS or self._send_one_away():
                    await _Visit(self, Wire(stream)).serve()
                else:
                    await Wire(stream).send(encode_failure(failure_of(0, EngineClosed("the gate is full"))))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, BadFrame) as error:
            _log.info("gate_client_ended", error=repr(error))
        except Exception:
            _log.exception("gate_client_failed")
        finally:
            self._clients -= 1

    def _send_one_away(self) -> bool:
        """End the client that has been idle longest: it connects again when it has something to say."""
        for scope in self._idle:
            scope.cancel()
            del self._idle[scope]
            return True
        return False

    def begin_idling(self, scope: trio.CancelScope) -> None:
        """A client has nothing to say: from now on its scope may be cancelled."""
        self._idle[scope] = None

    def end_idling(self, scope: trio.CancelScope) -> bool:
        """It has, or went; False where it was sent away meanwhile."""
        return self._idle.pop(scope, scope) is None

    @asynccontextmanager
    async def room_for(self, octets: int) -> AsyncGenerator[None]:
        """Large frames wait for each other."""
        if octets <= _LARGE_OCTETS:
            yield
            return
        async with self._large:
            yield


class _Visit:
    """One client's connection."""

    def __init__(self, gate: _Gate, wire: Wire) -> None:
        self._gate = gate
        self._engine = gate.engine
        self._wire = wire
        self._frames = Frames(gate.frame_octets)
        self._scope = trio.CancelScope()  # one for the whole visit, cancelled while it is idle only

    async def serve(self) -> None:
        with self._scope:
            await self._greet()
            while await self._has_begun():
                payloads = self._frames.take_small(_LARGE_OCTETS)
                if payloads:
                    await self._reply(payloads)
                else:
                    await self._serve_in_turn()

    async def _serve_in_turn(self) -> None:
        """A frame that is not all here, or large."""
        wanted = self._wanted()
        if isinstance(wanted, BadFrame):
            await self._refuse(SubmissionTooLarge("content", str(wanted)))
            raise wanted
        async with self._gate.room_for(wanted):
            payload = await self._rest_of_frame()
            await self._reply([payload, *self._frames.take_small(_LARGE_OCTETS)])

    async def _reply(self, payloads: Sequence[bytes]) -> None:
        await self._wire.send(b"".join(await self._answers([read_request(payload) for payload in payloads])))

    async def _greet(self) -> None:
        said = b""
        with trio.fail_after(EXCHANGE_SECONDS):
            while len(said) < len(PREAMBLE):
                data = await self._wire.receive()
                if not data:
                    return
                said += data
        if said[: len(PREAMBLE)] != PREAMBLE:
            await self._refuse(
                PostroadError("this engine speaks another version of the gate; use one version of Postroad")
            )
            raise BadFrame(f"it began with {said[: len(PREAMBLE)]!r}")
        self._frames.put(said[len(PREAMBLE) :])

    async def _refuse(self, error: PostroadError) -> None:
        await self._wire.send(encode_failure(failure_of(0, error)))

    # --- requests ---

    async def _has_begun(self) -> bool:
        """Wait for a frame's length; False where the client has gone or was sent away."""
        if not len(self._frames) and not await self._wait_idle():
            return False
        if not self._wanted():
            await self._wait_for_length()
        return True

    async def _wait_idle(self) -> bool:
        self._gate.begin_idling(self._scope)
        try:
            has_come = await self._more()
        finally:
            was_left = self._gate.end_idling(self._scope)
        return has_come and was_left

    async def _wait_for_length(self) -> None:
        with trio.fail_after(EXCHANGE_SECONDS):
            while len(self._frames) and not self._wanted():
                if not await self._more():
                    raise BadFrame("it ended within a frame")

    def _wanted(self) -> int | BadFrame:
        """Octets of the frame that has begun, 0 while that is not known."""
        try:
            return self._frames.wanted
        except BadFrame as error:
            return error

    async def _more(self) -> bool:
        data = await self._wire.receive()
        self._frames.put(data)
        return bool(data)

    async def _rest_of_frame(self) -> bytes:
        with trio.fail_after(EXCHANGE_SECONDS):
            while (payload := self._frames.take()) is None:
                if not await self._more():
                    raise BadFrame("it ended within a frame")
        return payload

    # --- answers ---

    async def _answers(self, requests: list[Request]) -> list[bytes]:
        """The answers in order; neighbouring submissions share a commit."""
        answers: list[bytes] = []
        sendings: list[tuple[int, _Sending]] = []
        for request in requests:
            call = _call_of(request)
            if isinstance(call, Written | Mail):
                sendings.append((request.number, call))
                continue
            answers += await self._take_in(sendings)
            sendings = []
            answers.append(call if isinstance(call, bytes) else await self._answer(request.number, call))
        return answers + await self._take_in(sendings)

    async def _answer(self, number: int, call: Call) -> bytes:
        try:
            return encode_answer(number, await _do(self._engine, call))
        except Exception as error:
            return encode_failure(self._failure(number, error))

    async def _take_in(self, sendings: list[tuple[int, _Sending]]) -> list[bytes]:
        if not sendings:
            return []
        fresh = [
            (number, call)
            for number, call in sendings
            if not (self._is_large(call) and await _is_stored(self._engine, call.id))
        ]
        senders = self._engine.config.senders
        try:
            taken = iter(await self._engine.take_in([partial(_draft_of, call, senders) for _, call in fresh]))
        except Exception as error:
            return [encode_failure(self._failure(number, error)) for number, _ in sendings]
        unknown = {number for number, _ in fresh}
        outcomes = [(number, next(taken) if number in unknown else call.id) for number, call in sendings]
        return [self._encoded(number, outcome) for number, outcome in outcomes]

    def _is_large(self, call: _Sending) -> bool:
        """Whether it matters that it was asked before, and the answer lost: a large content's file must not be written anew."""
        return _octets(call) > self._engine.config.spool.content_file_bytes // 2

    def _encoded(self, number: int, outcome: str | Exception) -> bytes:
        if isinstance(outcome, Exception):
            return encode_failure(self._failure(number, outcome))
        return encode_answer(number, outcome)

    def _failure(self, number: int, error: Exception) -> Failed:
        if not isinstance(error, PostroadError):
            _log.error("gate_call_failed", exc_info=error)
        return failure_of(number, error)


def _call_of(request: Request) -> Call | bytes:
    """The call, or the failure to answer where it makes no sense."""
    try:
        return read_call(request)
    except PostroadError as error:
        return encode_failure(failure_of(request.number, error))


def _draft_of(call: _Sending, senders: Senders) -> Draft:
    if isinstance(call, Written):
        return WrittenDraft(call.submission(), call.id)
    call = with_administrators(call, senders)
    return ComposedDraft(call.fields(), call.options, call.id)


def _octets(call: _Sending) -> int:
    """About how large the message is (base64 and quoted-printable add a third, hence the half above)."""
    if isinstance(call, Written):
        return len(call.content)
    texts = sum(len(text) for text in (call.body, call.html, call.amp_html) if text)
    return texts + sum(len(enclosure.octets) for enclosure in call.attachments)


async def _is_stored(engine: Engine, id: str) -> bool:
    with contextlib.suppress(UnknownMessage):
        await engine.message(id)
        return True
    return False


async def _receive(engine: Engine, call: Receive) -> str:
    if await _is_stored(engine, call.id):
        return call.id
    receipt = await engine.incoming.take_mail(call.sender, call.recipients, call.raw, call.idempotency_key, call.id)
    return receipt.id


async def _receive_bounce(engine: Engine, call: ReceiveBounce) -> None:
    """What is stored was told as events, too: they shall not come twice."""
    if not await _is_stored(engine, call.id):
        await engine.incoming.take_bounce(call.raw, call.id)


async def _do(engine: Engine, call: Call) -> Any:
    match call:
        case Receive():
            return await _receive(engine, call)
        case ReceiveBounce():
            return await _receive_bounce(engine, call)
        case ReceiveNotices():
            return await engine.receive_notices(call.transport, call.notices, token=call.token)
        case Find():
            return await engine.find(call.filter, min(call.limit, _FIND_MOST), call.after)
        case Look():
            return await engine.message(call.id)
        case Picture():
            return await engine.status()
        case CancelAll():
            return await engine.cancel_all(call.filter)
        case HoldAll():
            return await engine.hold(call.filter, call.reason)
        case ReleaseAll():
            return await engine.release(call.filter)
        case TakeAllAsDelivered():
            return await engine.take_as_delivered(call.filter)
        case RetryAll():
            return await engine.retry(call.filter)
        case Written() | Mail():
            raise AssertionError("submissions are taken in together")
