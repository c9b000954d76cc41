#!/bin/sh
# Compiles requirements/*.txt, with hashes, from pyproject.toml and requirements/*.in.  Called by `make requirements`.
set -eu
cd "$(dirname "$0")/.."

# Without --no-emit-index-url and --no-config, a developer's own index could end up in a committed file.
compile() {
    .venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" "$@" >/dev/null
}

compile ${UPGRADE:+--upgrade} --extra cli --extra http --extra testing --extra demo -o requirements/dev.txt \
    pyproject.toml requirements/dev.in
compile ${UPGRADE:+--upgrade} -o requirements/fuzz.txt requirements/fuzz.in # apart: there are wheels for some machines only
for name in moto bench bench-plots bench-celery bench-slimta; do # each an environment of its own
    compile ${UPGRADE:+--upgrade} -o "requirements/$name.txt" "requirements/$name.in"
done
# The smaller sets are parts of the large one: tests and users run on the same versions.
compile -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml
compile -c requirements/dev.txt --extra cli --extra demo -o requirements/demo.txt pyproject.toml
