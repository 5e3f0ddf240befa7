"""``dream-runner report``: a run as one HTML page that stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..machine import output_file
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.system import atomic
from ..report import page, read

#: Beside the journal it is made from, so that it goes when the run is forgotten.
_NAME = "report.html"


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    run_id: str
    path: str
    state: str
    hosts: int


def run(state_dir: str, wanted: str, output: str) -> Written:
    """Write the report of a run: the newest, or the one whose id begins so.

    Raises UsageError RUN_UNKNOWN for a run that is not there, and DiskError or
    PrivilegeError where the page cannot be written.
    """
    folder = _find(Path(state_dir), wanted)
    path = output_file.require(output) if output else str(folder / _NAME)
    found = read.read(folder)
    atomic.write_bytes(path, page.render(found).encode("utf-8", "replace"), 0o600)
    return Written(found.id, path, page.state_of(found), len(found.hosts))


def runs_of(state_dir: Path) -> list[Path]:
    """Return the folders of all runs of this machine and of its fleets, the newest first."""
    return sorted(_folders(state_dir), key=lambda item: item.name, reverse=True)


def _folders(state_dir: Path) -> Iterator[Path]:
    for root in (state_dir / "runs", state_dir / "fleet" / "runs"):
        try:
            yield from (item for item in root.iterdir() if _has_journal(item))
        except OSError:
            continue


def _has_journal(folder: Path) -> bool:
    """Tell whether a run left anything; a look at a fleet leaves only its own journal."""
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
            hint="'dream-runner install' makes one; run this as the user who ran it",
        )
    if not wanted:
        return folders[0]
    found = [item for item in folders if item.name.startswith(wanted)]
    if len(found) != 1:
        what = f"{len(found)} runs begin so" if found else "there is no such run"
        newest = ", ".join(item.name for item in folders[:5])
        raise UsageError(f"{wanted!r}: {what}", code="RUN_UNKNOWN", hint=f"the newest are {newest}")
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
    """Return where the report is, and nothing else: a script opens it."""
    return written.path
