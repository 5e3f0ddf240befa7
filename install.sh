#!/bin/sh
# dream-runner: from a bare machine to a model that answers.
#
#   ./install.sh --profile embedded --yes          from a checkout
#   sh -s -- --profile embedded --yes < install.sh piped; questions come from the terminal
#
# Makes a private Python environment below ${XDG_DATA_HOME:-~/.local/share}/dream-runner, installs
# the pinned packages of requirements.lock (every one checked against its sha256) and this version
# of dream-runner into it, and becomes `dream-runner install "$@"`. Safe to run again, to
# interrupt and to kill: an environment counts as finished only when its last file is written, and
# the one in use is replaced in one step.
#
# Environment: DREAM_RUNNER_SOURCE (a checkout or a wheel), DREAM_RUNNER_PYTHON (an interpreter),
# PIP_INDEX_URL, PIP_CERT, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, HTTPS_PROXY and NO_PROXY as usual.
#
# Exit codes of this part: 1 unexpected, 2 usage, 3 requirement, 4 privilege, 5 network, 6 disk,
# 7 integrity, 12 another run is active, 130 interrupted. Then those of `dream-runner install`.
set -eu

VERSION=0.1.0
NEED_DISK_MB=400
WAIT_SECONDS=900
NEED_MODULES="ansible ansible_runner psutil requests typer rich jsonschema yaml dream_runner"
# What tells that a Python can make environments; what Debian lacks without python3-venv.
CAN_MAKE_VENV='import ensurepip, venv'

main() {
    read_arguments "$@"
    find_places
    find_source
    find_python
    if [ "$remove" = yes ]; then
        remove_runner
    fi
    keep_off_checkout "$@"
    fingerprint=$(source_fingerprint)
    target=$data/venv-$(printf %.16s "$fingerprint")
    if is_current; then
        remove_leftovers
        become "$@"
    fi
    if [ "$dry_run" = yes ]; then
        show_dry_run "$@"
    fi
    check_disk
    # Before the first byte: who may not install what is missing finds nothing changed.
    provide_venv_module
    take_lock
    # Whoever held the lock may have done the work; a killed run may have done all but the switch.
    is_complete || build_venv
    switch_to_target
    remove_others
    release_lock
    become "$@"
}

say() { printf '%s\n' "$*" >&2; }

# fail CODE WHAT HINT
fail() {
    say "error: $2"
    [ -z "${3:-}" ] || say "hint: $3"
    exit "$1"
}

read_arguments() {
    dry_run=no assume_yes=no remove=no
    for word in "$@"; do
        case $word in
            --dry-run) dry_run=yes ;;
            --yes | -y) assume_yes=yes ;;
            --remove-runner) remove=yes ;;
            --help | -h)
                usage
                exit 0
                ;;
        esac
    done
}

usage() {
    cat <<TEXT
usage: ./install.sh [options of "dream-runner install"]

Makes a private Python environment for dream-runner $VERSION and runs "dream-runner install" with
the same options. The ones you want first:

  --profile full|embedded   full: containers and the model for this machine (default);
                            embedded: native engine and a tiny model, for a first look
  --yes                     do not ask
  --dry-run                 show what would happen and write nothing at all
  --remove-runner           remove the private environment (not an installation:
                            run "dream-runner uninstall" before)

All options: ./install.sh, then: dream-runner install --help
TEXT
}

