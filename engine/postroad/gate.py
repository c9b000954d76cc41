"""placeholder"""

from __future__ import annotations

from pathlib import Path

import trio

from .engine import Engine


async def serve_gate(engine: Engine, path: Path, *, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep_forever()
