#!/bin/sh
# Run all checks: style, types, roles, then the tests from the fast to the slow layers.
#
# usage: scripts/test.sh [--fast] [pytest arguments]
#   --fast   unit, module and integration tests only: no containers, no whole installs
#
# The tests run in two processes, each file in one of them (DREAM_TEST_WORKERS=0: in one process).
# Creates .venv from requirements-dev.lock (with hashes) on first use. As root with podman and
# debootstrap, the node tests run too; otherwise they are skipped with a reason.
set -eu
cd "$(dirname -- "$0")/.."

fast=no
if [ "${1:-}" = --fast ]; then
    fast=yes
    shift
fi

step() { printf '\n== %s\n' "$*"; }

# make_environment DIRECTORY PYTHON [LOCK]: does nothing if the environment matches the locks. LOCK
# replaces the versions of some packages.
make_environment() {
    stamp=$(cat requirements-dev.lock pyproject.toml ${3:+"$3"} | sha256sum | cut -d' ' -f1)
    [ "$(cat "$1/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    step "creating $1"
    rm -rf -- "$1"
    "$2" -m venv "$1"
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes \
        --only-binary :all: -r requirements-dev.lock
    [ -z "${3:-}" ] || "$1/bin/python" -m pip install -qq --disable-pip-version-check \
        --require-hashes --only-binary :all: --no-deps -r "$3"
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --no-deps \
        --no-build-isolation --editable .
    printf '%s\n' "$stamp" >"$1/.stamp"
}

# The newest supported Python, if this machine has it in addition to the default.
other_python() {
    for candidate in python3.13 "${HOME:-/}"/.pyenv/versions/3.13*/bin/python; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
            command -v -- "$candidate"
            return
        fi
    done
}

# Build the node images, which takes minutes, while the checks run, which use only one core.
# The first test that needs an image reports errors.
build_images() {
    [ "$fast" = no ] && [ "$(id -u)" = 0 ] && command -v podman >/dev/null || return 0
    python -m tests.images build all >/dev/null 2>&1 </dev/null &
    # Wait for it even if a check fails: a killed build would leave a mount or a container.
    trap wait EXIT
}

# Folders in order, the longest files first, so that short files keep both processes busy at the
# end. Without --no-loadscope-reorder, xdist would start with the files that have most tests.
in_parallel="--numprocesses ${DREAM_TEST_WORKERS:-2} --dist loadfile --no-loadscope-reorder"

make_environment .venv "${PYTHON:-python3}"
PATH=$PWD/.venv/bin:$PATH
export PATH
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH

build_images
step "ruff"
ruff check .
ruff format --check .
step "mypy"
mypy
step "ansible-lint"
ansible-lint -q --offline --profile production playbooks roles tests/molecule
if command -v shellcheck >/dev/null 2>&1; then
    step "shellcheck"
    shellcheck install.sh scripts/*.sh scripts/dream-runner .ci/run
fi

newest=$(other_python)
if [ -z "$newest" ]; then
    step "Python 3.13: skipped, not installed on this machine"
elif python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))'; then
    step "Python 3.13: used for the tests below"
else
    make_environment .cache/venv-3.13 "$newest" requirements-newest.lock
    # The newest supported ansible-core needs it. Long tests that depend little on Ansible are
    # only run with DREAM_TEST_SLOW=1.
    less="--ignore tests/modules/test_dream_venv.py --ignore tests/integration/test_wheel.py"
    less="$less --ignore tests/integration/test_equivalence.py"
    less="$less --ignore tests/unit/fetch/test_villains.py --ignore tests/unit/bundle/test_bundle.py"
    less="$less --ignore tests/unit/report/test_browser.py --ignore tests/unit/house/test_bench_page.py"
    less="$less --ignore tests/unit/cli/test_completion.py"
    less="$less --ignore tests/unit/upgrade/test_switch_native.py --ignore tests/modules/test_dream_background.py"
    less="$less --ignore tests/unit/fetch/test_wheel_source.py --ignore tests/unit/network/test_network_env.py"
    less="$less --ignore tests/unit/fetch/test_responses.py --ignore tests/unit/fetch/test_kill.py"
    less="$less --ignore tests/unit/fleet/test_inventory.py --ignore tests/unit/system/test_streams.py"
    less="$less --ignore tests/modules/test_dream_supervisor.py"
    less="$less --ignore tests/integration/test_services_upgrade.py"
    less="$less --ignore tests/integration/test_models_background.py"
    # test_run.py runs the commands too.
    less="$less --ignore tests/integration/test_cli.py --ignore tests/unit/records/test_forms.py"
    less="$less --ignore tests/unit/health/test_feature_probes.py --ignore tests/unit/containers/test_compose_diff.py"
    less="$less --ignore tests/unit/report/test_report.py --ignore tests/unit/upgrade/test_upgrader.py"
    less="$less --ignore tests/unit/fleet/test_peer_sharing.py --ignore tests/unit/health/test_serving.py"
    less="$less --ignore tests/unit/decide/test_properties.py"
    less="$less --ignore tests/integration/test_roles_alone.py --ignore tests/integration/test_collection.py"
    [ "${DREAM_TEST_SLOW:-}" != 1 ] || less=
    step "unit, module and integration tests on Python 3.13, ansible-core $(
        .cache/venv-3.13/bin/python -c 'import ansible.release as r; print(r.__version__)')"
    # shellcheck disable=SC2086
    .cache/venv-3.13/bin/python -m pytest -q $in_parallel $less \
        tests/integration tests/modules tests/unit
fi

wait
step "tests"
if [ "$fast" = yes ]; then
    set -- tests/integration tests/modules tests/unit "$@"
else
    set -- tests "$@"
fi
# shellcheck disable=SC2086
exec python -m pytest $in_parallel "$@"
