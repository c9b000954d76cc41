"""What providers tell later, by webhooks: an ASGI application for any server, and the pure functions that read each provider.

    app = provider_events(engine)                     # in a trio application
    app = provider_events(Handover(place, config), config)     # in any other process

docs/provider-events.md tells how it works and fails.
"""

from __future__ import annotations

from .application import ProviderEvents, provider_events
from .source import Batch, Forged, Keys, Malformed, Posted, Source
from .sources import SOURCES

__all__ = [
    "SOURCES",
    "Batch",
    "Forged",
    "Keys",
    "Malformed",
    "Posted",
    "ProviderEvents",
    "Source",
    "provider_events",
]
