"""``dream-runner report``: write a run as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..machine import output_file
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.system import atomic
from ..report import page, read

#: Written into the run's folder, so it is deleted with the run.
_NAME = "report.html"


@dataclass(frozen=True)
class Written:
    """A report on disk."""

    run_id: str
    path: str
    state: str
    hosts: int


def run(state_dir: str, wanted: str, output: str) -> Written:
    """Write the report of the newest run, or of the one whose ID starts with ``wanted``.

    Raises UsageError RUN_UNKNOWN if there is no such run, DiskError or
    PrivilegeError if the page cannot be written.
    """
    folder = _find(Path(state_dir), wanted)
    path = output_file.require(output) if output else str(folder / _NAME)
    found = read.read(folder)
    atomic.write_bytes(path, page.render(found).encode("utf-8", "replace"), 0o600)
    return Written(found.id, path, page.state_of(found), len(found.hosts))


def runs_of(state_dir: Path) -> list[Path]:
    """Return the folders of all runs of this machine and of its fleets, newest first."""
    return sorted(_folders(state_dir), key=lambda item: item.name, reverse=True)


def _folders(state_dir: Path) -> Iterator[Path]:
    for root in (state_dir / "runs", state_dir / "fleet" / "runs"):
        try:
            yield from (item for item in root.iterdir() if _has_journal(item))
        except OSError:
            continue


def _has_journal(folder: Path) -> bool:
    """Tell whether a run has something to report; fleet status and plan leave only a journal."""
    return any((folder / name).exists() for name in ("report.json", "plan.json", "hosts")) or (
        folder.parent.parent.name != "fleet" and (folder / "events.jsonl").exists()
    )


def _find(state_dir: Path, wanted: str) -> Path:
    folders = runs_of(state_dir)
    if not folders:
        raise UsageError(
            "there is no run to report on",
            code="RUN_UNKNOWN",
            where=str(state_dir / "runs"),
            hint="run 'dream-runner install' first, or run this as the user who installed",
        )
    if not wanted:
        return folders[0]
    found = [item for item in folders if item.name.startswith(wanted)]
    if len(found) != 1:
        what = f"{len(found)} run IDs start with this" if found else "there is no such run"
        newest = ", ".join(item.name for item in folders[:5])
        raise UsageError(
            f"{wanted!r}: {what}", code="RUN_UNKNOWN", hint=f"the newest runs are {newest}"
        )
    return found[0]


def as_json(written: Written) -> dict[str, Any]:
    """Return what ``report --json`` prints."""
    return {
        "run_id": written.run_id,
        "path": written.path,
        "state": written.state,
        "hosts": written.hosts,
    }


def as_text(written: Written) -> str:
    """Return only the path of the report, so that a script can open it."""
    return written.path
