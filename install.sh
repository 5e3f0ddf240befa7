#!/bin/sh
# dream-runner: from a bare machine to a model that answers.
#
#   ./install.sh                           in a checkout, or in an unpacked release
#   sh -s -- --yes < install.sh            piped, in there or with DREAM_RUNNER_SOURCE
#
# Creates a private Python environment below ${XDG_DATA_HOME:-~/.local/share}/dream-runner, installs
# the pinned packages of requirements.lock (each verified by its sha256) and this version of
# dream-runner into it, and runs `dream-runner install "$@"`. Safe to run again, to interrupt and
# to kill: an environment is used only after its last file is written, and the environment
# in use is replaced atomically.
#
# Environment: DREAM_RUNNER_SOURCE (a checkout, a release's tarball or a wheel), DREAM_RUNNER_PYTHON
# (an interpreter), PIP_INDEX_URL, PIP_CERT, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, HTTPS_PROXY, NO_PROXY.
#
# Exit codes of this part: 1 unexpected, 2 usage, 3 requirement, 4 privilege, 5 network, 6 disk,
# 7 integrity, 12 another run is active, 130 interrupted. Then those of `dream-runner install`.
set -eu

VERSION=0.1.0
NEED_DISK_MB=400
WAIT_SECONDS=900
NEED_MODULES="ansible ansible_runner psutil requests typer rich jsonschema yaml dream_runner"
# A Python that can import these can create environments. On Debian, python3-venv provides ensurepip.
CAN_MAKE_VENV='import ensurepip, venv'
# A library of the engine: checked here too, so that root is needed only once.
HAS_LIBRARY='import ctypes; ctypes.CDLL("libgomp.so.1")'
# Runs pip with only those of the caller's settings that select the source of packages.
RUN_PIP='import os, sys
sys.path.insert(0, sys.argv[1])
from dream_runner.module_utils.dream_core import errors
from dream_runner.module_utils.dream_core.network import network_env
try: network_env.require(os.environ); settings = network_env.of_pip(os.environ)
except errors.UsageError as error: sys.exit("%s: %s" % (error.what, error.hint))
os.execve(sys.executable, [sys.executable, "-I", "-m", "pip", *sys.argv[2:]], settings)'

main() {
    read_arguments "$@"
    find_places
    find_source
    find_python
    if [ "$remove" = yes ]; then
        remove_runner
    fi
    fingerprint=$(source_fingerprint)
    target=$data/venv-$(printf %.16s "$fingerprint")
    if is_current; then
        remove_leftovers
        become "$@"
    fi
    if [ "$dry_run" = yes ]; then
        show_dry_run "$@"
    fi
    check_place
    # Checked before anything is written, so that a user without root finds nothing changed.
    provide_venv_module
    take_lock
    # Another run may have created it meanwhile; a killed run may have stopped before the switch.
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
            --help | -h) usage && exit 0 ;;
        esac
    done
}

usage() {
    cat <<TEXT
usage: ./install.sh [options of "dream-runner install"]

Creates a private Python environment for dream-runner $VERSION and runs "dream-runner install" with
the same options. The most useful options:

  --profile auto|native|full   auto: containers where a GPU needs them, else none (default)
  --yes                        do not ask
  --dry-run                    show what would happen; write nothing
  --remove-runner              remove the environment; run "dream-runner uninstall" first

All options: ./install.sh, then: dream-runner install --help
TEXT
}

# Sets data (directory of the environments) and links (paths of the command; the first usable one).
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
    links=$HOME/.local/bin/dream-runner
    # /root/.local/bin is not on root's PATH. With another user's HOME, root gets no link there.
    if [ "$(id -u)" = 0 ] && [ "$HOME" = "$(getent passwd 0 | cut -d: -f6)" ]; then
        links="/usr/local/bin/dream-runner
$links"
    fi
    complete_name=.dream-runner-complete
}

is_checkout() {
    [ -f "$1/requirements.lock" ] && [ -f "$1/dream_runner/version.py" ] && [ -f "$1/install.sh" ]
}

