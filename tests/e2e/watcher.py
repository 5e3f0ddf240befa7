"""Look for secrets: in processes and passing files while something runs, in all files afterwards.

Also a script of its own, because it runs inside nodes: ``watcher.py watch FILE`` until what FILE
names as ``stop`` is there, ``watcher.py scan FILE`` once; FILE is JSON. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

SECRET = re.compile(r"^([A-Z0-9_]*(?:SECRET|TOKEN|PASS|KEY|SALT)[A-Z0-9_]*)=(.+)$", re.M)
#: More of a process or of a passing file is not read; of files that stay all is.
_LIMIT_BYTES = 4 * 1024 * 1024
#: Shorter words stand everywhere by chance.
_SHORTEST = 12


def secrets_of(path: str) -> dict[str, str]:
    """Return the secrets that an environment file holds by now."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        found = SECRET.findall(stream.read())
        return {name: word for name, word in found if len(word) >= _SHORTEST}
    return {}


class Looker:
    """What is looked for, where, and what was found: ``NAME in PLACE``."""

    def __init__(
        self,
        words: Mapping[str, str],
        folders: Sequence[str] = (),
        known: Iterable[str] = (),
        env_files: Sequence[str] = (),
        containers: bool = True,
    ) -> None:
        """``containers``: those of a stack run here, and are told their own secrets.

        ``known`` may be in an environment, because whoever started us put them there.

        ``env_files`` are read before each look: what a run makes is looked for from then on.
        """
        self.words = dict(words)
        self.found: set[str] = set()
        self.looks = 0
        self._folders = folders
        self._known = set(known)
        self.env_files = env_files
        self._own = _namespace("self") if containers else ""

    def look(self) -> None:
        """Look once at every process and at every file below the folders."""
        self.looks += 1
        for path in self.env_files:
            # Hosts have secrets of the same name.
            self.words.update({f"{name} of {path}": w for name, w in secrets_of(path).items()})
        for pid in filter(str.isdigit, os.listdir("/proc")):
            self._process(pid)
        for folder in self._folders:
            for path in files_below(folder):
                # What was there before us, kept as private as it was.
                if os.path.basename(os.path.dirname(path)) != "originals":
                    self._match(path, path, ())

    def _process(self, pid: str) -> None:
        self._match(f"/proc/{pid}/cmdline", f"the command line of {_name(pid)}", ())
        # Another process namespace is a container, which is told its own secrets that way. While a
        # runtime starts one, nobody may ask which it is.
        before = _namespace(pid)
        found = self._matches(f"/proc/{pid}/environ", self._known)
        if not self._own or self._own in (before, _namespace(pid)):
            self.found.update(f"{name} in the environment of {_name(pid)}" for name in found)

    def _match(self, path: str, where: str, allowed: Iterable[str]) -> None:
        self.found.update(f"{name} in {where}" for name in self._matches(path, allowed))

    def _matches(self, path: str, allowed: Iterable[str]) -> list[str]:
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            content = stream.read(_LIMIT_BYTES)
            words = self.words.items()
            return [n for n, word in words if word.encode() in content and n not in allowed]
        return []


def _namespace(pid: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def _name(pid: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as stream:
        return stream.read().strip()
    return "a process"


def files_below(root: str, skip: Iterable[str] = ()) -> Iterator[str]:
    """Yield every path that is no directory; what goes meanwhile is no error."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in skip]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (os.path.join(folder, name) for name in names + links)


def scan(
    roots: Iterable[str], words: Mapping[str, str], skip: Iterable[str] = ()
) -> tuple[list[str], int]:
    """Return where a word stands, in names, targets of links and content, and the bytes read."""
    sought = {name: word.encode() for name, word in words.items()}
    longest = max(map(len, sought.values()), default=0)
    found: list[str] = []
    total = 0
    for path in (path for root in roots for path in files_below(root, set(skip))):
        seen: set[str] = set()
        for block in _blocks(path, longest):
            total += len(block)
            seen.update(name for name, word in sought.items() if word in block)
        found += [f"{name} in {path}" for name in sorted(seen)]
    return found, total


def _blocks(path: str, overlap: int) -> Iterator[bytes]:
    """Yield name and content in pieces that overlap, so that no word falls between two."""
    yield os.fsencode(path)
    with contextlib.suppress(OSError):
        if os.path.islink(path):
            yield os.fsencode(os.readlink(path))
        elif os.path.isfile(path):
            with open(path, "rb") as stream:
                end = b""
                while block := stream.read(_LIMIT_BYTES):
                    yield end + block
                    end = block[-overlap:]


def main() -> None:
    """Do what the words of the command line say."""
    with open(sys.argv[2], encoding="utf-8") as stream:
        given = json.load(stream)
    if sys.argv[1] == "scan":
        found, total = scan(given["roots"], given["words"], given["skip"])
        print(json.dumps({"found": found, "bytes": total}))
        return
    looker = Looker(given["words"], given["folders"], given["known"], given["env_files"])
    while not os.path.exists(given["stop"]):
        looker.look()
        time.sleep(0.1)
    said = {"found": sorted(looker.found), "looks": looker.looks, "words": sorted(looker.words)}
    with open(given["report"] + ".new", "w", encoding="utf-8") as stream:
        json.dump(said, stream)
    os.replace(given["report"] + ".new", given["report"])


if __name__ == "__main__":
    main()
