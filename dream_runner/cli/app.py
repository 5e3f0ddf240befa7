"""Words in, exit code out.

Every verb imports what it needs when it runs, so that ``--help`` and
``--version`` stay fast.
"""

from __future__ import annotations

import sys

if "--dry-run" in sys.argv:
    # Nothing at all is written, not even compiled modules of our own.
    sys.dont_write_bytecode = True

import inspect
import os
import traceback
from typing import Annotated, Any

import typer

from ..module_utils.dream_core import redact
from ..module_utils.dream_core.errors import DreamError, Interrupted, UsageError
from ..module_utils.dream_core.system import streams
from ..module_utils.dream_core.system.process import tighten_umask
from ..paths import default_state_dir
from ..run.processes import ctrl_c
from ..settings.table import BY_NAME
from ..settings.values import Given
from ..version import __version__
from . import completion, examples, reporting
from .options import (
    Answers,
    Debug,
    DryRun,
    FromCapture,
    Json,
    Locked,
    Ui,
    Verbose,
    Yes,
    with_settings,
)

#: Exit code of ``plan --exit-code`` when something would change.
_PENDING = 20

_EXAMPLES = """\
Turn this machine into a private AI server.

For example:

\b
    dream-runner plan                          show what install would do, and why
    dream-runner install                       install; run it again to resume, repair or change
    dream-runner install --model small         install a 98 MB model, which answers within a minute
    dream-runner status                        ask the model whether it is ready
    dream-runner open                          open the chat page in your browser
    dream-runner doctor                        find problems and how to fix them

Every command takes --help, and --json for programs. Exit codes: 0 done, 2 wrong settings,
3 requirement, 4 privilege, 5 network, 6 disk, 7 integrity, 8 engine, 11 degraded, 12 another run
is active, 130 interrupted: run again to continue.
"""

_INSTALL = """\
Install, resume, repair, change or upgrade: always the same command.

It checks the machine itself and does only what is missing. Choices are remembered, so a later
run needs no options. Every option can also be set in the environment
(--engine-port is DREAM_ENGINE_PORT) or in an answers file (engine_port: 8080).
"""

app = typer.Typer(
    help=_EXAMPLES,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    streams.keep()
    redact.remember_environment(os.environ)
    words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if words == ["--version"]:
        reporting.print_text(f"dream-runner {__version__}")
        return 0
    tighten_umask()
    form = reporting.form_of(words)
    try:
        with ctrl_c.raising():
            return _dispatch(words)
    except DreamError as error:
        reporting.print_error(error, form)
        return error.exit_code
    except (ctrl_c.Stopped, KeyboardInterrupt):
        reporting.print_error(_interrupted(), form)
        return Interrupted.exit_code
    except Exception as error:
        reporting.print_error(_unexpected(error, words), form)
        return DreamError.exit_code


def _dispatch(words: list[str]) -> int:
    completion.mend_zsh()
    command = typer.main.get_command(app)
    try:
        code = command.main(args=_completed(words), prog_name="dream-runner", standalone_mode=False)
    except Exception as error:
        usage = _usage_error(error)
        if usage is None:
            raise
        raise usage from error
    return code if isinstance(code, int) else 0


#: An option that means yes where no value follows.
_YES_ALONE = "--api-key"


def _completed(words: list[str]) -> list[str]:
    """Return the words with ``--api-key`` alone spelled out; a value that follows is kept."""
    following = [*words[1:], ""]
    answers = ("yes", "no", "true", "false", "on", "off", "1", "0")
    return [
        f"{word}=yes" if word == _YES_ALONE and after.lower() not in answers else word
        for word, after in zip(words, following, strict=True)
    ]


def _usage_error(error: Exception) -> UsageError | None:
    """Return the command line's own complaint as ours, or None for any other exception.

    Told by its attributes: typer has moved these classes between its versions.
    """
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "dream-runner")
    return UsageError(error.format_message(), code="USAGE", hint=f"see '{path} --help'")


