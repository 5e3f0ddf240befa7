"""An uninstall that is killed at any instant is finished by the next one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .here import Here, here, kill

pytestmark = pytest.mark.timeout(1800)

KILLS = int(os.environ.get("DREAM_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("DREAM_CHAOS_SEED", "1"))


def left(place: Here) -> list[str]:
    """Return what is below HOME, less the base directories and the output of the run.

    Below TMPDIR a killed Ansible leaves the unpacked module that it was in; that
    is Ansible's, lies where a boot clears, and nothing of ours is in it.
    """
    found = {str(path.relative_to(place.home)) for path in place.home.rglob("*")}
    return sorted(name for name in found if name.split("/")[0] != "tmp" and name != "state")


@pytest.mark.slow
def test_killed_at_random_instants_the_next_one_finishes(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    with here(tmp_path / "home") as place:
        done = place.install()
        assert done.code == 0, str(done)
        kept = tmp_path / "kept"
        subprocess.run(["cp", "-a", str(place.home), str(kept)], check=True)
        began = time.monotonic()
        first = place.run("uninstall", "--purge", "--yes")
        seconds = time.monotonic() - began
        assert first.code == 0, str(first)
        assert left(place) == []
        died, tries = 0, 0
        while died < KILLS:
            tries += 1
            assert tries <= 4 * KILLS, f"{died} of {tries} kills came before the end"
            place.end()
            shutil.rmtree(place.home)
            subprocess.run(["cp", "-a", str(kept), str(place.home)], check=True)
            instant = dice.uniform(0, seconds)
            run = place.start("uninstall", "--purge", "--yes")
            time.sleep(instant)
            if run.poll() is None:
                died += 1
            else:
                # The first one found cold caches: from now on draw from the time it takes.
                seconds = instant
            kill(run)
            told = f"seed {SEED}, try {tries} after {instant:.2f} s of {seconds:.2f} s"
            last = place.run("uninstall", "--purge", "--yes", "--json")
            # Nothing is installed any more where the kill came when all was done.
            assert last.code == 0 or "NOT_INSTALLED" in last.out, f"{told}: {last}"
            assert left(place) == [], told
        print(f"{tries} tries, {died} killed while it ran")
