"""Builds the wheel and tries it as a stranger would: in an empty environment, outside the checkout.

Checked: the wheel holds every module of the import packages, py.typed and nothing else; all modules import with the runtime
requirements alone; the plugins are found by their entry points; `postroad --version`; strangers' plugins in wheels of their
own (`try_strangers.py`); then, with the demo's requirements, `postroad demo`.  Run by `make wheel` and .ci/run; ends
non-zero with the reason on the first failure.
requirements alone; the plugins are found by their entry points; `postroad --version`; mail sent by App Engine's API lies in the
spool; then, with the demo's requirements, `postroad demo`.  Run by `make wheel` and .ci/run; ends non-zero with the reason on
the first failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from try_strangers import try_strangers

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [ROOT / folder for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
DEMO_SECONDS = 120  # it takes under 20 on an idle machine

# Runs in the empty environment.  Modules that serve an extra may lack that extra's packages, and nothing else.
IMPORT_ALL = """
import importlib, pkgutil, sys
testing = ("postroad.testing.", "postroad.appengine.testing.")
extras = {"rich": "postroad.cli.", "aiosmtpd": "postroad.cli.", "pytest": testing, "pytest_trio": testing}
extras["h11"] = ("postroad.testing.http_peer", "postroad_appengine.", "postroad_http.")
extras |= {"httpx2": "postroad_http.", "cryptography": "postroad_http.events."}
count = 0
for package in sys.argv[1:]:
    top = importlib.import_module(package)
    for found in pkgutil.walk_packages(top.__path__, package + "."):
        if found.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            prefix = extras.get((error.name or "").partition(".")[0])
            if prefix is None or not found.name.startswith(prefix):
                raise
            print(f"{found.name} waits for {error.name} of an extra")
        count += 1
print(f"{count} modules of {', '.join(sys.argv[1:])} import")
"""

# As a WSGI worker would, without an engine, and as its tests would.
SEND_BY_DROP_IN = """
import sys
from postroad.appengine import mail, testbed
bed = testbed.Testbed()
bed.activate()
bed.init_mail_stub()
mail.send_mail("support@example.com", "albert@example.org", "Kept by the stub", "Hello")
assert len(bed.get_stub("mail").get_sent_messages(to="albert@")) == 1
bed.deactivate()
mail.configure("postroad.toml")
mail.EmailMessage(sender="support@example.com", to="albert@example.org", subject="Kept by the spool", body="Hello").send()
try:
    mail.send_mail("nobody@elsewhere.example", "albert@example.org", "Refused", "Hello")
except mail.InvalidSenderError:
    assert "trio" not in sys.modules
    print(mail.last_receipt())
"""
DROP_IN_CONFIG = """
[spool]
url = "sqlite:spool.db"
[senders]
authorized = ["support@example.com"]
[[routes]]
transport = "out"
[transports.out]
plugin = "file"
format = "maildir"
folder = "out"
"""

FIND_PLUGINS = """
import importlib.metadata, sys
found = {point.name: point for point in importlib.metadata.entry_points(group="postroad")}
assert sorted(found) == sorted(sys.argv[1:]), f"entry points are {sorted(found)}, expected {sorted(sys.argv[1:])}"
for point in found.values():
    point.load()
