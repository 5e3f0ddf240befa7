"""Read-only commands for this machine and its runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from ..paths import default_state_dir
from ..settings.table import BY_NAME
from . import completion, reporting
from .options import FromCapture, Json


def status(json: Json = False) -> int:
    """Show whether the model is ready, by asking it one question.

    Exit codes: 0 ready, 11 degraded or interrupted, 8 stopped, 3 nothing installed.
    """
    from ..commands import status as command

    found = command.run(default_state_dir(os.environ))
    reporting.print_result(command.as_json(found), command.as_text(found), reporting.form(json))
    return found.exit_code


def open_(json: Json = False) -> int:
    """Open the chat page in the browser, or print its address if there is no desktop."""
    from ..commands import open as command

    opened = command.run(default_state_dir(os.environ), os.environ)
    reporting.print_result(command.as_json(opened), command.as_text(opened), reporting.form(json))
    return 0


def doctor(
    bundle: Annotated[
        str,
        typer.Option(
            "--bundle", help="Write an archive for support, without secrets.", metavar="FILE"
        ),
    ] = "",
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also test each feature (full profile); takes a few minutes."),
    ] = False,
    json: Json = False,
) -> int:
    """Find problems on this machine; show the evidence and the fix for each.

    Exit codes: 0 no problem, 11 warnings, 3 errors.
    """
    from ..commands import doctor as command
    from ..machine import output_file

    state_dir = default_state_dir(os.environ)
    bundle = output_file.require(bundle) if bundle else ""
    findings = command.run(state_dir, deep=deep)
    if bundle:
        command.write_archive(bundle, state_dir, findings, os.environ)
        sys.stderr.write(f"Wrote {bundle}. Check it before you share it.\n")
    reporting.print_result(
        command.as_json(findings), command.as_text(findings), reporting.form(json)
    )
    return command.exit_code(findings)


def facts(
    capture: Annotated[
        str,
        typer.Option("--capture", help="Write the facts to a file, without names.", metavar="FILE"),
    ] = "",
    from_capture: FromCapture = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Detect the hardware again; ignore saved facts.")
    ] = False,
    json: Json = False,
) -> int:
    """Show the system, memory, processor and GPUs of this machine, and any problems with them."""
    from ..commands import facts as command

    if capture:
        command.write_capture(capture)
        sys.stderr.write(f"written: {capture}\n")
        return 0
    found = _facts(command, from_capture, fresh)
    if json:
        reporting.print_json(command.as_json(found))
    else:
        reporting.print_table(command.as_table(found))
    return 0


def _facts(command: Any, from_capture: str, fresh: bool) -> Any:
    """Return the facts that install would use. The cache belongs to the install directory."""
    from ..settings.answers import read_saved

    state_dir = default_state_dir(os.environ)
    saved, _ = read_saved(state_dir)
    install_dir = saved.values.get("install_dir", BY_NAME["install_dir"].default)
    install_dir = os.path.realpath(os.path.expanduser(str(install_dir)))
    return command.run(state_dir, from_capture=from_capture, install_dir=install_dir, force=fresh)


def explain(
    code: Annotated[
        str, typer.Argument(help="An error code, as in error[CODE].", metavar="[CODE]")
    ] = "",
    tier: Annotated[str, typer.Option("--tier", help="Assume this tier.")] = "auto",
    model: Annotated[str, typer.Option("--model", help="Assume this model.")] = "auto",
    context_tokens: Annotated[
        int, typer.Option("--context-tokens", help="Assume this context, in tokens.")
    ] = 0,
    memory_limit_mb: Annotated[
        int, typer.Option("--memory-limit-mb", help="Assume only this much memory, in MB.")
    ] = 0,
    from_capture: FromCapture = "",
    json: Json = False,
) -> int:
    """Explain an error code, or the choice of tier and model for this machine.

    Without a code, it also lists every model in the catalogue: its size, its memory, and whether
    it fits.
    """
    if code:
        return _explain_code(code, json)
    from .. import catalog
    from ..commands import facts as command

    found = _facts(command, from_capture, False)
    explanation = command.explain(
        found,
        catalog.load(),
        tier=tier,
        model=model,
        context_tokens=context_tokens,
        memory_limit_mb=memory_limit_mb,
    )
    if json:
        reporting.print_json(command.explanation_as_json(explanation))
    else:
        reporting.print_table(command.explanation_as_table(explanation))
    return explanation.error.exit_code if explanation.error else 0


def _explain_code(code: str, json: bool) -> int:
    from ..ui import terminal
    from . import guide

    found = guide.entry(code)
    reporting.print_result(found, terminal.for_reader(guide.as_text(found)), reporting.form(json))
    return 0


def report_(
    run: Annotated[
        str,
        typer.Argument(
            help="ID of the run, or its first characters.",
            metavar="RUN",
            autocompletion=completion.runs,
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File to write (default: beside the log).", metavar="FILE"
        ),
    ] = "",
    json: Json = False,
) -> int:
    """Write an HTML report of a run: timeline, downloads, machine, plan, outcome and failures.

    The page needs no network and no script, so it can be sent or printed. RUN is the ID of a run
    or its first characters. The default is the newest run of this machine or of a fleet.
    """
    from ..commands import report as command

    written = command.run(default_state_dir(os.environ), run, output)
    reporting.print_result(command.as_json(written), command.as_text(written), reporting.form(json))
    return 0
