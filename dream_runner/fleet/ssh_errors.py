"""Explain why a host cannot be reached or used.

Rules match the messages of Ansible and ssh; the first match is used.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping

from ..module_utils.dream_core import printable
from ..module_utils.dream_core.errors import DreamError, NetworkError, PrivilegeError
from .session import Fleet

_PROBE_SECONDS = 30
_LONGEST_LINE = 2000
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,40}")
_KEY = re.compile(r"Server host key: (\S+) (SHA256:\S+)")

_RULES: tuple[tuple[str, type[DreamError], str, str], ...] = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        NetworkError,
        "HOST_KEY_CHANGED",
        "if the machine was reinstalled, remove the old key with 'ssh-keygen -R {address}'; "
        "otherwise this may be a man-in-the-middle attack",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        NetworkError,
        "HOST_KEY_UNKNOWN",
        "compare the fingerprint with that of the machine, then use --accept-new-host-keys "
        "once to save the key",
    ),
    (
        r"Invalid/incorrect password|Permission denied \(|Too many authentication failures",
        PrivilegeError,
        "LOGIN_REFUSED",
        "check ansible_user and the SSH key, or use --ask-pass to enter a password",
    ),
    (
        r"[Ii]ncorrect \S+ password|Missing \S+ password|Sorry, try again|password is required"
        r"|privilege escalation|become success|not in the sudoers|may not run sudo",
        PrivilegeError,
        "SUDO_REFUSED",
        "use --ask-become-pass with the correct password, or check 'sudo -l' on the host",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        NetworkError,
        "HOST_UNKNOWN",
        "check the name, or set ansible_host",
    ),
    (
        # ssh's message when the jump host cannot reach the host.
        r"timed out during banner exchange|(closed by|to) UNKNOWN port 65535(?!: invalid)",
        NetworkError,
        "HOST_UNREACHABLE",
        "check that the host is up and that the jump host can reach it",
    ),
    (
        r"kex_exchange_identification|banner exchange|Bad packet length|invalid format"
        r"|[Dd]eserialization failed|No start of json|Failed to create temporary directory",
        NetworkError,
        "HOST_GARBAGE",
        "the server is not sshd, or a login script prints output; check with 'ssh HOST true'",
    ),
)


#: Ansible's only message about an unknown host key when a password is used.
_SILENT = "Using a SSH password instead of a key is not possible"


def explained(error: DreamError, fleet: Fleet, name: str) -> DreamError:
    """Return ``error`` translated for a host of a fleet, and safe to print on a terminal."""
    host = fleet.hosts[name]
    error.what, error.where, error.hint = (
        "\n".join(printable.line(text, _LONGEST_LINE) for text in said.splitlines())
        for said in (error.what, error.where, error.hint)
    )
    error.code = error.code if _CODE.fullmatch(error.code) else "TASK_FAILED"
    is_ours = error.code not in ("HOST_UNREACHABLE", "NOT_PERMITTED", "TASK_FAILED")
    if _SILENT in error.what:
        error.what = _probed(fleet, name) or error.what
    for pattern, cls, code, hint in () if is_ours else _RULES:
        if re.search(pattern, error.what):
            what = _brief(error.what)
            if code == "HOST_KEY_UNKNOWN":
                what = f"the host key is unknown: {_fingerprint(fleet, name)}"
            hint = hint.format(address=host.address)
            return cls(what, code=code, where=error.where, hint=hint)
    if error.code == "HOST_UNREACHABLE":
        error.what = _brief(error.what)
    return error


def _brief(what: str) -> str:
    """Return the last line of ssh, without Ansible's prefix."""
    lines = [line.strip() for line in what.splitlines() if line.strip()]
    text = lines[-1] if lines else what
    return text.removeprefix("Failed to connect to the host via ssh: ")


def _fingerprint(fleet: Fleet, name: str) -> str:
    """Return type and fingerprint of the host's key."""
    # With jump hosts, the last key is that of the host itself.
    found = _KEY.findall(_probed(fleet, name))
    return f"{found[-1][0]} {found[-1][1]}" if found else "it could not be read"


def _probed(fleet: Fleet, name: str) -> str:
    """Return ssh's verbose output. Unlike ssh-keyscan, this works through jump hosts."""
    try:
        done = subprocess.run(
            ssh_command(fleet, name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            env=_plain(fleet.caller),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "\n".join(
        printable.line(text, _LONGEST_LINE)
        for text in done.stderr.decode(errors="replace").splitlines()
    )


def ssh_command(fleet: Fleet, name: str) -> list[str]:
    """Return an ssh command that prints the host's key and does not log in."""
    said = fleet.hosts[name].connection
    arguments = shlex.split(fleet.wires.config_args())
    arguments += shlex.split(said.get("ansible_ssh_args", ""))
    arguments += shlex.split(said.get("ansible_ssh_common_args", ""))
    if "ansible_port" in said:
        arguments += ["-p", said["ansible_port"]]
    if "ansible_user" in said:
        arguments += ["-l", said["ansible_user"]]
    fixed = ["-v", "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"]
    fixed += ["-o", "ControlPath=none", "-o", "ConnectTimeout=15"]
    return ["ssh", *fixed, *arguments, "--", fleet.hosts[name].address, "true"]


def _plain(caller: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in caller.items() if not name.startswith("ANSIBLE_")}
