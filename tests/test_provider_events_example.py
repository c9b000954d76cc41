"""examples/provider_events.py: it serves what its configuration says, and the page shows how it is embedded."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
[spool]
url = "sqlite:spool.db"
[senders]
authorized = ["*"]
[[routes]]
transport = "letters"
[transports.letters]
plugin = "http"
provider = "postmark"
api_key = "x"
events_secret = "for-events"
"""


def test_the_example_serves_its_transport_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "postroad.toml"
    file.write_text(CONFIG)
    monkeypatch.setenv("POSTROAD_CONFIG", str(file))
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / "provider_events.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = module.application()

    async def ask(method, path):
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        await app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
        return sent[0]["status"]

    async def all_of_them():
        asked = (
            ("GET", "/mail-events/letters"),
            ("POST", "/mail-events/letters"),
            ("GET", "/mail-events/x"),
            ("GET", "/"),
        )
        return [await ask(*each) for each in asked]

    assert asyncio.run(all_of_them()) == [200, 401, 404, 404]
    assert "examples/provider_events.py" in (ROOT / "docs" / "provider-events.md").read_text(encoding="utf-8")
