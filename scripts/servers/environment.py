"""A Python environment of its own for a program that the checkout's must not hold: made from hashed requirements."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["find_environment", "make_environment"]


def find_environment(cache: Path, module: str) -> Path | None:
    """The Python that can import `module`, None where `make_environment` did not make it."""
    python = _folder(cache, module) / "bin" / "python"
    tried = [python, "-c", f"import {module}"]
    return (
        python if python.exists() and not subprocess.run(tried, capture_output=True, check=False).returncode else None
    )


def make_environment(cache: Path, module: str, requirements: Path) -> Path | str:
    """The Python, made if need be; or why there is none."""
    if found := find_environment(cache, module):
        return found
    folder = _folder(cache, module)
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    made = subprocess.run([*pip, "--require-hashes", "-r", requirements], capture_output=True, text=True, check=False)
    if not made.returncode and (found := find_environment(cache, module)):
        return found
    said = (made.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
    return f"{module} cannot be installed: {said[:200]}"


def _folder(cache: Path, module: str) -> Path:
    return cache / f"{module}-{sys.version_info.major}.{sys.version_info.minor}"
