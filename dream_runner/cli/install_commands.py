"""The commands that change this machine, and ``plan``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from ..module_utils.dream_core.errors import UsageError
from ..settings.values import Given
from . import reporting
from .options import Answers, DryRun, Json, Locked, Ui, Verbose, Yes

#: Exit code of ``plan --exit-code`` when something would change.
_PENDING = 20


def install(
    flags: dict[str, Given],
    answers: Answers = None,
    yes: Yes = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an unfinished install without asking.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start over; finished downloads and secrets are kept."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Like --fresh, but also ignore an existing or conflicting install."
        ),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Run every phase, even if nothing needs to change.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the SHA-256 of every model file again.")
    ] = False,
    locked: Locked = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    ui: Ui = "auto",
    json: Json = False,
) -> int:
    """Install, resume, repair, change or upgrade. It is always the same command.

    It checks the machine and does only what is missing. Choices are remembered, so a later
    run needs no options. Every option can also be set in the environment
    (--engine-port is DREAM_ENGINE_PORT) or in an answers file (engine_port: 8080).
    """
    from .. import ui as interface

    _refuse_both(resume, fresh or force)
    listener = interface.make(ui, json_result=json, verbose=verbose)
    if not dry_run and ui != "json":
        # Shown before the rest of the program is loaded, which takes a moment.
        listener.note("Checking this machine ...")
    from ..commands import install as command
    from ..machine.resume import Wish

    options = command.Options(Wish(yes, resume, fresh, force), full, verify, locked)
    if dry_run:
        return _show_plan(command.preview(flags, answers, os.environ, options), json)
    try:
        outcome = command.run(flags, answers, os.environ, options, listener)
    finally:
        listener.close()
    return reporting.finish(command, outcome, ui, json)


def _refuse_both(resume: bool, anew: bool) -> None:
    if resume and anew:
        raise UsageError(
            "--resume cannot be combined with --fresh or --force",
            code="USAGE",
            hint="use one of them",
        )


def _show_plan(found: Any, json: bool) -> int:
    from ..commands import plan as command
    from ..ui import terminal

    plan, notes = found
    for note in notes:
        sys.stderr.write(note + "\n")
    text = terminal.for_reader(f"{command.as_text(plan)}\n\n{command.summary(plan)}")
    reporting.print_result(command.as_json(plan, notes), text, reporting.form(json))
    return 0


def plan(
    flags: dict[str, Given],
    answers: Answers = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 20 if something would change.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Same as for install.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Same as for install.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Same as for install.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Same as for install.")] = False,
    locked: Locked = False,
    json: Json = False,
) -> int:
    """Show what install would do and why; change nothing.

    It accepts the same settings as install, so you can check a change before you make it.
    """
    from ..commands import plan as command
    from ..machine.resume import Wish

    _refuse_both(resume, fresh or force)
    wish = Wish(resume=resume, fresh=fresh, force=force)
    found = command.run(flags, answers, os.environ, wish, full=full, locked=locked)
    _show_plan(found, json)
    return _PENDING if exit_code and found[0].changes_pending else 0


def uninstall(
    yes: Yes = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove models, secrets and your data.")
    ] = False,
    dry_run: DryRun = False,
    ui: Ui = "auto",
    json: Json = False,
) -> int:
    """Remove what dream-runner installed on this machine, and nothing else."""
    from .. import ui as interface
    from ..commands import uninstall as command

    listener = interface.make(ui, json_result=json)
    try:
        outcome = command.run(os.environ, listener, purge=purge, yes=yes, dry_run=dry_run)
    finally:
        listener.close()
    return reporting.finish(command, outcome, ui, json)


def rotate_secrets(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", help="Secret to replace (default: all); may be repeated.", metavar="NAME"
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Replace the secrets with new ones. Secrets that existing data depends on are kept and listed.

    'install' never replaces secrets. Run it afterwards to restart the services.
    """
    from .. import ui as interface
    from ..commands import rotate_secrets as command

    listener = interface.make("auto", json_result=json)
    try:
        outcome = command.run(
            os.environ, listener, only=tuple(only or ()), yes=yes, dry_run=dry_run
        )
    finally:
        listener.close()
    reporting.print_result(command.as_json(outcome), command.as_text(outcome), reporting.form(json))
    return 0