# Where things go: data (the environments), link (the command of the user).
find_places() {
    if [ -z "${HOME:-}" ]; then
        HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
        export HOME
    fi
    case ${XDG_DATA_HOME:-} in
        /*) data=$XDG_DATA_HOME/dream-runner ;;
        *) data=$HOME/.local/share/dream-runner ;;
    esac
    venv=$data/venv
    link=$HOME/.local/bin/dream-runner
    complete_name=.dream-runner-complete
}

is_checkout() {
    [ -f "$1/requirements.lock" ] && [ -f "$1/dream_runner/version.py" ] && [ -f "$1/install.sh" ]
}

# 'git clone' in a home puts the checkout exactly where an install goes when nobody says otherwise.
keep_off_checkout() {
    if [ "$source_kind" != checkout ] || [ -n "${DREAM_INSTALL_DIR:-}" ]; then return 0; fi
    if [ "$(readlink -f -- "$source")" != "$(readlink -f -- "$HOME/dream-runner")" ]; then return 0; fi
    for word in "$@"; do
        case $word in --install-dir | --install-dir=* | --answers | --answers=*) return 0 ;; esac
    done
    case ${XDG_STATE_HOME:-} in
        /*) state=$XDG_STATE_HOME/dream-runner ;;
        *) state=$HOME/.local/state/dream-runner ;;
    esac
    # What was chosen, or made, before is kept.
    if grep -q '"install_dir"' "$state/settings.json" 2>/dev/null; then return 0; fi
    if [ -e "$state/receipts/directories.json" ]; then return 0; fi
    DREAM_INSTALL_DIR=$HOME/dream-runner-server
    export DREAM_INSTALL_DIR
    say "note: ~/dream-runner is this checkout; installing into ~/dream-runner-server (--install-dir chooses another place)"
}

# source_kind: checkout (source is its directory), wheel (a file) or index (a requirement).
find_source() {
    script=$(readlink -f -- "$0" 2>/dev/null || printf '%s' "$0")
    beside=$(dirname -- "$script")
    if [ -n "${DREAM_RUNNER_SOURCE:-}" ]; then
        source_given
    elif [ -f "$script" ] && is_checkout "$beside"; then
        source_kind=checkout source=$beside
    elif is_checkout "$PWD"; then
        source_kind=checkout source=$PWD
    else
        source_kind=index source=dream-runner==$VERSION
    fi
}

source_given() {
    source=$(readlink -f -- "$DREAM_RUNNER_SOURCE") || source=$DREAM_RUNNER_SOURCE
    case $source in
        *.whl) source_kind=wheel ;;
        *) source_kind=checkout ;;
    esac
    if [ "$source_kind" = wheel ] && [ -f "$source" ]; then return; fi
    if [ "$source_kind" = checkout ] && is_checkout "$source"; then return; fi
    fail 2 "DREAM_RUNNER_SOURCE=$DREAM_RUNNER_SOURCE is neither a dream-runner checkout nor a wheel" \
        "unset it, or name the directory that holds install.sh and requirements.lock"
}

# The first suitable interpreter that can make environments; failing that, the first suitable one.
# The system's own comes first: an environment must not die with somebody's conda or pyenv.
find_python() {
    python='' python_ready=no found=''
    for candidate in ${DREAM_RUNNER_PYTHON:+"$DREAM_RUNNER_PYTHON"} \
        /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        path=$(command -v -- "$candidate" 2>/dev/null) || continue
        # A shim answers for another file: sys.executable is the real one.
        real=$("$path" -B -I -c 'import sys
print(sys.executable if sys.version_info >= (3, 11) else "old %d.%d" % sys.version_info[:2])' \
            2>/dev/null) || continue
        case $real in
            old*)
                found="$found $path is ${real#old }"
                continue
                ;;
            '') continue ;;
        esac
        if "$real" -B -I -c "$CAN_MAKE_VENV" 2>/dev/null; then
            python=$real python_ready=yes
            return
        fi
        [ -n "$python" ] || python=$real
    done
    [ -n "$python" ] || fail 3 "needed: Python 3.11 or newer; found:${found:- none}" \
        "install one (Debian 12 or newer, Ubuntu 24.04 or newer: apt-get install python3), or set DREAM_RUNNER_PYTHON"
}

digest() { sha256sum | cut -d' ' -f1; }

# One word that changes when the packages or our own code change.
source_fingerprint() {
    case $source_kind in
        checkout)
            (
                cd "$source"
                find dream_runner playbooks roles library ansible.cfg pyproject.toml \
                    requirements.lock -type f ! -name '*.pyc' -exec sha256sum {} + |
                    LC_ALL=C sort | digest
            )
            ;;
        wheel) digest < "$source" ;;
        index) printf '%s' "$source" | digest ;;
    esac
}

# A marker alone is not believed: the environment's own Python must still find every package.
is_complete() {
    [ "$(cat "$target/$complete_name" 2>/dev/null)" = "$fingerprint" ] && imports_work "$target"
}

is_current() { [ "$(readlink "$venv" 2>/dev/null)" = "$(basename -- "$target")" ] && is_complete; }

imports_work() {
    # shellcheck disable=SC2086  # a list of words
    "$1/bin/python" -B -I -c 'import sys
from importlib.util import find_spec
sys.exit(not all(find_spec(name) for name in sys.argv[1:]))' $NEED_MODULES 2>/dev/null
}

check_disk() {
    place=$data
    while [ ! -d "$place" ]; do place=$(dirname -- "$place"); done
    free=$(df -Pk -- "$place" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-0}" -ge "$NEED_DISK_MB" ] || fail 6 \
        "$place has $free MB free; the private environment needs $NEED_DISK_MB MB" \
        "free some space, or set XDG_DATA_HOME to a directory on another filesystem"
}

# The lock is this process's descriptor 9, so that it ends with us and with what we started.
take_lock() {
    mkdir -p -- "$data" 2>/dev/null || fail_to_write "$data"
    command -v flock >/dev/null 2>&1 || return 0
    { : >>"$data/.lock"; } 2>/dev/null || fail_to_write "$data"
    exec 9>>"$data/.lock"
    flock -n 9 && return 0
    say "another install.sh is at work on $data; waiting for it"
    flock -w "$WAIT_SECONDS" 9 || fail 12 \
        "another install.sh still holds $data/.lock after $WAIT_SECONDS s" \
        "see who: fuser -v '$data/.lock'"
}

release_lock() { exec 9>&-; }

fail_to_write() {
    case $(LC_ALL=C mkdir -p -- "$1/.probe" 2>&1 || :; rmdir -- "$1/.probe" 2>/dev/null || :) in
        *"ermission denied"*) fail 4 "$1 cannot be written: permission denied" "check its owner, or set XDG_DATA_HOME" ;;
        *"ead-only"*) fail 6 "$1 cannot be written: read-only filesystem" "set XDG_DATA_HOME to a directory that can be written" ;;
        *"o space"*) fail 6 "$1 cannot be written: no space left" "free some space, then run again" ;;
        *) fail 6 "$1 cannot be made" "set XDG_DATA_HOME to a directory that can be written" ;;
    esac
}

# Debian keeps ensurepip in a package of its own.
provide_venv_module() {
    [ "$python_ready" = no ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail 3 \
        "$python cannot make virtual environments (no module ensurepip)" \
        "install your distribution's package for Python's venv module, then run again"
    package=$(venv_package)
    if [ "$(id -u)" = 0 ]; then
        install_package ''
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        install_package 'sudo -n'
    elif command -v sudo >/dev/null 2>&1 && may_ask && agreed; then
        install_package sudo
    else
        fail 4 "$python cannot make virtual environments, and installing $package needs root" \
            "run: sudo apt-get install -y $package     then run install.sh again"
    fi
    "$python" -B -I -c "$CAN_MAKE_VENV" 2>/dev/null || fail 3 \
        "$package is installed, but $python still cannot make virtual environments" \
        "set DREAM_RUNNER_PYTHON to another Python 3.11 or newer"
}

venv_package() {
    case $python in
        /usr/bin/python3.*) printf '%s-venv' "$(basename -- "$python")" ;;
        *) printf python3-venv ;;
    esac
}

# A question needs a person: a terminal, and no --yes.
may_ask() { [ "$assume_yes" = no ] && (: </dev/tty) 2>/dev/null; }

agreed() {
    printf 'Python cannot make virtual environments yet. Install %s with sudo? [Y/n] ' "$package" >/dev/tty
    read -r answer </dev/tty || return 1
    case $answer in [Nn]*) return 1 ;; esac
}

# install_package PREFIX: PREFIX is empty or a sudo command line.
install_package() {
    say "installing $package with apt-get"
    set -f
    # shellcheck disable=SC2086  # $1 is zero, one or two words
    apt_log=$({ $1 apt-get -qq -o DPkg::Lock::Timeout=300 update &&
        $1 env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
            --no-install-recommends install "$package"; } 9>&- 2>&1 </dev/null) && set +f && return
    set +f
    printf '%s\n' "$apt_log" | tail -n 15 >&2
    explain_failure 3 "$apt_log" "apt-get could not install $package"
}

# explain_failure CODE LOG WHAT: one error line with the exit code that fits the tool's own words,
# or CODE where they say nothing known.
explain_failure() {
    case $2 in
        *"Operation cancelled by user"*) exit 130 ;;
        *"DO NOT MATCH THE HASHES"* | *"hashes are required"* | *"Hash Sum mismatch"*)
            fail 7 "$3: a package does not match its pinned digest" "something between here and the package index changes files; do not go on" ;;
        *"No space left on device"* | *"enough free space"*)
            fail 6 "$3: no space left" "free some space, then run again" ;;
        *"ead-only file system"*)
            fail 6 "$3: read-only filesystem" "set XDG_DATA_HOME to a directory that can be written" ;;
        *"CERTIFICATE_VERIFY_FAILED"*)
            fail 5 "$3: the index's certificate is not trusted" "behind a company proxy, set PIP_CERT to its CA file" ;;
        *"No matching distribution"* | *"NewConnectionError"* | *"Max retries"* | *"ReadTimeout"* | \
            *"ConnectionError"* | *"ProtocolError"* | *"Could not resolve"* | *"Failed to fetch"* | \
            *"Temporary failure"* | *"Unable to locate package"*)
            fail 5 "$3: the package index cannot be reached" "check the network and HTTPS_PROXY, then run again" ;;
        *"ermission denied"*)
            fail 4 "$3: permission denied" "check the owner of $data" ;;
        *) fail "$1" "$3" "the tool's own words are above" ;;
    esac
}

# The new environment is made beside the one in use. pip's temporary files live inside it,
# so that whatever a kill leaves is gone with the half-made environment.
build_venv() {
    say "making the private environment (once per version) in $target"
    rm -rf -- "$target"
    started=$(date +%s)
    run_step "making the environment" "$python" -I -m venv "$target"
    mkdir -- "$target/.tmp"
    if [ "$source_kind" = checkout ]; then
        pip_install --require-hashes --only-binary :all: -r "$source/requirements.lock"
        pip_install --no-deps --no-build-isolation --no-index "$source"
    else
        # The wheel carries its own lock.
        pip_install --no-deps --only-binary :all: "$source"
        pip_install --require-hashes --only-binary :all: -r "$(find "$target/lib" -path '*/dream_runner/content/requirements.lock')"
    fi
    rm -rf -- "$target/.tmp"
    imports_work "$target" || fail 1 "the new environment in $target lacks a package" "run install.sh again; report this if it stays"
    sync_directory
    printf '%s\n' "$fingerprint" >"$target/.complete-tmp"
    mv -f -- "$target/.complete-tmp" "$target/$complete_name"
    say "environment ready in $(($(date +%s) - started)) s"
}

