"""Roll back a change that failed: restore and start the last working configuration.

The files come from ``last_good.py``, the containers from their images by digest, the native engine
from its former packages. The steps follow from the host, so a rollback can be killed at any time.
The next install finds the differences and tries the change again.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Callable, List, Sequence

from ..containers import compose_project
from ..errors import DreamError, EngineError
from ..health import engine_key
from ..health.ask_model import complete, wait_until_ready
from ..health.readiness import wait_for_services
from ..native import supervisord, supervisord_program
from ..profiles import current_name
from ..records import bounds, last_good, originals, receipt, receipt_form
from ..resources import watched
from ..system import process, systemd
from ..system.atomic import translate
from ..types.compose import Project
from ..types.receipt import Proof
from ..types.resource import Resource
from ..types.service import ServiceSummary

Say = Callable[[str], None]


def start_and_ask(proof: Proof, install_dir: str, command: str, say: Say) -> None:
    """Start the engine of ``proof`` and ask its model. Raises DreamError, OSError and others."""
    _start(proof, install_dir, command, say)
    _ask(proof, command)


def roll_back(
    failed: DreamError,
    state_dir: str,
    install_dir: str,
    profile: str,
    command: str,
    say: Say,
    *,
    prove: Callable[[Proof, str, str, Say], None] = start_and_ask,
) -> DreamError:
    """Restore the last working configuration, ``prove`` it; return the error to report.

    Returns ``failed`` itself if there is nothing to roll back to: nothing has changed since the
    last answer, there was none, or the other profile gave it.
    """
    kept = last_good.read(state_dir)
    if kept is None or kept["install_dir"] != install_dir or not _is_of(kept["proof"], profile):
        return failed
    receipts, _ = receipt.read_all(state_dir)
    changed = last_good.differing(kept)
    try:
        trees = last_good.put_trees_back(receipts)
        if not changed and not trees:
            return failed
        for item in changed:
            say("%s: restored" % item["path"])
        last_good.put_back(changed, state_dir)
        prove(kept["proof"], install_dir, command, say)
    except (DreamError, originals.Lost, OSError, subprocess.SubprocessError) as error:
        return _stuck(failed, error)
    return _rolled_back(failed, str(kept.get("version") or ""))


def _is_of(proof: Proof, profile: str) -> bool:
    """Return whether a proof is complete, so that it can be repeated, and from this profile."""
    is_whole = not receipt_form.WHOLE_PROOF(proof)
    return is_whole and current_name(proof["profile"]) == profile


def _rolled_back(failed: DreamError, version: str) -> DreamError:
    """Return the failure in its own class, so that the exit code shows the cause."""
    return type(failed)(
        "the change failed and was rolled back; the previous configuration (version %s) works "
        "again. %s: %s" % (version, failed.code, failed.what),
        code="ROLLED_BACK",
        where=failed.where,
        hint="no data is lost; correct the cause and install again. %s" % failed.hint,
    )


def _stuck(failed: DreamError, error: Exception) -> DreamError:
    why = error.what if isinstance(error, DreamError) else str(error)
    return EngineError(
        "the change failed (%s: %s), and the rollback failed too: %s"
        % (failed.code, failed.what, why),
        code="ROLLBACK_FAILED",
        where=failed.where,
        hint="correct the last problem, then install again; 'dream-runner doctor' shows details",
    )


# --- start ----------------------------------------------------------------------


def _start(proof: Proof, install_dir: str, command: str, say: Say) -> None:
    if proof["project"]:
        _start_containers(proof, install_dir, command, say)
    elif proof["watch"]["kind"] == "unit":
        _refuse_foreign(proof["watch"], install_dir)
        systemd.restart(str(proof["watch"]["name"]), str(proof["watch"]["scope"]))
    else:
        _start_program(proof["watch"], install_dir)


def _refuse_foreign(unit: Resource, install_dir: str) -> None:
    why = bounds.Bounds(install_dir, os.path.expanduser("~")).refusal(unit)
    if why:
        raise EngineError(
            "the unit %s could not be restarted: %s" % (unit.get("name"), why),
            code="ENGINE_NOT_STARTED",
            where=str(unit.get("name")),
            hint="run 'dream-runner install' again",
        )


def _start_containers(proof: Proof, install_dir: str, command: str, say: Say) -> None:
    path = os.path.join(install_dir, compose_project.FILE)
    try:
        with open(path, encoding="utf-8") as stream:
            project: Project = json.load(stream)
    except OSError as error:
        raise translate(error, path) from error
    stack = compose_project.Stack(
        command, install_dir, os.path.join(install_dir, ".env"), project, {}
    )
    stack.settle(_core(proof["services"]), write=True, say=say)


def _core(services: Sequence[ServiceSummary]) -> List[str]:
    return [str(item["id"]) for item in services if item["core"]]


def _start_program(watch: Resource, install_dir: str) -> None:
    found = supervisord_program.read_program(install_dir, watch["program"])
    if found is None:
        raise EngineError(
            "the kept engine configuration cannot be read",
            code="ENGINE_NOT_STARTED",
            where=watch["config"],
            hint="run 'dream-runner install' again",
        )
    supervisord.ensure(found, found.argv[0], process.small_environment(), restart=True)


# --- ask ------------------------------------------------------------------------


def _ask(proof: Proof, command: str) -> None:
    """Ask the model as the health phase does: only an answer proves that the rollback worked."""
    wait_for_services(command, proof["project"], proof["services"])
    watch = proof["watch"]
    wait_until_ready(
        proof["url"] + proof["health_path"],
        proof["deadline_seconds"],
        lambda: watched.failed_for_good(watch) if watch else "",
    )
    key = engine_key.api_key(str(proof.get("key_file") or ""))
    complete(proof["url"] + proof["api_path"], proof["model"], proof["deadline_seconds"], key=key)
