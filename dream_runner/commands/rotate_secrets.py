"""``dream-runner rotate-secrets``: replace secrets. An install never does this."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from .. import paths
from ..machine import secret_rotation
from ..module_utils.dream_core.errors import Interrupted, UsageError
from ..module_utils.dream_core.files import text_file
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.system import atomic
from ..paths import default_state_dir
from ..run.processes import lock
from ..ui import Listener, terminal


@dataclass(frozen=True)
class RotatedSecrets:
    """The names of the secrets, without their values."""

    env_file: str
    rotated: tuple[str, ...]
    kept: Mapping[str, str]
    done: bool


def run(
    environment: Mapping[str, str],
    listener: Listener,
    *,
    only: Sequence[str],
    yes: bool,
    dry_run: bool,
) -> RotatedSecrets:
    """Replace the secrets in the installed ``.env``. Raises UsageError if there is none.

    The file is replaced atomically. Its backup is deleted, because it has the old values.
    """
    state_dir = default_state_dir(environment)
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(lock.hold(state_dir, "dream-runner rotate-secrets", listener.note))
        env_file = _env_file(state_dir)
        forms = _forms(only)
        install_dir = os.path.dirname(env_file)
        done = secret_rotation.rotate(
            _read(env_file), forms, secret_rotation.bound(install_dir, list(forms))
        )
        if not dry_run and done.rotated:
            _confirm(done.rotated, yes=yes)
            atomic.write_bytes(env_file, done.text.encode("utf-8", "surrogateescape"), 0o600)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(env_file + ".bak")
    return RotatedSecrets(env_file, tuple(done.rotated), done.kept, not dry_run)


def _env_file(state_dir: str) -> str:
    receipts, _ = read_all(state_dir)
    for resource in receipts.get("directories", {}).get("resources", []):
        if resource["kind"] == "file" and resource.get("secret"):
            path = str(resource["path"])
            if os.path.isfile(path) and not os.path.islink(path):
                return path
    raise UsageError(
        "no install with secrets was found for this user",
        code="NOT_INSTALLED",
        where=state_dir,
        hint="run this as the user who installed",
    )


def _forms(only: Sequence[str]) -> dict[str, str]:
    """Return the format of each secret, from the role that creates them."""
    path = paths.content() / "roles" / "directories" / "vars" / "main.yml"
    forms: dict[str, str] = yaml.safe_load(path.read_text())["__directories_secrets"]
    unknown = sorted(set(only) - set(forms))
    if unknown:
        raise UsageError(
            f"there is no secret called {unknown[0]!r}",
            code="USAGE",
            hint=f"use one of {', '.join(forms)}",
        )
    return {name: form for name, form in forms.items() if not only or name in only}


def _read(path: str) -> str:
    try:
        return text_file.read(path, errors="surrogateescape")
    except text_file.Unreadable as error:
        raise UsageError(
            f"{path} cannot be read: {error.reason}",
            code="ENV_NOT_A_FILE",
            where=path,
            hint=error.hint,
        ) from None


def _confirm(names: Sequence[str], *, yes: bool) -> None:
    if yes:
        return
    if not terminal.is_present():
        raise UsageError(
            "cannot ask for confirmation: there is no terminal",
            code="NOT_CONFIRMED",
            hint="add --yes, or use --dry-run to see what would change",
        )
    terminal.say(f"Replaces: {', '.join(names)}. Current sessions and API keys stop working.")
    if terminal.ask("Go ahead?", ("y", "n"), "n") != "y":
        raise Interrupted("cancelled; nothing was changed", code="DECLINED")


def as_json(outcome: RotatedSecrets) -> dict[str, Any]:
    """Return the outcome as the data that ``--json`` prints; it contains no secret."""
    return {
        "outcome": "done" if outcome.done else "planned",
        "exit_code": 0,
        "env_file": outcome.env_file,
        "rotated": list(outcome.rotated),
        "kept": dict(outcome.kept),
    }


def as_text(outcome: RotatedSecrets) -> str:
    """Return which secrets were replaced, and what to do next."""
    word = "Replaced" if outcome.done else "Would replace"
    lines = [f"{word}: {', '.join(outcome.rotated) or 'none'}"]
    lines += [
        f"Kept: {name}, because {place} depends on it" for name, place in outcome.kept.items()
    ]
    if outcome.done and outcome.rotated:
        lines.append("Run 'dream-runner install' now to restart the services that use them.")
    return "\n".join(lines)
