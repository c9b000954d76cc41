"""What an application is told of, and how: bounces and incoming mail, as values for functions of the application or by a plugin.

    async def on_bounce(bounce: Bounce) -> None: ...

    open_engine(config, plugins={"application": Callbacks(bounce=on_bounce, mail=on_mail)})

docs/callbacks.md explains it.  `is_bounce` and `read_bounce` are for plugins that tell an application in another way.
"""

from __future__ import annotations

from .functions import Callbacks, TryAgain
from .told import Bounce, IncomingMail, is_bounce, key_of, read_bounce

__all__ = ["Bounce", "Callbacks", "IncomingMail", "TryAgain", "is_bounce", "key_of", "read_bounce"]
