"""The `postroad` command.  `--help`, `send` and `queue` must not wait for an engine's parts: these are imported when needed."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line, and end the process."""
    from .app import postroad

    postroad(prog_name="postroad")