# source_kind: checkout (source is its directory, or that of an unpacked release), tarball or wheel.
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
        fail 2 "dream-runner's files were not found, neither next to install.sh nor in $PWD" \
            "run it in a checkout or an unpacked dream-runner-$VERSION.tar.gz, or set DREAM_RUNNER_SOURCE to one"
    fi
}

source_given() {
    source=$(readlink -f -- "$DREAM_RUNNER_SOURCE") || source=$DREAM_RUNNER_SOURCE
    case $source in *.whl) source_kind=wheel ;; *.tar.gz) source_kind=tarball ;; *) source_kind=checkout ;; esac
    if [ "$source_kind" = checkout ]; then is_checkout "$source"; else [ -f "$source" ]; fi || fail 2 \
        "DREAM_RUNNER_SOURCE=$DREAM_RUNNER_SOURCE is neither a dream-runner checkout nor a tarball or wheel of it" \
        "unset it, or name the directory that holds install.sh and requirements.lock"
    # A release has its digests in the same directory.
    own=$(grep -s "  ${source##*/}\$" "${source%/*}/SHA256SUMS") || return 0
    printf '%s\n' "$own" | (cd "${source%/*}" && sha256sum --check --status) ||
        fail 7 "$source does not match the SHA256SUMS in its directory" "download it again"
}

# Finds the first suitable interpreter that can create environments, else the first suitable one.
# The system's own comes first: the environment must not depend on a user's conda or pyenv.
find_python() {
    python='' python_ready=no found=''
    for candidate in ${DREAM_RUNNER_PYTHON:+"$DREAM_RUNNER_PYTHON"} \
        /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        path=$(command -v -- "$candidate" 2>/dev/null) || continue
        # The path may be a shim; sys.executable is the real interpreter.
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

# A digest that changes with the packages and with our own code.
source_fingerprint() {
    case $source_kind in
        checkout)
            (
                cd "$source"
                find dream_runner playbooks roles library scripts/dream-runner ansible.cfg pyproject.toml \
                    requirements.lock -type f ! -name '*.pyc' -exec sha256sum {} + |
                    LC_ALL=C sort | digest
            )
            ;;
        *) digest < "$source" ;;
    esac
}

# The marker alone is not enough: the environment's Python must still find every package.
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

# Check free space and the mount option noexec before anything is written.
check_place() {
    place=$data
    while [ ! -d "$place" ]; do place=$(dirname -- "$place"); done
    free=$(df -Pk -- "$place" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-0}" -ge "$NEED_DISK_MB" ] || fail 6 \
        "$place has $free MB free; the private environment needs $NEED_DISK_MB MB" \
        "free some space, or set XDG_DATA_HOME to a directory on another filesystem"
    "$python" -B -I -c 'import os, sys
sys.exit(bool(os.statvfs(sys.argv[1]).f_flag & os.ST_NOEXEC))' "$place" || fail 3 \
        "$place is on a filesystem mounted noexec, from which no program can run" \
        "set XDG_DATA_HOME to a directory on another filesystem"
}

# The lock is held by descriptor 9, so that it ends with this process and its children.
take_lock() {
    mkdir -p -- "$data" 2>/dev/null || fail_to_write "$data"
    command -v flock >/dev/null 2>&1 || return 0
    { : >>"$data/.lock"; } 2>/dev/null || fail_to_write "$data"
    exec 9>>"$data/.lock"
    flock -n 9 && return 0
    # 1: another process has the lock; other values: this filesystem does not support locks.
    [ $? = 1 ] || return 0
    say "another install.sh is using $data; waiting for it"
    flock -w "$WAIT_SECONDS" 9 || fail 12 \
        "another install.sh still holds $data/.lock after $WAIT_SECONDS s" \
        "to see the process: fuser -v '$data/.lock'"
}

release_lock() { exec 9>&-; }

fail_to_write() {
    why=$(LC_ALL=C mkdir -p -- "$1/.probe" 2>&1 || :; rmdir -- "$1/.probe" 2>/dev/null || :)
    why=$(printf '%s' "${why##*: }" | tr '[:upper:]' '[:lower:]')
    case $why in *"permission denied"*) code=4 ;; *) code=6 ;; esac
    fail "$code" "$1 cannot be written: $why" "check its owner and its disk, or set XDG_DATA_HOME to another directory"
}