print(f"plugins found: {', '.join(sorted(found))}")
"""


class Trouble(Exception):
    """What is wrong with the wheel."""


def run(*command: str | Path, cwd: Path, seconds: float = 600, status: int = 0) -> str:
    """Run a program without the checkout's environment; raise Trouble with all it said when it ends otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{Path(command[0]).name} took more than {seconds:g} s\n{error.stdout or ''}") from None
    if done.returncode != status:
        said = " ".join(str(word) for word in command[:4] if "\n" not in str(word))
        raise Trouble(f"{said} ended with {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


def build(folder: Path, source: Path = ROOT) -> Path:
    """Build a wheel with the checkout's own hatchling: nothing is fetched."""
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--quiet", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, folder, source, cwd=folder)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise Trouble(f"one wheel was expected, not {[wheel.name for wheel in wheels]}")
    return wheels[0]


def expected_files() -> set[str]:
    """Every file of the import packages in the checkout, as the wheel names it."""
    files = (path for package in PACKAGES for path in package.rglob("*") if path.is_file())
    return {
        str(path.relative_to(next(package.parent for package in PACKAGES if path.is_relative_to(package))))
        for path in files
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def check_content(wheel: Path) -> None:
    """Compare the wheel's files with the checkout's: nothing of tests, benchmarks or docs, and nothing missing."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = expected_files()
    if names != expected:
        raise Trouble(f"too much in the wheel: {sorted(names - expected)}; missing: {sorted(expected - names)}")
    for package in PACKAGES:
        if f"{package.name}/py.typed" not in names:
            raise Trouble(f"{package.name}/py.typed is missing")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size // 1024} KiB")


def make_environment(folder: Path, wheel: Path) -> Path:
    """Install the wheel with the hashed runtime requirements into an environment of its own; return its bin folder."""
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    bin_folder = folder / "venv" / "bin"
    install(bin_folder, folder, "--require-hashes", "-r", str(ROOT / "requirements" / "runtime.txt"))
    install(bin_folder, folder, "--no-deps", "--no-index", str(wheel))
    return bin_folder


def install(bin_folder: Path, cwd: Path, *what: str) -> None:
    run(
        bin_folder / "python",
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--no-input",
        *what,
        cwd=cwd,
    )


def try_package(bin_folder: Path, folder: Path) -> None:
    """Import everything, find the plugins, ask for the version."""
    python = bin_folder / "python"
    print(run(python, "-I", "-W", "error", "-c", IMPORT_ALL, *(package.name for package in PACKAGES), cwd=folder))
    print(run(python, "-I", "-c", FIND_PLUGINS, *PROJECT["project"]["entry-points"]["postroad"], cwd=folder))
    print(run(python, "-m", "pip", "check", "--disable-pip-version-check", cwd=folder))
    print(run(bin_folder / "postroad", "--version", cwd=folder))


def try_stranger(bin_folder: Path, folder: Path) -> None:
    """A stranger's plugin, and a broken one, in wheels of their own."""
    place = folder / "strangers"
    place.mkdir()
    for name, kind in (("stranger", "transport"), ("broken", "hooks")):
        package = place / f"postroad-{name}"
        run(bin_folder / "postroad", "plugin", "new", name, "--kind", kind, "--folder", package, cwd=place)
        if name == "broken":
            (package / "src" / "postroad_broken" / "__init__.py").write_text(
                "import no_such_module\n", encoding="utf-8"
            )
        wheels = place / f"{name}-wheel"
        wheels.mkdir()
        install(bin_folder, folder, "--no-deps", "--no-index", str(build(wheels, package)))
    for line in try_strangers(
        lambda *words, status=0: run(bin_folder / words[0], *words[1:], cwd=place, status=status), place
    ):
        print(line)


def try_drop_in(bin_folder: Path, folder: Path) -> None:
    """Send as an application written for App Engine does, while no engine runs, and look at the queue."""
    (folder / "postroad.toml").write_text(DROP_IN_CONFIG, encoding="utf-8")
    id = run(bin_folder / "python", "-I", "-W", "error", "-c", SEND_BY_DROP_IN, cwd=folder).splitlines()[-1]
    listed = run(bin_folder / "postroad", "queue", "list", cwd=folder)
    if not id or id not in listed or "albert@example.org" not in listed:
        raise Trouble(f"the drop-in said it sent {id!r}, and the queue is\n{listed}")
    print(f"the drop-in for App Engine's Mail API works: {id} waits in the spool")


def try_demo(bin_folder: Path, folder: Path) -> None:
    """Run the demo as its users do."""
    install(bin_folder, folder, "--require-hashes", "-r", str(ROOT / "requirements" / "demo.txt"))
    said = run(bin_folder / "postroad", "demo", cwd=folder, seconds=DEMO_SECONDS)
    print("the demo ran; it ends with:", *said.splitlines()[-3:], sep="\n  ")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="postroad-wheel-") as name:
        folder = Path(name).resolve()
        try:
            wheel = build(folder)
            check_content(wheel)
            bin_folder = make_environment(folder, wheel)
            try_package(bin_folder, folder)
            try_stranger(bin_folder, folder)
            try_drop_in(bin_folder, folder)
            try_demo(bin_folder, folder)
        except (Trouble, AssertionError) as error:
            print(f"the wheel is not in order: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
