"""What a test of an application put in the place of a library in `mail`: `mock.patch("postroad.appengine.mail.logging")`.

The original is one module, so that this reaches all of it; here the work is done in others, which ask for the name at each use.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["of_mail"]


def of_mail(library: Any) -> Any:
    """The library, or what goes by its name in `postroad.appengine.mail` now."""
    return getattr(sys.modules.get(f"{__package__}.mail"), library.__name__, library)