def _interrupted() -> Interrupted:
    return Interrupted(
        "stopped", code="INTERRUPTED", hint="the same command again continues where it can"
    )


def _unexpected(error: Exception, words: list[str]) -> DreamError:
    if "--debug" in words:
        sys.stderr.write(redact.clean("".join(traceback.format_exception(error))))
    return DreamError(
        f"unexpected {type(error).__name__}{_place_of(error)}",
        code="UNEXPECTED",
        hint="this is a bug; please report it with what --debug prints",
    )


#: Exceptions whose text somebody wrote for a reader; that of the others is made from values.
_WRITTEN_BY_HAND = (RuntimeError, AssertionError)


def _place_of(error: Exception) -> str:
    """Return what may be told of a foreign exception: the system's reason, and our line.

    Its own text can hold a value of a file, an address or a header.
    """
    if type(error) in _WRITTEN_BY_HAND:
        return f": {next(iter(str(error).splitlines()), '')}"
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "dream_runner" in frame.filename]
    return (
        f"{reason} at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno}" if ours else reason
    )


# --- the settings as options ---------------------------------------------------


# --- the verbs -------------------------------------------------------------------


def _show_version(value: bool) -> None:
    if value:
        reporting.print_text(f"dream-runner {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


@app.command("install", help=_INSTALL, short_help="Install, resume, repair or change.")
@with_settings
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
        typer.Option("--force", help="As --fresh, and ignore an existing or conflicting install."),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Run every phase, even if nothing needs to change.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every model file again and check its SHA-256.")
    ] = False,
    locked: Locked = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    ui: Ui = "auto",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Install, resume, repair, change or upgrade."""
    from .. import ui as interface

    _refuse_both(resume, fresh or force)
    listener = interface.make(ui, json_result=json, verbose=verbose)
    if not dry_run and ui != "json":
        # A sign of life, before even the rest of the program is loaded.
        listener.note("Looking at this machine ...")
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
            "--resume continues and --fresh or --force begins anew", code="USAGE", hint="use one"
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


@app.command("plan", short_help="Show what install would do and why.")
@with_settings
def plan(
    flags: dict[str, Given],
    answers: Answers = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 20 when something would change.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="As with install.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="As with install.")] = False,
    force: Annotated[bool, typer.Option("--force", help="As with install.")] = False,
    full: Annotated[bool, typer.Option("--full", help="As with install.")] = False,
    locked: Locked = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show what install would do and why; change nothing.

    Takes the same settings as install, so that a change can be looked at first.
    """
    from ..commands import plan as command
    from ..machine.resume import Wish

    _refuse_both(resume, fresh or force)
    wish = Wish(resume=resume, fresh=fresh, force=force)
    found = command.run(flags, answers, os.environ, wish, full=full, locked=locked)
    _show_plan(found, json)
    return _PENDING if exit_code and found[0].changes_pending else 0


@app.command("status", short_help="Show whether the model is ready.")
def status(json: Json = False, debug: Debug = False) -> int:
    """Show whether the model is ready; ask it one real question.

    Exit codes: 0 ready, 11 degraded or interrupted, 8 stopped, 3 nothing installed.
    """
    from ..commands import status as command

    found = command.run(default_state_dir(os.environ))
    reporting.print_result(command.as_json(found), command.as_text(found), reporting.form(json))
    return found.exit_code


@app.command("open", short_help="Open the chat page in the browser.")
def open_(json: Json = False, debug: Debug = False) -> int:
    """Open the chat page in the browser; print its address where there is no desktop."""
    from ..commands import open as command

    opened = command.run(default_state_dir(os.environ), os.environ)
    reporting.print_result(command.as_json(opened), command.as_text(opened), reporting.form(json))
    return 0


