"""One place at which smtp-sinks of different faults stand, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from letters import new_mark
from real_sink import RealSink
from roads import Road

from postroad.verdict import Disposition
from servers.postfix import Programs

StartSink = Callable[..., RealSink]


@contextmanager
def sink_place(folder: Path, programs: Programs) -> Iterator[StartSink]:
    """Yields what starts a sink with some flags, in the place of the one before."""
    sinks: list[RealSink] = []

    def start(*flags: str) -> RealSink:
        port = 0
        if sinks:
            sinks[-1].stop()
            port = sinks[-1].port
        inner = folder / str(len(sinks))
        inner.mkdir(mode=0o755)
        sinks.append(RealSink(inner, programs, *flags, port=port))
        sinks[-1].start()
        return sinks[-1]

    try:
        yield start
    finally:
        for sink in sinks:
            sink.stop()


async def send_to_healthy(start_sink: StartSink, road: Road, *flags: str) -> None:
    """The same transport, the same place, and a server without faults."""
    sink, mark = start_sink(*flags), new_mark()
    verdict = await road.send_one(mark)
    assert verdict.disposition is Disposition.ACCEPTED, verdict
    assert len(sink.messages(mark)) == 1
