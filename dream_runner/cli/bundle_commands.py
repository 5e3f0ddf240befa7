"""The commands of ``dream-runner bundle``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from . import reporting
from .options import Json, Ui, verb
from .reporting import form

app: typer.Typer = typer.Typer(
    help="""Create, verify and list bundles for machines without a network.

For example:

\b
    dream-runner bundle create DIR --profile native
    dream-runner bundle create DIR --tier 2 --tier 3 --python 3.11 --python 3.13
    dream-runner bundle verify DIR --signers FILE
    dream-runner install --offline --bundle DIR
""",
    add_completion=False,
    rich_markup_mode=None,
)

Directory = Annotated[str, typer.Argument(help="Directory of the bundle.", metavar="DIR")]


@verb(app, "create", "Create a bundle, or complete one.")
def create(
    directory: Directory,
    profile: Annotated[
        str,
        typer.Option("--profile", help="Profile that the bundle is for.", metavar="native|full"),
    ] = "full",
    tier: Annotated[
        list[str] | None,
        typer.Option(
            "--tier", help="Hardware class that the bundle is for; may be repeated.", metavar="ID"
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="ID of a model to include; may be repeated.", metavar="ID"),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature",
            help="Feature to include (native profile: webui); may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            "--python",
            help="Python version of the target, for example 3.11; may be repeated.",
            metavar="X.Y",
        ),
    ] = None,
    arch: Annotated[
        str, typer.Option("--arch", help="CPU architecture of the target.", metavar="amd64|arm64")
    ] = "",
    sign: Annotated[
        str, typer.Option("--sign", help="Private SSH key to sign with.", metavar="FILE")
    ] = "",
    ui: Ui = "auto",
    json: Json = False,
) -> int:
    """Download and verify everything that an offline install needs; run it again to continue."""
    from .. import ui as interface
    from ..commands import bundle as command

    listener = interface.make(ui, json_result=json)
    try:
        found = command.create(
            directory,
            os.environ,
            listener.note,
            interface.fetch_progress(listener, "model"),
            profile=profile,
            tiers=tuple(tier or ()),
            models=tuple(model or ()),
            features=tuple(feature or ()),
            pythons=tuple(python or ()),
            arch=arch,
            sign=sign,
        )
    finally:
        listener.close()
    return _show(command, found, json)


@verb(app, "verify", "Check that a bundle is unchanged.")
def verify(
    directory: Directory,
    signers: Annotated[
        str,
        typer.Option(
            "--signers",
            help="File of trusted signers; one of them must have signed the bundle.",
            metavar="FILE",
        ),
    ] = "",
    json: Json = False,
) -> int:
    """Verify every file of a bundle against its checksum. Exit code 7 if anything differs."""
    from ..commands import bundle as command

    found = command.verify(directory, signers, os.environ)
    sys.stderr.write("all files are unchanged\n")
    return _show(command, found, json)


@verb(app, "list", "List the content of a bundle.")
def list_(directory: Directory, json: Json = False) -> int:
    """List the content of a bundle, without reading its files."""
    from ..commands import bundle as command

    return _show(command, command.look(directory), json)


def _show(command: Any, found: Any, json: bool) -> int:
    reporting.print_result(command.as_json(found), command.as_text(found), form(json))
    return 0
