"""The public test-kit: for applications that send mail, and for authors of transports, stores and plugins.

See docs/testing.md and docs/plugins.md.  Names are looked up when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .engine import open_test_engine, test_config
    from .fakes import Hang, MemoryContent, ScriptedTransport, Slow, make_request
    from .store_suite import check_store
    from .transport_suite import check_transport

_HOMES = {
    "Hang": "fakes",
    "MemoryContent": "fakes",
    "ScriptedTransport": "fakes",
    "Slow": "fakes",
    "check_store": "store_suite",
    "check_transport": "transport_suite",
    "make_request": "fakes",
    "open_test_engine": "engine",
    "test_config": "engine",
}

__all__ = [
    "Hang",
    "MemoryContent",
    "ScriptedTransport",
    "Slow",
    "check_store",
    "check_transport",
    "make_request",
    "open_test_engine",
    "test_config",
]


__getattr__ = lazy_names(__name__, _HOMES)
