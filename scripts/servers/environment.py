"""Python environments of their own for programs that the checkout's must not hold.

They are made in a cache folder, from hashed requirements, when they are first asked for.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["find_python"]

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"


def find_python(cache: Path, requirements: str, *modules: str, may_fetch: bool = True) -> tuple[Path, str]:
    """The Python that can import some modules, and why there is none, if so.

    requirements: the name of a file in `requirements`, without its ending.
    """
    folder = cache / f"{requirements}-{sys.version_info.major}.{sys.version_info.minor}"
    python, mark = folder / "bin" / "python", folder / "made-from"
    wanted = (_REQUIREMENTS / f"{requirements}.txt").read_text(encoding="utf-8")
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted and _can_import(python, modules):
        return python, ""
    if not may_fetch:
        return python, f"requirements/{requirements}.txt is not installed in {folder}, and nothing may be fetched"
    venv.create(folder, clear=True, with_pip=True)
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", "--require-hashes"]
    listed = ["--no-deps", "-r", _REQUIREMENTS / f"{requirements}.txt"]  # the file names what is needed in all
    made = subprocess.run([*pip, *listed], capture_output=True, text=True, check=False)
    if made.returncode or not _can_import(python, modules):
        said = (made.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
        return python, f"cannot be installed: {said[:200]}"
    mark.write_text(wanted, encoding="utf-8")
    return python, ""


def _can_import(python: Path, modules: tuple[str, ...]) -> bool:
    if not python.exists():
        return False
    asked = [python, "-c", f"import {', '.join(modules)}"]
    return not subprocess.run(asked, capture_output=True, check=False).returncode
