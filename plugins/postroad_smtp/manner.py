"""How one connection is spoken on: what the server offers, as far as the configuration allows it and the server is fit for it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .features import NOTHING, Features
from .handover import Handover
from .known import Flaw, KnownHosts
from .settings import SmtpSettings

__all__ = ["PLAIN", "Manner", "choose_manner"]


class Manner(NamedTuple):
    """features: what the server offers.  pipelining, chunking: whether, and for which contents, they are used.

    doubts_pipelining: whether a server that complains may be confused by it; not where the configuration vouches for it.
    """

    features: Features
    pipelining: bool = False
    doubts_pipelining: bool = False
    chunking: Literal["never", "streamed", "always"] = "never"
    is_lmtp: bool = False

    @property
    def takes_followers(self) -> bool:
        """Whether the next envelope goes out with the content before it.  Not in LMTP: where a server gave one reply too few to
        the end of a content, its replies to the next envelope would be taken for acceptances."""
        return self.pipelining and not self.is_lmtp

    def uses_chunks(self, handover: Handover) -> bool:
        """Whether a content goes by BDAT: a streamed one is spared the search for dots and may be refused between chunks; for a
        small one DATA does as well, and more servers have practice with it."""
        return self.chunking == "always" or (self.chunking == "streamed" and handover.payload is None)


PLAIN = Manner(NOTHING)


def choose_manner(features: Features, settings: SmtpSettings, known: KnownHosts, host: str) -> Manner:
    pipelining = features.pipelining and _may(settings.pipelining, known, host, Flaw.PIPELINING)
    return Manner(
        features,
        pipelining=pipelining,
        doubts_pipelining=pipelining and settings.pipelining == "auto",
        chunking=_chunking(features, settings, known, host),
        is_lmtp=settings.protocol == "lmtp",
    )


def _may(setting: str, known: KnownHosts, host: str, flaw: Flaw) -> bool:
    return setting == "on" or (setting == "auto" and not known.has(host, flaw))


def _chunking(
    features: Features, settings: SmtpSettings, known: KnownHosts, host: str
) -> Literal["never", "streamed", "always"]:
    if not (features.chunking and settings.chunking != "off") or known.has(host, Flaw.CHUNKING):
        return "never"
    return "always" if settings.chunking == "on" else "streamed"
