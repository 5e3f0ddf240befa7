"""Run the command that was typed and turn its errors into an exit code.

Each command imports its modules only when it runs, so ``--help`` and ``--version`` stay fast.
"""

from __future__ import annotations

import sys

if "--dry-run" in sys.argv:
    # A dry run writes nothing, not even our own compiled modules.
    sys.dont_write_bytecode = True

import inspect
import os
import traceback
from typing import Annotated

import typer

from ..module_utils.dream_core import redact
from ..module_utils.dream_core.errors import DreamError, Interrupted, UsageError
from ..module_utils.dream_core.system import streams
from ..module_utils.dream_core.system.umask import tighten_umask
from ..run.processes import ctrl_c
from ..version import __version__
from . import (
    bundle_commands,
    completion,
    examples,
    file_commands,
    fleet_commands,
    install_commands,
    options,
    reporting,
    status_commands,
)

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
    session = options.Session()
    try:
        with ctrl_c.raising():
            return _dispatch(words, session)
    except DreamError as error:
        reporting.print_error(error, form)
        return error.exit_code
    except (ctrl_c.Stopped, KeyboardInterrupt):
        reporting.print_error(_interrupted(), form)
        return Interrupted.exit_code
    except Exception as error:
        reporting.print_error(unexpected_error(error, session.shows_traceback), form)
        return DreamError.exit_code


def _dispatch(words: list[str], session: options.Session) -> int:
    completion.patch_zsh()
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=completed(words), prog_name="dream-runner", standalone_mode=False, obj=session
        )
    except Exception as error:
        usage = _usage_error(error)
        if usage is None:
            raise
        raise usage from error
    return code if isinstance(code, int) else 0


#: An option that may be given without a value; it then means yes.
_YES_ALONE = "--api-key"


def completed(words: list[str]) -> list[str]:
    """Return the arguments with a bare ``--api-key`` written as ``--api-key=yes``."""
    following = [*words[1:], ""]
    answers = ("yes", "no", "true", "false", "on", "off", "1", "0")
    return [
        f"{word}=yes" if word == _YES_ALONE and after.lower() not in answers else word
        for word, after in zip(words, following, strict=True)
    ]


def _usage_error(error: Exception) -> UsageError | None:
    """Return a usage error of the command line as UsageError, or None for any other exception.

    Recognize it by its attributes: typer has moved these classes between versions.
    """
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "dream-runner")
    return UsageError(error.format_message(), code="USAGE", hint=f"see '{path} --help'")


def _interrupted() -> Interrupted:
    return Interrupted("stopped", code="INTERRUPTED", hint="run the same command again to continue")


def unexpected_error(error: Exception, shows_traceback: bool) -> DreamError:
    """Return the error for a bug; it repeats no value that may be secret."""
    if shows_traceback:
        sys.stderr.write(redact.clean("".join(traceback.format_exception(error))))
    return DreamError(
        f"unexpected {type(error).__name__}{_place_of(error)}",
        code="UNEXPECTED",
        hint="this is a bug; please report it with the output of --debug",
    )


#: Exceptions whose text was written for a reader. Texts of other exceptions can contain values.
_WRITTEN_BY_HAND = (RuntimeError, AssertionError)


def _place_of(error: Exception) -> str:
    """Return the part of a foreign exception that is safe to show: errno text and source line.

    Its own text can contain a value from a file, an address or a header.
    """
    if type(error) in _WRITTEN_BY_HAND:
        return f": {next(iter(str(error).splitlines()), '')}"
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "dream_runner" in frame.filename]
    return (
        f"{reason} at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno}" if ours else reason
    )


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


#: In the order of ``--help``.
_VERBS: tuple[tuple[str, options.Command, str], ...] = (
    ("install", install_commands.install, "Install, resume, repair or change."),
    ("plan", install_commands.plan, "Show what install would do and why."),
    ("status", status_commands.status, "Show whether the model is ready."),
    ("open", status_commands.open_, "Open the chat page in the browser."),
    ("doctor", status_commands.doctor, "Find problems and how to fix them."),
    ("uninstall", install_commands.uninstall, "Remove what dream-runner installed."),
    ("rotate-secrets", install_commands.rotate_secrets, "Replace the secrets with new ones."),
    ("fetch", file_commands.fetch, "Fetch one file by its SHA-256, resumable."),
    ("lock", file_commands.lock, "Look up the digests of container images."),
    ("facts", status_commands.facts, "Show the hardware and the system."),
    ("explain", status_commands.explain, "Explain an error, or the choice of model."),
    ("report", status_commands.report_, "Write an HTML report of a run."),
    ("init", file_commands.init, "Write a commented answers file."),
)
for _name, _function, _short_help in _VERBS:
    options.verb(app, _name, _short_help)(_function)
app.add_typer(bundle_commands.app, name="bundle", short_help="Prepare an offline install.")
app.add_typer(fleet_commands.app, name="fleet", short_help="Install on many machines, over SSH.")


def _explain_by_example(commands: typer.Typer, before: str = "") -> None:
    """Append the examples of each command to its help text."""
    for info in commands.registered_commands:
        description = inspect.cleandoc(info.help or (info.callback and info.callback.__doc__) or "")
        info.help = f"{description}\n\n{examples.text(f'{before}{info.name}')}"
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _explain_by_example(group.typer_instance, f"{before}{group.name} ")


_explain_by_example(app)
