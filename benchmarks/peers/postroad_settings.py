"""Postroad's configuration for a load: pure, from what the harness says to what `open_engine` takes.

A transport of a plug-in author's own comes in as the table `[transports.NAME]` of a file; `{port}` and `{folder}` in its strings
stand for the sink's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from load import Load
from workload import SENDER

__all__ = ["configure", "fill_in", "outbound"]

_RETRY = {"first_seconds": 2.0, "max_seconds": 2.0, "jitter": 0.0}  # as Postfix's here in the mean


def configure(settings: Mapping[str, Any], load: Load) -> dict[str, Any]:
    """settings: folder, port, window; sink_folder; nameserver, where the way is looked up; an own one's name, table, plugins."""
    own, name = settings.get("table"), settings.get("name", "outbound")
    place = {"port": settings["port"], "folder": settings.get("sink_folder") or ""}
    table = fill_in(own, place) if own else outbound(settings, load)
    window = settings["window"]
    return {
        "plugins": list(settings.get("plugins") or ()),
        "spool": {"url": f"sqlite:{settings['folder']}/spool.db"},
        "senders": {"authorized": [SENDER]},
        "routes": [{"transport": name}],
        "transports": {name: table},
        "windows": {"start": window, "max": window},
        **({"retry": _RETRY} if load.deferred else {}),
    }


def outbound(settings: Mapping[str, Any], load: Load) -> dict[str, Any]:
    """The transport of Postroad's own that speaks to the sink."""
    if load.out == "file":
        return {"plugin": "file", "folder": settings["sink_folder"], "format": "maildir"}
    if load.out == "http":
        url = f"http://127.0.0.1:{settings['port']}"
        return {"plugin": "http", "provider": "mailgun", "domain": "bench.example", "api_key": "key", "base_url": url}
    table: dict[str, Any] = {"plugin": "smtp", "tls": "required" if load.tls else "opportunistic"}
    if load.by_mx:
        server = f"127.0.0.1:{settings['nameserver']}"
        table |= {"port": settings["port"], "dns_servers": [server], "allow_networks": ["127.0.0.0/8"]}
    else:
        table["smarthost"] = f"127.0.0.1:{settings['port']}"
    return table if load.kept else {**table, "messages_per_session": 1}


def fill_in(value: Any, place: Mapping[str, Any]) -> Any:
    """A copy in which the strings name the sink."""
    if isinstance(value, Mapping):
        return {key: fill_in(inner, place) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_in(inner, place) for inner in value]
    if not isinstance(value, str):
        return value
    for name, given in place.items():
        if value == f"{{{name}}}" and isinstance(given, int):
            return given
        value = value.replace(f"{{{name}}}", str(given))
    return value
