"""Every system of the benchmark by its name on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.rivals import SmtpSource, WorkerClient, find_aiosmtplib
from load import Load
from own import OwnTransport
from peers import Peer
from peers.celery_redis import CeleryRedis
from peers.exim import Exim
from peers.haraka import Haraka
from peers.injected import Injected
from peers.opensmtpd import OpenSmtpd
from peers.postfix import Postfix
from peers.postroad import Postroad
from peers.postroad_door import PostroadDoor
from peers.postroad_engines import PostroadEngines
from peers.slimta import Slimta
from peers.smtplib_threads import HttpThreads, SmtplibThreads

__all__ = ["Terms", "known_systems", "make_all", "make_peers"]


@dataclass(frozen=True)
class Terms:
    """How systems are made.  cache: for packages and environments.  own: a stranger's transport."""

    cache: Path
    may_fetch: bool = True
    submitters: int = 50
    window: int = 40
    own: OwnTransport | None = None


def _makers(terms: Terms, load: Load) -> Mapping[str, Callable[[], Peer]]:
    about = {"submitters": terms.submitters, "window": terms.window, "with_log": True}
    own = terms.own
    mine = {own.name: lambda: Postroad(**about, name=own.name, own=own.told())} if own else {}
    had = {"cache": terms.cache, "may_fetch": terms.may_fetch}
    shape = {"sessions": 20, "kept": load.kept, "tls": load.tls}
    return {
        "postroad": lambda: Postroad(**about),
        "postroad-2": lambda: PostroadEngines(engines=2, submitters=terms.submitters, window=terms.window),
        "postroad-door": lambda: PostroadDoor(processes=8, window=terms.window),
        "postfix": lambda: Postfix(**had),
        "postfix-8": lambda: Postfix(**had, sessions=8),
        "opensmtpd": lambda: OpenSmtpd(**had),
        "exim": lambda: Exim(**had),
        "slimta": lambda: Slimta(**had),
        "haraka": lambda: Haraka(**had),
        "celery": lambda: CeleryRedis(**had),
        "smtplib": SmtplibThreads,
        "smtplib-usual": lambda: SmtplibThreads(is_usual=True),
        "http-client": HttpThreads,
        "requests": lambda: HttpThreads("requests"),
        "httpx2": lambda: HttpThreads("httpx2"),
        "aiosmtplib": lambda: _aiosmtplib(terms, shape),
        "smtp-source": lambda: SmtpSource(shape, terms.cache, may_fetch=terms.may_fetch),
        **mine,
    }


def _aiosmtplib(terms: Terms, shape: Mapping[str, Any]) -> Peer:
    python, absent = find_aiosmtplib(terms.cache, may_fetch=terms.may_fetch)
    return WorkerClient("aiosmtplib", "aiosmtplib_client", shape, python=python, absent=absent)


def _why_not(peer: Peer, load: Load, lacking: str) -> str | None:
    if load.by_mx and lacking and isinstance(peer, Injected):
        return f"it asks the DNS at port 53 and sends to port 25, and {lacking}"
    return peer.available()


def known_systems(terms: Terms) -> list[str]:
    return list(_makers(terms, Load()))


def make_all(terms: Terms) -> dict[str, Peer]:
    """Whether they can run here or not."""
    return {name: make() for name, make in _makers(terms, Load()).items()}


def make_peers(
    names: Sequence[str], terms: Terms, load: Load, lacking: str = ""
) -> tuple[dict[str, Peer], dict[str, str]]:
    """Those of the named systems that can run here, and why the others cannot.  lacking: why there is no network of their own."""
    makers = _makers(terms, load)
    peers = {name: makers[name]() for name in names}
    absent = {peer.name: reason for peer in peers.values() if (reason := _why_not(peer, load, lacking))}
    return {name: peer for name, peer in peers.items() if peer.name not in absent}, absent
