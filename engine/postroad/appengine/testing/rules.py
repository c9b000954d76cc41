"""The service's rules without a spool: what the door of a real one refuses, is refused in the same words.

A store in memory takes what passes, so that quotas count.  Asked by the stub, where a configuration is named.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from ...config import Config
from ...handover import mail_call
from ...offline import OfflineSpool
from ...spool import ContentFolder
from ...store.memory import MemoryStore

__all__ = ["RulesOnly"]

_NEVER_IN_A_FILE = 1 << 40  # octets


class RulesOnly:
    """Takes mail as a Handover does, by the rules of a configuration, and keeps it in memory."""

    def __init__(self, config: Config) -> None:
        config = replace(config, spool=replace(config.spool, content_file_bytes=_NEVER_IN_A_FILE))
        self._spool = OfflineSpool(MemoryStore(), ContentFolder(None), config)
        self._lock = threading.Lock()  # the store serves one thread at a time

    def send_mail(self, fields: Mapping[str, Any], id: str | None, *, to_admins: bool, admin_bytes: int | None) -> str:
        """As `Handover.send_mail`."""
        call = mail_call(fields, id, to_admins=to_admins, admin_bytes=admin_bytes)
        with self._lock:
            answer: str = self._spool.do(call)
        return answer