# On Debian, ensurepip is in a separate package.
provide_venv_module() {
    [ "$python_ready" = no ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail 3 \
        "$python cannot create virtual environments (no module ensurepip)" \
        "install your distribution's package for Python's venv module, then run this again"
    package=$(venv_package) by_hand=''
    "$python" -B -I -c "$HAS_LIBRARY" 2>/dev/null || by_hand=' libgomp1'
    by_hand=$package$by_hand linger='' root_command="apt-get install -y $by_hand"
    if needs_linger; then
        linger=$(id -un)
        root_command="$root_command && loginctl enable-linger $linger"
    fi
    if [ "$(id -u)" = 0 ]; then
        install_packages '' "$package"
    # -k: ignore a password that sudo remembers for this terminal: later commands cannot use it.
    elif command -v sudo >/dev/null 2>&1 && sudo -k -n true 2>/dev/null; then
        install_packages 'sudo -n' "$package"
    elif command -v sudo >/dev/null 2>&1 && may_ask && agreed; then
        # Everything at once, so that the password is typed only once.
        install_packages sudo "$by_hand" "$linger"
    else
        needs_root
    fi
    "$python" -B -I -c "$CAN_MAKE_VENV" 2>/dev/null || fail 3 \
        "$package is installed, but $python still cannot create virtual environments" \
        "set DREAM_RUNNER_PYTHON to another Python 3.11 or newer"
}

needs_root() {
    fail 4 "$python cannot create virtual environments, and installing $package needs root" \
        "as root run '$root_command' once, then run install.sh again; the rest needs no root"
}

# Whether systemd would end this user's services at logout, and enabling lingering would help.
needs_linger() {
    [ "$(id -u)" != 0 ] && [ -d /run/systemd/system ] && command -v loginctl >/dev/null 2>&1 || return 1
    [ ! -e "/var/lib/systemd/linger/$(id -un)" ] || return 1
    for sign in "/run/user/$(id -u)/systemd/private" /lib*/security/pam_systemd.so \
        /lib*/*/security/pam_systemd.so /usr/lib*/security/pam_systemd.so /usr/lib*/*/security/pam_systemd.so; do
        [ ! -e "$sign" ] || return 0
    done
    return 1
}

venv_package() {
    case $python in /usr/bin/python3.*) printf '%s-venv' "${python##*/}" ;; *) printf python3-venv ;; esac
}

# Questions need a terminal, and no --yes.
may_ask() { [ "$assume_yes" = no ] && (: </dev/tty) 2>/dev/null; }

agreed() {
    printf "%s\n" "Python cannot create virtual environments yet. Missing: $by_hand." \
        "No sudo? As root run '$root_command' once." >/dev/tty
    [ -z "$linger" ] || printf '%s\n' "sudo also lets the services of $linger run without a login (lingering)." >/dev/tty
    printf 'Install with sudo? [Y/n] ' >/dev/tty
    read -r answer </dev/tty || return 1
    case $answer in [Nn]*) return 1 ;; esac
}

# install_packages PREFIX NAMES [USER]: PREFIX is empty or a sudo command line; enables lingering
# for USER. Package lists that cannot be downloaded are only a warning. If enabling lingering
# fails, dream-runner tries it again and reports the reason.
install_packages() {
    say "installing $2 with apt-get"
    prompt="[sudo] password for $(id -un) (needed to install $2${3:+; let the services of $3 run without a login}): "
    # shellcheck disable=SC2016,SC2086  # $1 and $2 are lists of words; $@ is the inner shell's
    apt_log=$({ SUDO_PROMPT=$prompt $1 env LC_ALL=C DEBIAN_FRONTEND=noninteractive "LINGER=${3:-}" sh -c '
        lock="-o DPkg::Lock::Timeout=300"
        [ -z "$LINGER" ] || loginctl enable-linger "$LINGER" || echo "W: no lingering for $LINGER"
        apt-get -qq $lock update || echo "E: not all lists of packages were fetched"
        apt-get -qq -y $lock --no-install-recommends install "$@"' apt $2; } 9>&- 2>&1 </dev/null) || {
        printf '%s\n' "$apt_log" | tail -n 15 >&2
        explain_failure 3 "$apt_log" "apt-get could not install $2"
    }
    case $apt_log in *"not all lists"*) say "warning: $(printf '%s\n' "$apt_log" | grep -m 1 '^[EW]: ')" ;; esac
}

