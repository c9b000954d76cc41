"""The fixture `road`: opens an SMTP transport to a scripted server."""

from __future__ import annotations

import pytest
from smtp_road import OpenRoad, open_road


@pytest.fixture
def road() -> OpenRoad:
    return open_road