# After a power cut the marker must not stand before the files.
sync_directory() { sync -f "$target" 2>/dev/null || sync; }

pip_install() {
    # PIP_USER and the like are meant for other environments than this one.
    run_step "installing packages" env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_REQUIRE_VIRTUALENV \
        -u PIP_REQUIREMENT -u PIP_CONSTRAINT PIP_USER=0 "TMPDIR=$target/.tmp" "$target/bin/python" -I -m pip install \
        --quiet --no-input --disable-pip-version-check --no-warn-script-location "$@"
}

# run_step WHAT COMMAND...: silent when it works, its last words and one error line when not.
run_step() {
    what=$1
    shift
    step_log=$("$@" 2>&1 </dev/null) && return
    printf '%s\n' "$step_log" | tail -n 15 >&2
    rm -rf -- "$target"
    explain_failure 1 "$step_log" "$what failed"
}

# From here on a run uses the new environment.
switch_to_target() {
    if [ -e "$venv" ] && [ ! -L "$venv" ]; then
        fail 3 "$venv is in the way: it is not a link made by install.sh" "move it away, then run again"
    fi
    # Without ln -sfn's gap: rename is atomic.
    ln -sfn -- "$(basename -- "$target")" "$data/.venv-tmp"
    mv -fT -- "$data/.venv-tmp" "$venv"
}

