"""The fixture `road`: opens an SMTP transport to a scripted server.  Certificates of an authority made for the run."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
import trustme
from smtp_road import OpenRoad, open_road


@pytest.fixture
def road() -> OpenRoad:
    return open_road


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def server_context(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """Makes a server's context with a certificate for a name."""

    def make(name: str = "127.0.0.1", *, signed_by: trustme.CA = authority, **more: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        signed_by.issue_cert(name, **more).configure_cert(context)  # type: ignore[arg-type]
        return context

    return make
