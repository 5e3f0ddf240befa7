"""``dream-runner fetch``: download a file as the models phase does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import (
    FetchRequest,
    FetchResult,
    Network,
    Progress,
)
from dream_runner.module_utils.dream_core.fetch.sources import wheel_address
from dream_runner.module_utils.dream_core.network import network_env
from dream_runner.module_utils.dream_core.system import atomic


def run(
    urls: Sequence[str],
    *,
    sha256: str,
    output: str,
    size_bytes: int = 0,
    connections: int = 0,
    verify: bool = False,
    ca_file: str = "",
    netrc: str = "",
    stamps_dir: str = "",
    environment: Mapping[str, str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> FetchResult:
    """Download the file with this ``sha256`` to ``output`` from the first source that has it.

    ``environment`` (default: the process's) gives proxies, netrc, ``HF_TOKEN`` and
    ``HF_ENDPOINT``. A path in ``urls`` may be relative. Raises a DreamError.
    """
    variables = os.environ if environment is None else environment
    network_env.require(variables)
    request = FetchRequest(
        path=_target(output),
        sha256=sha256,
        sources=tuple(_source(url) for url in urls),
        size_bytes=size_bytes,
        connections=connections,
        verify=verify,
        stamps_dir=stamps_dir,
        network=Network.from_environment(variables, ca_file=ca_file, netrc=netrc),
    )
    return fetch(request, on_progress)


def as_json(result: FetchResult) -> dict[str, Any]:
    """Return the result as the data that ``--json`` prints."""
    return dataclasses.asdict(result)


def as_text(result: FetchResult) -> str:
    """Return the result as one line of text."""
    if not result.bytes_fetched:
        how = (
            "unchanged since it was verified"
            if result.verified_by == "stamp"
            else "sha256 verified"
        )
        return f"{result.path} already exists: {how}"
    megabytes = result.bytes_fetched / 1e6
    reused = f", {result.bytes_reused / 1e6:.1f} MB reused" if result.bytes_reused else ""
    return (
        f"{result.path}: {megabytes:.1f} MB fetched{reused} in {result.seconds:.1f} s "
        f"({result.rate / 1e6:.1f} MB/s), sha256 verified"
    )


def _target(output: str) -> str:
    """Return an absolute path. Keep a slash at the end: it marks a directory."""
    try:
        path = str(Path(output).expanduser().absolute())
    except RuntimeError:
        what = f"cannot find the home directory in {output}"
        raise UsageError(what, code="BAD_PATH", hint="use an absolute path") from None
    except OSError as error:
        raise atomic.translate(error, output) from error
    return path + "/" if output.endswith("/") else path


def _source(text: str) -> str:
    is_address = "://" in text or text.startswith(("file:", wheel_address.PREFIX))
    return text if is_address else str(Path(text).absolute())