# explain_failure CODE LOG WHAT: one error line with the exit code that fits the tool's message,
# or CODE if the message is unknown.
explain_failure() {
    case $2 in
        *"Operation cancelled by user"*) interrupted ;;
        *"in the sudoers"* | *"not allowed to execute"* | *"sudo: "*"password"* | *"sudo: "*"must have a tty"*)
            needs_root ;;
        *"DO NOT MATCH THE HASHES"* | *"hashes are required"* | *"Hash Sum mismatch"*)
            fail 7 "$3: a package does not match its pinned digest" "the package index or a proxy sends changed files; do not continue" ;;
        *"No space left on device"* | *"enough free space"*)
            fail 6 "$3: no space left" "free some disk space, then run this again" ;;
        *"ead-only file system"*) fail 6 "$3: read-only filesystem" "set XDG_DATA_HOME to another directory" ;;
        *"CERTIFICATE_VERIFY_FAILED"*)
            fail 5 "$3: the index's certificate is not trusted" "behind a company proxy, set PIP_CERT to its CA file" ;;
        *"No matching distribution"* | *"NewConnectionError"* | *"Max retries"* | *"ReadTimeout"* | \
            *"ConnectionError"* | *"ProtocolError"* | *"Could not resolve"* | *"Failed to fetch"* | \
            *"Temporary failure"* | *"Unable to locate package"*)
            fail 5 "$3: the package index cannot be reached" "check the network and HTTPS_PROXY, then run this again" ;;
        *"is not signed"* | *"NO_PUBKEY"* | *"does not have a Release file"*)
            fail 3 "$3: a package source cannot be trusted" "correct or remove it in /etc/apt/sources.list.d" ;;
        *"ermission denied"*) fail 4 "$3: permission denied" "check the owner of $data" ;;
        *"pip's configuration"*) fail 2 "$3: $(printf '%s\n' "$2" | tail -n 1)" "correct that file" ;;
        *) fail "$1" "$3" "see the messages of the tool above" ;;
    esac
}

# The new environment is created next to the one in use. pip's temporary files are inside it, so
# that leftovers of a killed run are removed with the unfinished environment.
build_venv() {
    say "creating the private environment (once per version) in $target"
    rm -rf -- "$target"
    started=$(date +%s)
    run_step "creating the environment" "$python" -I -m venv "$target"
    mkdir -- "$target/.tmp"
    if [ "$source_kind" = tarball ]; then
        mkdir -- "$target/.tmp/source"
        run_step "unpacking $source" tar -xzf "$source" --strip-components 1 --no-same-owner -C "$target/.tmp/source"
        source=$target/.tmp/source
    fi
    if [ "$source_kind" != wheel ]; then
        pip_install --require-hashes --only-binary :all: -r "$source/requirements.lock"
        pip_install --no-deps --no-build-isolation --no-index "$source"
    else
        # The wheel contains its own lock.
        pip_install --no-deps --only-binary :all: "$source"
        pip_install --require-hashes --only-binary :all: -r "$(find "$target/lib" -path '*/dream_runner/content/requirements.lock')"
    fi
    rm -rf -- "$target/.tmp"
    imports_work "$target" || fail 1 "the new environment in $target lacks a package" "run install.sh again; if it fails again, report a bug"
    # After a power cut, there must be no marker without the files.
    sync -f "$target" 2>/dev/null || sync
    printf '%s\n' "$fingerprint" >"$target/.complete-tmp"
    mv -f -- "$target/.complete-tmp" "$target/$complete_name"
    say "environment ready in $(($(date +%s) - started)) s"
}