# Older and half-made environments go, unless a process runs from them.
remove_others() {
    rm -f -- "$data/.venv-tmp"
    for old in "$data"/venv-*; do
        [ -d "$old" ] || continue
        if [ "$old" != "$target" ] && ! grep -sqaF -- "$old/" /proc/[0-9]*/cmdline; then
            rm -rf -- "$old"
        fi
    done
}

# What a killed run of another version left; never worth waiting for.
remove_leftovers() {
    [ "$dry_run" = no ] && command -v flock >/dev/null 2>&1 || return 0
    for old in "$data"/venv-* "$data/.venv-tmp"; do
        if [ "$old" = "$target" ] || { [ ! -e "$old" ] && [ ! -L "$old" ]; }; then continue; fi
        exec 9>>"$data/.lock"
        ! flock -n 9 || remove_others
        exec 9>&-
        return 0
    done
}

# The command for later; only where nothing of somebody else's stands.
link_command() {
    case $(readlink "$link" 2>/dev/null) in
        "$venv/bin/dream-runner") return 0 ;;
        */dream-runner/venv/bin/dream-runner) ;;
        *)
            if [ -e "$link" ] || [ -L "$link" ]; then
                say "note: $link exists and is not ours; use $venv/bin/dream-runner"
                return 0
            fi
            ;;
    esac
    if mkdir -p -- "$HOME/.local/bin" 2>/dev/null && ln -sfn -- "$venv/bin/dream-runner" "$link" 2>/dev/null; then
        case ":$PATH:" in
            *":$HOME/.local/bin:"*) ;;
            *) say "note: $HOME/.local/bin is not on PATH; the command is $link" ;;
        esac
    else
        say "note: $link cannot be made; use $venv/bin/dream-runner"
    fi
}

