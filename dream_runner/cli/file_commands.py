"""The commands that write one file: a download, a lock file, an answers file."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from . import reporting
from .options import Json, Ui


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
        int, typer.Option("--connections", help="Number of connections (0: measure and choose).")
    ] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify an existing file again.")
    ] = False,
    ca_file: Annotated[
        str,
        typer.Option("--ca-file", help="PEM file with additional CA certificates.", metavar="FILE"),
    ] = "",
    netrc: Annotated[
        str, typer.Option("--netrc", help="File with user names and passwords.", metavar="FILE")
    ] = "",
    ui: Ui = "auto",
    json: Json = False,
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
        bool, typer.Option("--all", help="Look up every image in the catalogue.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check that the pinned digests still exist; write nothing."),
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
            "--output",
            "-o",
            help="Lock file to write (default: yours, in the state directory).",
            metavar="FILE",
        ),
    ] = "",
    json: Json = False,
) -> int:
    """Look up the digests of container images in their registries, and record them.

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


def init(
    file: Annotated[str, typer.Argument(help="File to write.", metavar="FILE")] = "answers.yml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
) -> int:
    """Write an answers file: every setting with its default, explained and commented out."""
    from ..commands import init as command

    path = command.run(file, force=force)
    reporting.print_result(command.as_json(path), command.as_text(path), reporting.form(json))
    return 0
