"""Fetching real servers, with stand-ins for apt-get and dpkg: what is unpacked, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.chroot import build_root
from servers.debian import Unpacked, fetch, find

APT = """\
echo "$@" >>"$CALLS"
case " $* " in
    *" update "*) touch "$CALLS.updated" ;;
    *" install "*) printf 'Inst libneeded1 (1.0 Debian)\\nInst opensmtpd (6.8 Debian)\\nConf opensmtpd (6.8 Debian)\\n' ;;
    *" download "*) for name in "$@"; do case "$name" in -*|download) ;; *) touch "$name.deb" ;; esac; done ;;
esac
"""
FAILING_APT = """\
echo "$@" >>"$CALLS"
[ "$3" != update ] || exit 0
echo "E: Unable to locate package opensmtpd" >&2
exit 100
"""
DPKG = 'mkdir -p "$3/usr/sbin" && case "$2" in opensmtpd*) touch "$3/usr/sbin/smtpd" ;; *) touch "$3/$2" ;; esac\n'
TOOLS = ("mkdir", "touch")  # of the machine, for the stand-ins


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH.  Calls of apt-get are noted in `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(next(path for top in ("/usr/bin", "/bin") if (path := Path(top, tool)).exists()))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}")
    (folder / name).chmod(0o755)


def test_a_server_and_what_it_lacks_is_unpacked_once(tmp_path: Path, stand_ins: Path) -> None:
    stand_in(stand_ins, "apt-get", APT)
    stand_in(stand_ins, "dpkg", DPKG)
    assert find(tmp_path, "opensmtpd") is None
    found = fetch(tmp_path, "opensmtpd")
    assert isinstance(found, Unpacked)
    assert (found.root / "usr/sbin/smtpd").exists()
    assert (found.root / "libneeded1.deb").exists()
    calls = (tmp_path / "calls").read_text()
    assert "download libneeded1 opensmtpd\n" in calls
    assert "update" not in calls
    assert fetch(tmp_path, "opensmtpd") == found == find(tmp_path, "opensmtpd")
    assert (tmp_path / "calls").read_text() == calls


def test_half_a_server_does_not_count(tmp_path: Path, stand_ins: Path) -> None:
    stand_in(stand_ins, "apt-get", APT)
    stand_in(stand_ins, "dpkg", 'mkdir -p "$3/usr/sbin"\n')
    said = fetch(tmp_path, "opensmtpd")
    assert isinstance(said, str)
    assert "the package has no usr/sbin/smtpd" in said
    assert find(tmp_path, "opensmtpd") is None


def test_what_apt_says_is_told_with_the_remedy(tmp_path: Path, stand_ins: Path) -> None:
    stand_in(stand_ins, "apt-get", FAILING_APT)
    stand_in(stand_ins, "dpkg", DPKG)
    said = fetch(tmp_path, "opensmtpd")
    assert isinstance(said, str)
    assert "Unable to locate package opensmtpd" in said
    assert said.endswith("run apt-get update and try again")


def test_root_may_have_the_lists_brought_up_to_date(
    tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    stand_in(stand_ins, "apt-get", f'if [ -e "$CALLS.updated" ] || [ "$3" = update ]; then\n{APT}else exit 100; fi\n')
    stand_in(stand_ins, "dpkg", DPKG)
    assert isinstance(fetch(tmp_path, "opensmtpd", may_update=True), Unpacked)


def test_a_machine_without_apt_is_named(tmp_path: Path, stand_ins: Path) -> None:
    assert fetch(tmp_path, "dovecot") == (
        "dovecot cannot be fetched: there is no apt-get here (it comes from Debian's packages)"
    )


def test_a_root_folder_has_the_program_its_libraries_and_its_accounts(tmp_path: Path) -> None:
    package, root = tmp_path / "package", tmp_path / "root"
    (package / "usr/bin").mkdir(parents=True)
    root.mkdir()
    (package / "usr/bin/program").write_bytes(Path("/bin/sh").read_bytes())
    build_root(root, Unpacked(package), ["usr/bin/*"], {"mailer": (7, 8)})
    assert (root / "usr/bin/program").exists()
    assert list(root.glob("lib*/**/libc.so*"))
    assert "mailer:x:7:8:" in (root / "etc/passwd").read_text()
    assert "mailer:x:8:" in (root / "etc/group").read_text()
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
