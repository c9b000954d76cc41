#!/bin/sh
# Makes .venv with hashed requirements and Postroad itself in editable form, or mends one that is out of date.
# Called by the Makefile; PYTHON names another interpreter.  Leaves the stamp .venv/.postroad only when all went well.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

fail() {
    echo "postroad: $*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "there is no $python; install Python 3.11 or newer (Debian: apt-get install python3 python3-venv), or say PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, $python is $("$python" -V 2>&1 | cut -d' ' -f2); name another one with PYTHON=..."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian: apt-get install python3-venv)"

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "making .venv with $("$python" -V 2>&1)"
    "$python" -m venv --clear .venv
fi

pip() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input "$@"
}

wanted=$(cat requirements/dev.txt scripts/make_venv.sh | cksum)
if [ "$(cat .venv/.requirements 2>/dev/null)" != "$wanted" ]; then
    echo "installing requirements/dev.txt"
    pip --require-hashes -r requirements/dev.txt
    echo "$wanted" >.venv/.requirements
fi
pip --no-deps --no-build-isolation -e . # again whenever pyproject.toml changes: entry points are read at installation
touch .venv/.postroad
