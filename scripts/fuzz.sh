#!/bin/sh
# Fuzzes the readers of strangers' bytes: fuzz.sh SECONDS [TARGET...], each target (tests/fuzz) for so many seconds.
# Called by `make fuzz`.  Installs requirements/fuzz.txt into .venv; where there is no fuzzer for this Python it says so and ends well.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift

.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements/fuzz.txt
if ! .venv/bin/python -c 'import atheris' 2>/dev/null; then
    echo "nothing was fuzzed: there is no atheris for $(.venv/bin/python -V) on $(uname -sm) (requirements/fuzz.in)"
    exit 0
fi

mkdir -p .fuzz
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
failed=""
for target in "$@"; do
    if .venv/bin/python tests/fuzz/fuzz.py "$target" "$seconds" >".fuzz/$target.log" 2>&1; then
        echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' ".fuzz/$target.log") inputs in $seconds s, no mistake"
    else
        failed="$failed $target"
        grep -E '^ *[A-Za-z.]*(Error|Exception)|Uncaught|ERROR|Test unit' ".fuzz/$target.log" | head -n 5 || true
        echo "$target: FAILED, see .fuzz/$target.log"
    fi
done
[ -z "$failed" ] || exit 1
