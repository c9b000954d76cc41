"""Holds a fork off while a thread does what its child could not get out of: a half-done import, an open database.

A child has only the thread that forked.  What another thread was importing stays locked in it for ever, and SQLite goes on to
believe that its locks are held.  So a fork waits for the end of such a moment; nothing that may last belongs into one.
Asked by `offline.py`, `address.py` and the doors of `appengine`.
"""

from __future__ import annotations

import os
import threading

__all__ = ["no_fork"]

no_fork = threading.RLock()
"""`with no_fork:` no fork of this process happens within, but one by the thread itself."""

os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release)
