"""``dream-runner rotate-secrets``: new secrets, by intention and never by a re-run."""

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
    """The names of the secrets, never a value."""

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
    """Give the secrets of the installed ``.env`` new values; raise UsageError where none are.

    The file is replaced in one step. Its backup goes, because it holds the old values.
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
            _agree(done.rotated, yes=yes)
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
        "nothing is installed whose secrets could be changed",
        code="NOT_INSTALLED",
        where=state_dir,
        hint="run it as the user who installed",
    )


def _forms(only: Sequence[str]) -> dict[str, str]:
    """Return the form of every secret that we make, from the role that makes them."""
    path = paths.content() / "roles" / "directories" / "vars" / "main.yml"
    forms: dict[str, str] = yaml.safe_load(path.read_text())["__directories_secrets"]
    unknown = sorted(set(only) - set(forms))
    if unknown:
        raise UsageError(
            f"there is no secret {unknown[0]!r} of ours",
            code="USAGE",
            hint=f"one of {', '.join(forms)}",
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


def _agree(names: Sequence[str], *, yes: bool) -> None:
    if yes:
        return
    if not terminal.is_present():
        raise UsageError(
            "nobody is here to confirm new secrets",
            code="NOT_CONFIRMED",
            hint="add --yes, or see first what would change with --dry-run",
        )
    terminal.say(f"New values for: {', '.join(names)}. Sessions and keys given out end.")
    if terminal.ask("Go ahead?", ("y", "n"), "n") != "y":
        raise Interrupted("not started; nothing was changed", code="DECLINED")


def as_json(outcome: RotatedSecrets) -> dict[str, Any]:
    """Return the outcome as the data that ``--json`` prints; it holds no value."""
    return {
        "outcome": "done" if outcome.done else "planned",
        "exit_code": 0,
        "env_file": outcome.env_file,
        "rotated": list(outcome.rotated),
        "kept": dict(outcome.kept),
    }


def as_text(outcome: RotatedSecrets) -> str:
    """Return which secrets are new, and what to do next."""
    word = "New" if outcome.done else "Would be new"
    lines = [f"{word}: {', '.join(outcome.rotated) or 'none'}"]
    lines += [
        f"Kept: {name}, because {place} was made with it" for name, place in outcome.kept.items()
    ]
    if outcome.done and outcome.rotated:
        lines.append("Run 'dream-runner install' now: it restarts what uses them.")
    return "\n".join(lines)
