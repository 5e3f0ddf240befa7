"""Options that several commands share, and the settings as options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..module_utils.dream_core.errors import UsageError
from ..settings.table import SETTINGS, Setting
from ..settings.values import Given
from . import completion

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")]


Ui = Annotated[
    str,
    typer.Option(
        "--ui",
        help="How to show progress.",
        metavar="plain|rich|json|quiet",
        autocompletion=completion.ways_to_show,
    ),
]


Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show every step and why it runs."),
]


Locked = Annotated[
    bool,
    typer.Option("--locked", help="Refuse container images that are not pinned yet."),
]


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; write nothing.")]


Answers = Annotated[
    str | None, typer.Option("--answers", help="YAML file with settings.", metavar="FILE")
]


FromCapture = Annotated[
    str,
    typer.Option(
        "--from-capture",
        help="Use the facts in this file instead of this machine's.",
        metavar="FILE",
    ),
]


def _parameter(setting: Setting) -> inspect.Parameter:
    """Return the option of a setting; its value stays raw, all are checked together."""
    spellings = (setting.flag, *setting.flags)
    shared: dict[str, Any] = {
        "help": setting.help,
        "rich_help_panel": setting.group,
        "show_default": False,
    }
    annotation: Any
    if setting.form == "boolean":
        annotation = Annotated[
            bool | None, typer.Option(f"{setting.flag}/--no-{setting.flag[2:]}", **shared)
        ]
    else:
        kind: Any = list[str] | None if setting.form == "list" else str | None
        shared |= {"metavar": setting.metavar, "autocompletion": completion.for_setting(setting)}
        annotation = Annotated[kind, typer.Option(*spellings, **shared)]
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _lan_parameter() -> inspect.Parameter:
    return inspect.Parameter(
        "lan",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("--lan", help="Short for --bind-address 0.0.0.0.")],
    )


def with_settings(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command an option for every setting; it receives them as ``flags``."""

    def command(**options: Any) -> int:
        typed = {setting.name: options.pop(setting.name) for setting in SETTINGS}
        return function(flags=_flags(typed, lan=options.pop("lan")), **options)

    own = inspect.signature(function, eval_str=True).parameters
    parameters = [
        *(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own.values()),
        *(_parameter(setting) for setting in SETTINGS),
        _lan_parameter(),
    ]
    parameters = [item for item in parameters if item.name != "flags"]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    return command


def _flags(typed: dict[str, Any], *, lan: bool) -> dict[str, Given]:
    """Return what was typed; an empty list means that an option was not used."""
    spelled = {setting.name: setting.flag for setting in SETTINGS}
    flags = {
        name: Given(raw, spelled[name], "flag")
        for name, raw in typed.items()
        if raw is not None and raw != []
    }
    if lan:
        if "bind_address" in flags:
            raise UsageError(
                "--lan and --bind-address say two different things",
                code="USAGE",
                hint="use one of them",
            )
        flags["bind_address"] = Given("0.0.0.0", "--lan", "flag")  # noqa: S104
    return flags
