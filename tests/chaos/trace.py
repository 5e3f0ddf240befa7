"""Read strace's record of a run and tell which files a power cut could have cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = "write,pwrite64,writev,ftruncate,rename,renameat,renameat2,fsync,fdatasync,syncfs,sync"
_LINE = re.compile(r"^(\d+) +(.*)$")
_DONE = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_PATH_OF_FD = re.compile(r"^\d+<([^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = frozenset(("write", "pwrite64", "writev", "ftruncate"))
_SYNCS = frozenset(("fsync", "fdatasync"))
_ALL = frozenset(("sync", "syncfs"))


def recorder(record: Path, beside: bool = False) -> list[str]:
    """Return what to put before a command to have its calls recorded.

    ``beside``: the tracer does not end before the last descendant, and one of
    them is a service; the command itself is what was started then.
    """
    words = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", "0", "-e", "signal=none"]
    return [*words, *(["-D"] if beside else []), "-e", f"trace={_CALLS}", "-o", str(record)]


def failing(calls: str, error: str, paths: Iterable[Path]) -> list[str]:
    """Return what to put before a command so that these calls on these paths fail."""
    words = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-o", "/dev/null"]
    words += ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
    return [*words, *(word for path in paths for word in ("-P", str(path)))]


@dataclass(frozen=True)
class Call:
    """One successful call; ``began`` and ``ended`` are lines of the record."""

    name: str
    paths: tuple[str, ...]
    began: int
    ended: int


def parse(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the successful calls in the order in which they ended."""
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, text = match.groups()
        began = number
        if text.endswith(" <unfinished ...>"):
            begun[pid] = (number, text.removesuffix(" <unfinished ...>"))
            continue
        resumed = _RESUMED.match(text)
        if resumed and pid in begun:
            began, start = begun.pop(pid)
            text = start + resumed.group(1)
        done = _DONE.match(text)
        if done and not done.group(3).startswith("-"):
            yield Call(done.group(1), _paths(done.group(2)), began, number)


def _paths(arguments: str) -> tuple[str, ...]:
    named = _PATH_OF_FD.match(arguments)
    return (named.group(1),) if named else tuple(_QUOTED.findall(arguments))


def renames(calls: Sequence[Call]) -> list[tuple[str, str]]:
    """Return source and target of every rename."""
    return [tuple(call.paths[-2:]) for call in calls if call.name.startswith("rename")]  # type: ignore[misc]


def unsafe(calls: Sequence[Call], ours: Callable[[str], bool]) -> list[str]:
    """Return what a power cut could cost, for each file that ``ours`` says is renamed by us.

    The content must be synced after its last write and before the rename, the
    directory after it.
    """
    found = []
    for call in calls:
        if not call.name.startswith("rename") or not ours(call.paths[-1]):
            continue
        source, target = call.paths[-2:]
        written = max(
            (
                other.ended
                for other in calls
                if other.name in _WRITES and source in other.paths and other.ended < call.began
            ),
            default=None,
        )
        if written is None:
            found.append(f"{target}: nothing was written to {source}")
        elif not _synced(calls, source, written, call.began):
            found.append(f"{target}: renamed before its content was synced")
        if not _synced(calls, str(Path(target).parent), call.ended, None):
            found.append(f"{target}: its directory was not synced after the rename")
    return found


def _synced(calls: Sequence[Call], path: str, after: int, before: int | None) -> bool:
    return any(
        call.began > after
        and (before is None or call.ended < before)
        and (call.name in _ALL or (call.name in _SYNCS and path in call.paths))
        for call in calls
    )


def written_in_place(calls: Sequence[Call], below: Path) -> set[str]:
    """Return the files under ``below`` that were written and never renamed."""
    sources = {source for source, _ in renames(calls)}
    found = {path for call in calls if call.name in _WRITES for path in call.paths}
    return {path for path in found - sources if path.startswith(f"{below}/")}
