#!/bin/sh
# Build the Ansible collection dream_runner.core from this tree: build_collection.sh [DIRECTORY]
# Writes dream_runner-core-VERSION.tar.gz to DIRECTORY (default: dist). Needs ansible-core; uses no network.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
output=${1:-$here/../dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$output"
"$python" "$here/collection_tree.py" "$work/core"
HOME=$work "$(dirname -- "$python")/ansible-galaxy" collection build --force --output-path "$output" "$work/core"
