#!/bin/sh
# Writes requirements/*.txt anew: every version pinned, every file of the public index hashed,
# so that one set serves x86_64 and aarch64, Python 3.11 to 3.13. Whatever local mirrors this
# machine is set up for are left out: the hashes must be those everybody gets.
#
# Pins that still fit are kept; `make lock UPGRADE=1` moves them all. Needs uv.
set -eu
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
    echo "make lock needs uv: .venv/bin/pip install uv" >&2
    exit 1
}
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS

lock() { # FILE EXTRA... ; later files keep to the versions of the first
    file=requirements/$1.txt
    shift
    echo "$file"
    "$uv" pip compile --quiet --no-config \
        --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        ${UPGRADE:+--upgrade} $constraint $(printf -- '--extra %s ' "$@") \
        --output-file "$file" pyproject.toml
}

mkdir -p requirements
constraint=
lock dev dev edge modbus opcua aggregator
constraint='--constraint requirements/dev.txt'
lock edge edge modbus opcua
lock aggregator aggregator

# The one package that is built from source stands alone, so that nothing else needs a compiler.
echo requirements/systemd.txt
echo 'systemd-python==235' | "$uv" pip compile --quiet --no-config \
    --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file requirements/systemd.txt -