@app.command("doctor", short_help="Find problems and how to fix them.")
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
    debug: Debug = False,
) -> int:
    """Find problems on this machine; show the evidence and the remedy of each.

    Exit codes: 0 no problem, 11 warnings, 3 errors.
    """
    from ..commands import doctor as command
    from ..machine import output_file

    state_dir = default_state_dir(os.environ)
    bundle = output_file.require(bundle) if bundle else ""
    findings = command.run(state_dir, deep=deep)
    if bundle:
        command.write_archive(bundle, state_dir, findings, os.environ)
        sys.stderr.write(f"written: {bundle}; check it before you pass it on\n")
    reporting.print_result(
        command.as_json(findings), command.as_text(findings), reporting.form(json)
    )
    return command.exit_code(findings)


@app.command("uninstall", short_help="Remove what dream-runner installed.")
def uninstall(
    yes: Yes = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove models, secrets and your data.")
    ] = False,
    dry_run: DryRun = False,
    ui: Ui = "auto",
    json: Json = False,
    debug: Debug = False,
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


@app.command("rotate-secrets", short_help="Replace the secrets with new ones.")
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
    debug: Debug = False,
) -> int:
    """Replace the secrets with new ones; keep and name those that existing data depends on.

    Running install again never does this. Run install afterwards: it restarts the services.
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


@app.command("fetch", short_help="Fetch one file by its SHA-256, resumable.")
def fetch(
    urls: Annotated[
        list[str],
        typer.Argument(help="Addresses of the file, in order of preference.", metavar="URL..."),
    ],
    sha256: Annotated[
        str, typer.Option("--sha256", help="Expected SHA-256 of the file.", metavar="HEX")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="File to write.", metavar="FILE")],
    size: Annotated[int, typer.Option("--size", help="Size of the file in bytes, if known.")] = 0,
    connections: Annotated[
        int, typer.Option("--connections", help="Number of connections (0: chosen by measuring).")
    ] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read an existing file again and check it.")
    ] = False,
    ca_file: Annotated[
        str, typer.Option("--ca-file", help="Additional certificates to trust.", metavar="FILE")
    ] = "",
    netrc: Annotated[
        str, typer.Option("--netrc", help="File with user names and passwords.", metavar="FILE")
    ] = "",
    ui: Ui = "auto",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fetch one file in parallel segments, and verify it by its SHA-256.

    Interrupt it at any time; the same command continues where it stopped.
    """
    from .. import ui as interface
    from ..commands import fetch as command

    listener = interface.make(ui, json_result=json)
    try:
        result = command.run(
            urls,
            sha256=sha256,
            output=output,
            size_bytes=size,
            connections=connections,
            verify=verify,
            ca_file=ca_file,
            netrc=netrc,
            on_progress=interface.fetch_progress(listener, os.path.basename(output)),
        )
    finally:
        listener.close()
    reporting.print_result(
        command.as_json(result), command.as_text(result), reporting.form(json, ui)
    )
    return 0


