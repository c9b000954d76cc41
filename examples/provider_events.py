"""A web application that takes what providers tell later, beside an engine that runs elsewhere (`postroad serve`).

    uvicorn --factory provider_events:application          # or hypercorn, with -k trio or asyncio
    POSTROAD_CONFIG=postroad.toml

Each HTTP transport of the configuration that has an events_secret is served at /mail-events/NAME.  In a trio application that
carries the engine itself, `provider_events(engine)` does without the handover.
"""

from __future__ import annotations

import os
from typing import Any

from postroad.config import load_config
from postroad.handover import Handover
from postroad.spool import SpoolPlace
from postroad_http.events import provider_events


def application() -> Any:
    """An ASGI application; with Starlette or FastAPI `app.mount("/mail-events", ...)` does what `dispatch` does here."""
    config = load_config(os.environ["POSTROAD_CONFIG"])
    events = provider_events(Handover(SpoolPlace.parse(config.spool.url, config.resolved("")), config), config)

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/mail-events/"):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await events({**scope, "root_path": scope.get("root_path", "") + "/mail-events"}, receive, send)

    return dispatch
