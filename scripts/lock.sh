#!/bin/sh
# Write requirements.lock (what users run) and requirements-dev.lock (what tests and linters
# need in addition): one pinned set with hashes for all Pythons and architectures in pyproject.toml.
# requirements-newest.lock has the newest ansible-core, for the tests under Python 3.13.
# usage: scripts/lock.sh [--upgrade]     needs the network; without --upgrade, pins are kept
set -eu

UV_VERSION=0.13.9
cd "$(dirname -- "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check "uv==$UV_VERSION"
# Include the build backend: the package itself is installed without build isolation.
sed -n 's/^requires = \["\(hatchling[^"]*\)"\]$/\1/p' pyproject.toml > "$work/backend.in"
[ -s "$work/backend.in" ] || { echo "lock.sh: no build backend in pyproject.toml" >&2; exit 1; }

# One version of each package for all Pythons (fewest), so that runs are the same everywhere.
compile() {
    output=$1
    shift
    UV_NO_CONFIG=1 "$work/venv/bin/uv" pip compile --quiet --universal --fork-strategy fewest \
        --python-version 3.11 --generate-hashes --no-annotate --output-file "$output" \
        --custom-compile-command scripts/lock.sh pyproject.toml "$work/backend.in" "$@"
}
compile requirements.lock "$@"
# The constraint keeps the pins of both locks equal; the package is installed with --no-deps.
echo editables > "$work/editable.in" # what hatchling needs for pip install --editable
compile requirements-dev.lock "$work/editable.in" --extra dev --constraint requirements.lock "$@"
# Its dependencies come from the dev lock; if they do not fit, its tests fail to start.
if [ "${1:-}" = --upgrade ] || [ ! -s requirements-newest.lock ]; then
    sed -n 's/^\(#.*\)$/\1/p' requirements-newest.lock > "$work/head" 2>/dev/null || true
    echo 'ansible-core>=2.21' > "$work/newest.in"
    UV_NO_CONFIG=1 "$work/venv/bin/uv" pip compile --quiet --no-deps --python-version 3.13 \
        --generate-hashes --no-annotate --no-header --output-file "$work/newest" "$work/newest.in"
    cat "$work/head" "$work/newest" > requirements-newest.lock
fi
grep -c '==' requirements.lock requirements-dev.lock
