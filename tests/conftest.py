"""For all tests: how long an example takes says something of the machine, and nothing of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("postroad", deadline=None)
settings.load_profile("postroad")