@app.command("lock", short_help="Look up the digests of container images.")
def lock(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images or services (default: those of the features that are on). "
            "With --models: model ids or OWNER/REPOSITORY/FILE.",
            metavar="IMAGE",
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Look up every image of the catalogue.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Ask whether the pinned digests still exist; write nothing."),
    ] = False,
    models: Annotated[
        bool,
        typer.Option(
            "--models",
            help="Show commit, digest and size of model files on a hub; write nothing.",
        ),
    ] = False,
    bundle: Annotated[
        str,
        typer.Option(
            "--bundle", help="Read the images from DIR/images/*.tar instead.", metavar="DIR"
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Lock file to write (default: your own).", metavar="FILE"
        ),
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Ask the registries for the digests of container images, and record them.

    An install runs exactly the recorded images. Your recorded digests take precedence over those
    of the release.
    """
    from ..commands import lock as command

    if models:
        files = command.models(tuple(images or ()))
        reporting.print_result(
            command.models_as_json(files), command.models_as_text(files), reporting.form(json)
        )
        return files.exit_code
    asked = command.Asked(tuple(images or ()), all_)
    if check:
        found = command.check(asked)
        reporting.print_result(
            command.checked_as_json(found), command.checked_as_text(found), reporting.form(json)
        )
        return 0
    locked = command.run(asked, bundle, output)
    reporting.print_result(command.as_json(locked), command.as_text(locked), reporting.form(json))
    return 0


@app.command("facts", short_help="Show the hardware and the system.")
def facts(
    capture: Annotated[
        str,
        typer.Option("--capture", help="Write the facts to a file, without names.", metavar="FILE"),
    ] = "",
    from_capture: FromCapture = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Gather the facts again; ignore saved ones.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
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
    """Return the facts as install would use them: the cache is bound to the install directory."""
    from ..settings.answers import read_saved

    state_dir = default_state_dir(os.environ)
    saved, _ = read_saved(state_dir)
    install_dir = saved.values.get("install_dir", BY_NAME["install_dir"].default)
    install_dir = os.path.realpath(os.path.expanduser(str(install_dir)))
    return command.run(state_dir, from_capture=from_capture, install_dir=install_dir, force=fresh)


@app.command("explain", short_help="Explain an error, or the choice of model.")
def explain(
    code: Annotated[
        str, typer.Argument(help="An error code, as in error[CODE].", metavar="[CODE]")
    ] = "",
    tier: Annotated[str, typer.Option("--tier", help="Assume that this tier was chosen.")] = "auto",
    model: Annotated[
        str, typer.Option("--model", help="Assume that this model was chosen.")
    ] = "auto",
    context_tokens: Annotated[
        int, typer.Option("--context-tokens", help="Assume this context, in tokens.")
    ] = 0,
    memory_limit_mb: Annotated[
        int, typer.Option("--memory-limit-mb", help="Assume only this much memory, in MB.")
    ] = 0,
    from_capture: FromCapture = "",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Explain an error code, or the choice of tier and model for this machine.

    Without a code it also lists every model of the catalogue: its size, its needs, and whether
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


@app.command("report", short_help="Write an HTML report of a run.")
def report_(
    run: Annotated[
        str,
        typer.Argument(
            help="Id of the run, or its beginning.", metavar="RUN", autocompletion=completion.runs
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File to write (default: beside the log).", metavar="FILE"
        ),
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write a run as one HTML page: timeline, downloads, machine, plan, outcome and failures.

    The page needs no network and no script, so it can be sent or printed. RUN is the id of a run
    or its beginning; without it, the page shows the newest run of this machine or of a fleet.
    """
    from ..commands import report as command

    written = command.run(default_state_dir(os.environ), run, output)
    reporting.print_result(command.as_json(written), command.as_text(written), reporting.form(json))
    return 0


@app.command("init", short_help="Write a commented answers file.")
def init(
    file: Annotated[str, typer.Argument(help="File to write.", metavar="FILE")] = "answers.yml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write an answers file: every setting with its default, explained and commented out."""
    from ..commands import init as command

    path = command.run(file, force=force)
    reporting.print_result(command.as_json(path), command.as_text(path), reporting.form(json))
    return 0


# At the end: its verbs take the options that are made above.
from . import bundle_commands, fleet_commands  # noqa: E402

app.add_typer(bundle_commands.app, name="bundle", short_help="Prepare an offline install.")
app.add_typer(fleet_commands.app, name="fleet", short_help="Install on many machines, over SSH.")


def _explain_by_example(commands: typer.Typer, before: str = "") -> None:
    """Put the examples of each command below what it says of itself."""
    for info in commands.registered_commands:
        said = inspect.cleandoc(info.help or (info.callback and info.callback.__doc__) or "")
        info.help = f"{said}\n\n{examples.text(f'{before}{info.name}')}"
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _explain_by_example(group.typer_instance, f"{before}{group.name} ")


_explain_by_example(app)
