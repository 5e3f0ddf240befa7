"""Options that several commands share, and the settings as options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from ..module_utils.dream_core.errors import UsageError
from ..settings.table import SETTINGS, Setting
from ..settings.values import Given
from . import completion

Command = Callable[..., int]
_KIND = inspect.Parameter.KEYWORD_ONLY

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass
class Session:
    """Options of the whole program, not of one command."""

    shows_traceback: bool = False


def _set_debug(context: typer.Context, value: bool) -> None:
    session = context.find_object(Session)
    if session is not None:
        session.shows_traceback = value


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=_set_debug,
        is_eager=True,
        help="Show the traceback of an unexpected error.",
    ),
]
Ui = Annotated[
    str,
    typer.Option(
        "--ui",
        help="How to show progress.",
        metavar="plain|rich|json|quiet",
        autocompletion=completion.progress_displays,
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
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask questions.")]
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
    """Return the option of a setting. Its value stays raw: all settings are checked together."""
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
    return inspect.Parameter(setting.name, _KIND, default=None, annotation=annotation)


def _lan_parameter() -> inspect.Parameter:
    return inspect.Parameter(
        "lan",
        _KIND,
        default=False,
        annotation=Annotated[bool, typer.Option("--lan", help="Short for --bind-address 0.0.0.0.")],
    )


def verb(app: typer.Typer, name: str, short_help: str) -> Callable[[Command], Command]:
    """Return a decorator that adds a function to ``app`` as the command ``name``."""

    def register(function: Command) -> Command:
        app.command(name, short_help=short_help)(with_options(function))
        return function

    return register


def with_options(function: Command) -> Command:
    """Return the function as a command with an option for each of its parameters.

    A parameter whose type is a dataclass becomes one option for each field. A parameter called
    ``flags`` becomes one option for each setting. Every command also gets ``--debug``.
    """
    own = inspect.signature(function, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: item.annotation for name, item in own.items() if is_dataclass(item.annotation)
    }
    has_settings = "flags" in own

    def command(**options: Any) -> int:
        if has_settings:
            typed = {setting.name: options.pop(setting.name) for setting in SETTINGS}
            options["flags"] = _flags(typed, lan=options.pop("lan"))
        for name, group in groups.items():
            options[name] = group(**{item.name: options.pop(item.name) for item in fields(group)})
        options.pop("debug")
        return function(**options)

    parameters = [
        part
        for name, item in own.items()
        if name != "flags"
        for part in (_fields_of(groups[name]) if name in groups else [item])
    ]
    parameters.append(inspect.Parameter("debug", _KIND, default=False, annotation=Debug))
    if has_settings:
        parameters += [*(_parameter(setting) for setting in SETTINGS), _lan_parameter()]
    parameters = [item.replace(kind=_KIND) for item in parameters]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    return command


def _fields_of(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters."""
    types = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(item.name, _KIND, default=_default_of(item), annotation=types[item.name])
        for item in fields(group)
    ]


def _default_of(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return inspect.Parameter.empty if item.default is MISSING else item.default


def _flags(typed: dict[str, Any], *, lan: bool) -> dict[str, Given]:
    """Return the options that were given. An empty list means that an option was not used."""
    spelled = {setting.name: setting.flag for setting in SETTINGS}
    flags = {
        name: Given(raw, spelled[name], "flag")
        for name, raw in typed.items()
        if raw is not None and raw != []
    }
    if lan:
        if "bind_address" in flags:
            raise UsageError(
                "--lan and --bind-address cannot be used together",
                code="USAGE",
                hint="use one of them",
            )
        flags["bind_address"] = Given("0.0.0.0", "--lan", "flag")  # noqa: S104
    return flags
