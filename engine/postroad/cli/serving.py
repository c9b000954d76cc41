"""Runs an engine under signals; what `postroad serve` does once its configuration is read."""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType

import click
import msgspec
import trio

from ..config import Config
from ..engine import Engine
from ..log import get_logger
from ..opening import open_engine

__all__ = ["serve_forever"]

_log = get_logger()


class _AtOnce(Exception):
    """Leave without waiting for what runs."""


class _Stop:
    """What the signals said.  The handlers run between any two steps of the program, so they only pass the word on to trio."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._count = 0
        self.asked = trio.Event()
        self.start = trio.CancelScope()  # around everything, but only cancelled before the engine is ready
        self.is_ready = False
        self.grace = trio.CancelScope()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._token.run_sync_soon(self._ask)
            return
        self._token.run_sync_soon(self.grace.cancel)
        for again in (signal.SIGTERM, signal.SIGINT):
            signal.signal(again, signal.SIG_DFL)

    def _ask(self) -> None:
        self.asked.set()
        if not self.is_ready:
            self.start.cancel()


def serve_forever(config: Config, *, as_json: bool) -> None:
    """Run an engine until the process is told to stop.  Raises what `open_engine` raises."""
    trio.run(_serve, config, as_json)


async def _serve(config: Config, as_json: bool) -> None:  # trio.run passes positions only
    stop = _Stop()
    try:
        with stop.start:
            async with open_engine(config) as engine:
                stop.is_ready = True
                _tell_ready(config, as_json=as_json)
                await _until_stopped(stop, engine, config.in_flight.drain_seconds)
    except _AtOnce:
        _log.warning("stopped", drained=False)
    else:
        _log.info("stopped", drained=True)


async def _until_stopped(stop: _Stop, engine: Engine, grace_seconds: float) -> None:
    await stop.asked.wait()
    notify("STOPPING=1")
    _log.info("draining", seconds=grace_seconds)
    is_home = False
    with stop.grace:
        is_home = await engine.drain(grace_seconds)
    if not is_home:
        raise _AtOnce


def _tell_ready(config: Config, *, as_json: bool) -> None:
    pid, spool = os.getpid(), config.spool.url
    if as_json:
        click.echo(msgspec.json.encode({"ready": True, "pid": pid, "spool": spool}).decode())
    else:
        click.echo(f"READY pid={pid} spool={spool}")
    notify(f"READY=1\nMAINPID={pid}\nSTATUS=spool {spool}")


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)) if there is one; that it cannot be told is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.sendto(state.encode(), address)
    except OSError as error:
        _log.warning("notify_failed", error=str(error))
