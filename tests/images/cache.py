"""Built things by the digest of their recipe, in one directory that outlives the session."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def directory() -> Path:
    """Return where built archives are kept; it may be removed at any time."""
    chosen = os.environ.get("DREAM_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "dream-runner-tests"


def digest(*recipe: object) -> str:
    """Return the part of a name that changes when ``recipe`` does."""
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def cached(name: str, make: Callable[[Path], None], keep: Path | None = None) -> Path:
    """Return the directory ``name``, filled by ``make`` the first time.

    It appears under its name only when it is whole, so a killed build leaves no half of it.
    """
    place = keep or directory()
    done = place / name
    if done.exists():
        return done
    place.mkdir(parents=True, exist_ok=True)
    # Two workers of one session want the same images at the same time.
    with (place / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return done
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place) as work:
            made = Path(work) / "made"
            made.mkdir()
            make(made)
            shutil.move(made, done)
    return done