pip_install() {
    run_step "installing packages" env "TMPDIR=$target/.tmp" "$target/bin/python" -B -I -c "$RUN_PIP" "$source" \
        install --quiet --no-input --disable-pip-version-check --no-warn-script-location "$@"
}

# run_step WHAT COMMAND...: silent on success; on failure, its last lines and one error line.
run_step() {
    what=$1
    shift
    step_log=$(LC_ALL=C.UTF-8 "$@" 2>&1 </dev/null) && return
    printf '%s\n' "$step_log" | tail -n 15 >&2
    rm -rf -- "$target"
    explain_failure 1 "$step_log" "$what failed"
}

# From now on, the new environment is used.
switch_to_target() {
    if [ -e "$venv" ] && [ ! -L "$venv" ]; then
        fail 3 "$venv exists and was not created by install.sh" "move it away, then run this again"
    fi
    # Rename is atomic; ln -sfn alone is not.
    ln -sfn -- "$(basename -- "$target")" "$data/.venv-tmp"
    mv -fT -- "$data/.venv-tmp" "$venv"
}

# Remove old and unfinished environments, unless a process runs from them.
remove_others() {
    rm -f -- "$data/.venv-tmp"
    for old in "$data"/venv-*; do
        [ -d "$old" ] || continue
        if [ "$old" != "$target" ] && ! grep -sqaF -- "$old/" /proc/[0-9]*/cmdline; then
            rm -rf -- "$old"
        fi
    done
}

# Remove leftovers of a killed run of another version, but do not wait for the lock.
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

is_ours() { case $(readlink "$1" 2>/dev/null) in */dream-runner/venv/bin/dream-runner) ;; *) return 1 ;; esac; }

# Link the command, at the first path that is free or ours.
link_command() {
    while read -r link; do
        [ "$(readlink "$link" 2>/dev/null)" != "$venv/bin/dream-runner" ] || return 0
        if { [ -e "$link" ] || [ -L "$link" ]; } && ! is_ours "$link"; then
            say "note: $link exists and was not created by install.sh"
        elif mkdir -p -- "${link%/*}" 2>/dev/null && ln -sfn -- "$venv/bin/dream-runner" "$link" 2>/dev/null; then
            return 0
        fi
    done <<PLACES
$links
PLACES
    say "note: no link was created; run $venv/bin/dream-runner"
}

become() {
    # These variables are for install.sh only.
    unset DREAM_RUNNER_SOURCE DREAM_RUNNER_PYTHON
    [ "$dry_run" = yes ] || link_command
    # In a pipe, the rest of standard input is this script, not an answer.
    [ -f "$script" ] || exec </dev/null
    exec "$venv/bin/dream-runner" install "$@"
}

# Nothing is written, so only the standard library is available.
show_dry_run() {
    [ "$source_kind" = checkout ] || fail 2 "--dry-run without a finished environment needs a checkout" \
        "unpack $source and run the install.sh in it"
    exec "$python" -B -I "$source/dream_runner/install_preview.py" \
        --venv "$target" --python "$python" --link "${links%%
*}" --lock "$source/requirements.lock" \
        --package "$([ "$python_ready" = yes ] || venv_package)" -- "$@"
}

remove_runner() {
    [ "$dry_run" = no ] || fail 2 "--remove-runner and --dry-run cannot be used together"
    if [ -d "$data" ]; then
        take_lock
        rm -rf -- "$data"/venv-* "$data/.venv-tmp"
        [ ! -L "$venv" ] || rm -f -- "$venv"
        rm -f -- "$data/.lock"
        rmdir -- "$data" 2>/dev/null || :
    fi
    printf '%s\n' "$links" | while read -r link; do ! is_ours "$link" || rm -f -- "$link"; done
    say "removed the private environment; installations are kept ('dream-runner uninstall' removes them)"
    exit 0
}

interrupted() {
    say "stopped: run the same command again to continue"
    exit 130
}

trap interrupted INT
trap 'exit 143' TERM HUP
# Other users must not be able to write the files that are created here.
umask g-w,o-w
main "$@"
