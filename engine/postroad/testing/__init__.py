"""The public test-kit: for applications that send mail, and for authors of transports, stores and plugins.

See docs/testing.md and docs/plugins.md.  Names are looked up when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .engine import open_test_engine, test_config
    from .fakes import Hang, MemoryContent, ScriptedTransport, Slow, make_request
    from .http_peer import HttpMode, HttpPeer, HttpReply, HttpRequest
    from .plugin_suite import check_plugin
    from .simulated_server import DAY, HOUR, MINUTE, Mail, MailServer
    from .simulated_world import World
    from .simulation import BrokenPromise, open_simulation, simulate
    from .store_suite import check_store
    from .transport_suite import check_transport

_HOMES = {
    "BrokenPromise": "simulation",
    "DAY": "simulated_server",
    "HOUR": "simulated_server",
    "Hang": "fakes",
    "HttpMode": "http_peer",
    "HttpPeer": "http_peer",
    "HttpReply": "http_peer",
    "HttpRequest": "http_peer",
    "MINUTE": "simulated_server",
    "Mail": "simulated_server",
    "MailServer": "simulated_server",
    "MemoryContent": "fakes",
    "ScriptedTransport": "fakes",
    "Slow": "fakes",
    "World": "simulated_world",
    "check_plugin": "plugin_suite",
    "check_store": "store_suite",
    "check_transport": "transport_suite",
    "make_request": "fakes",
    "open_simulation": "simulation",
    "open_test_engine": "engine",
    "simulate": "simulation",
    "test_config": "engine",
}

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "BrokenPromise",
    "Hang",
    "HttpMode",
    "HttpPeer",
    "HttpReply",
    "HttpRequest",
    "Mail",
    "MailServer",
    "MemoryContent",
    "ScriptedTransport",
    "Slow",
    "World",
    "check_plugin",
    "check_store",
    "check_transport",
    "make_request",
    "open_simulation",
    "open_test_engine",
    "simulate",
    "test_config",
]


__getattr__ = lazy_names(__name__, _HOMES)
