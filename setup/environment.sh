#!/bin/sh
# Makes .venv as requirements/dev.txt says, or finds in a blink that it is so already.
#
# The stamp in .venv holds the hash of everything the environment is made from; it is written
# last, so an interrupted run is simply done again. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*"; }

refuse() {
    say "$*" >&2
    exit 1
}

# Exit code 0 if $1 is an interpreter we run on.
fits() {
    "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14) and sys.maxsize > 2**32))' 2>/dev/null
}

stamp=.venv/feldwarte-stamp
wanted=$(cat pyproject.toml requirements/dev.txt setup/environment.sh hatch_build.py | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && fits .venv/bin/python; then
    exec .venv/bin/python hatch_build.py # the browser's part, if its sources changed
fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    for python in python3 python3.13 python3.12 python3.11 ''; do
        [ -n "$python" ] && fits "$python" && break
    done
    [ -n "$python" ] || refuse "Python 3.11, 3.12 or 3.13 (64-bit) is needed; python3 here is" \
        "$(python3 -c 'import platform as p; print(p.python_version(), p.architecture()[0])' 2>/dev/null || echo missing)." \
        "Give another one by: make setup PYTHON=/path/to/python3.12"
fi
fits "$python" || refuse "$python is not Python 3.11, 3.12 or 3.13 in 64 bit"

if ! { [ -x .venv/bin/python ] && fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        refuse "$python cannot make environments; on Debian: apt-get install python3-venv"
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

rm -f "$stamp"
say "installing $(grep -c '^[a-z]' requirements/dev.txt) pinned packages into .venv (each checked against its hash)"
.venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
printf '%s\n' "$wanted" >"$stamp"
say "ready"
