"""Real servers as fixtures.  One that is absent skips its tests, or fails them where POSTROAD_INTEGRATION is "required".

`make servers` brings them.  Each runs on loopback at a free port, in a temporary folder, and is ended by its own pid.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest
import real_dovecot
import trustme
from piped_site import Site, open_site, python_of_nobody
from real_dovecot import RealDovecot
from real_moto import RealMoto
from real_opensmtpd import RealOpenSmtpd
from real_postfix import RealPostfix
from real_server import RealServer
from sink_places import StartSink, sink_place

from servers.debian import Unpacked, find
from servers.environment import find_python
from servers.postfix import Programs, find_programs, why_not

CACHE = Path(__file__).resolve().parents[2] / ".servers"
REMEDY = "bring them with: make servers (Debian, as root)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the servers had to say."""
    report = yield
    if report.failed:
        servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, RealServer)]
        report.sections += [(type(server).__name__, server.last_words()) for server in servers]
    return report


def absent(reason: str) -> NoReturn:
    """Skip with the reason, or fail where every server must be there."""
    said = f"{reason}; {REMEDY}"
    if os.environ.get("POSTROAD_INTEGRATION") == "required":
        pytest.fail(f"{said} (POSTROAD_INTEGRATION is required)", pytrace=False)
    pytest.skip(said)


@contextmanager
def work_folder() -> Iterator[Path]:
    """Not pytest's own: servers that gave up their privileges may not enter that, and a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="postroad-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


Server = TypeVar("Server", bound=RealServer)


@contextmanager
def running(make: Callable[[Path], Server]) -> Iterator[Server]:
    with work_folder() as folder:
        server = make(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def unpacked(name: str) -> Unpacked:
    found = find(CACHE, name)
    return found if found is not None else absent(f"{name} is not in .servers")


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Postfix's, smtp-sink among them."""
    found = find_programs(CACHE, may_fetch=False)
    return absent(found) if isinstance(found, str) else found


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="session")
def make_postfix(programs: Programs, authority: trustme.CA) -> Callable[[Path], RealPostfix]:
    if reason := why_not():
        absent(reason)
    certificate = authority.issue_cert("127.0.0.1")
    return lambda folder: RealPostfix(folder, programs, certificate=certificate)


@pytest.fixture(scope="session")
def make_opensmtpd() -> Callable[[Path], RealOpenSmtpd]:
    package = unpacked("opensmtpd")
    if os.geteuid() != 0:
        absent("OpenSMTPD runs only as root")
    return lambda folder: RealOpenSmtpd(folder, package)


@pytest.fixture(scope="session")
def postfix(make_postfix: Callable[[Path], RealPostfix]) -> Iterator[RealPostfix]:
    with running(make_postfix) as server:
        yield server


@pytest.fixture(scope="session")
def opensmtpd(make_opensmtpd: Callable[[Path], RealOpenSmtpd]) -> Iterator[RealOpenSmtpd]:
    with running(make_opensmtpd) as server:
        yield server


@pytest.fixture(scope="session")
def dovecot() -> Iterator[RealDovecot]:
    package = unpacked("dovecot")
    if reason := real_dovecot.why_not():
        absent(reason)
    with running(lambda folder: RealDovecot(folder, package)) as server:
        yield server


@pytest.fixture(scope="session")
def postfix_with_login(programs: Programs, authority: trustme.CA, dovecot: RealDovecot) -> Iterator[RealPostfix]:
    """It asks Dovecot about passwords."""
    if reason := why_not():
        absent(reason)
    certificate, port = authority.issue_cert("127.0.0.1"), dovecot.login_port
    with running(lambda folder: RealPostfix(folder, programs, certificate=certificate, login_port=port)) as server:
        yield server


@pytest.fixture(scope="module")
def piped(programs: Programs) -> Iterator[tuple[Site, RealPostfix]]:
    """A site, and a Postfix whose mail for app.example goes into its pipe."""
    if reason := why_not():
        absent(reason)
    python = python_of_nobody() or absent("the account nobody may run no Python")
    with (
        work_folder() as folder,
        open_site(folder / "app") as (site, url),
        running(lambda place: RealPostfix(place, programs, pipe=site.pipe(python))) as server,
    ):
        site.write_config(url, server.place)
        yield site, server


@pytest.fixture(scope="session")
def moto() -> Iterator[RealMoto]:
    python, reason = find_python(CACHE, "moto", "moto", may_fetch=False)
    if reason:
        absent(reason)
    with running(lambda folder: RealMoto(folder, python)) as server:
        yield server


@pytest.fixture(params=["postfix", "opensmtpd"])
def mortal(request: pytest.FixtureRequest) -> Iterator[RealPostfix | RealOpenSmtpd]:
    """A server of the test's own, which it may kill."""
    with running(request.getfixturevalue(f"make_{request.param}")) as server:
        yield server


@pytest.fixture
def start_sink(programs: Programs) -> Iterator[StartSink]:
    with work_folder() as folder, sink_place(folder, programs) as start:
        yield start
