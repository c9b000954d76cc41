"""Fuzzes one target: `python tests/fuzz/fuzz.py TARGET SECONDS`.  Needs atheris; called by `make fuzz`.

Begins with the committed corpus; what is found on the way is kept in `.fuzz/TARGET`, and an input that breaks the target in
`.fuzz/TARGET.crash-*`.  Put such a one into `tests/fuzz/corpus/TARGET`, where every `make test` tries it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
_MOST_OCTETS = 16_384

with atheris.instrument_imports(include=["postroad", "postroad_smtp", "postroad_http"]):
    from fuzz_targets import TARGETS


def main(name: str, seconds: str) -> None:
    found = ROOT / ".fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_MOST_OCTETS}",
        "-timeout=10",  # seconds for one input: longer is a mistake of its own
        "-rss_limit_mb=1024",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={found}.",
    ]
    folders = [found, ROOT / "tests" / "fuzz" / "corpus" / name]
    atheris.Setup([sys.argv[0], *options, *map(str, folders)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