become() {
    # Somebody's PYTHONPATH must not reach into the private environment; our own words are not
    # settings of dream-runner.
    unset PYTHONPATH PYTHONHOME DREAM_RUNNER_SOURCE DREAM_RUNNER_PYTHON
    if [ "$dry_run" = yes ]; then
        export PYTHONDONTWRITEBYTECODE=1
    else
        link_command
    fi
    # Piped: what is left on standard input is this script, not an answer.
    if [ -f "$script" ]; then
        exec "$venv/bin/dream-runner" install "$@"
    fi
    exec "$venv/bin/dream-runner" install "$@" </dev/null
}

# Nothing is written, so only the standard library is at hand.
show_dry_run() {
    if [ "$source_kind" != checkout ]; then
        say "dry run: would install $source into $target; the plan needs a checkout or a finished environment"
        exit 0
    fi
    exec "$python" -B -I "$source/dream_runner/dryrun.py" \
        --venv "$target" --python "$python" --link "$link" --lock "$source/requirements.lock" \
        --package "$([ "$python_ready" = yes ] || venv_package)" -- "$@"
}

remove_runner() {
    [ "$dry_run" = no ] || fail 2 "--remove-runner and --dry-run exclude each other"
    if [ -d "$data" ]; then
        take_lock
        rm -rf -- "$data"/venv-* "$data/.venv-tmp"
        [ ! -L "$venv" ] || rm -f -- "$venv"
        rm -f -- "$data/.lock"
        rmdir -- "$data" 2>/dev/null || :
    fi
    case $(readlink "$link" 2>/dev/null) in
        */dream-runner/venv/bin/dream-runner) rm -f -- "$link" ;;
    esac
    say "removed the private environment; installations are untouched (dream-runner uninstall removes those)"
    exit 0
}

trap 'exit 130' INT
trap 'exit 143' TERM HUP
main "$@"
