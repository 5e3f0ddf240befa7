"""No secret is in any byte that an install or an uninstall writes or shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .here import Watch, here
from .watcher import SECRET, scan

pytestmark = pytest.mark.timeout(900)

#: Put there by the user: into the environment, a netrc, and an environment file of an earlier life.
PLANTED = {name: f"planted-{name}-0123456789abcdef" for name in ("hub", "netrc", "own")}


def hits(root: Path, words: dict[str, str], *but: Path) -> list[str]:
    """Return where below ``root`` a word stands, in names, links and content."""
    found, _ = scan([str(root)], words)
    kept = {str(path) for path in but}
    return [line for line in found if line.partition(" in ")[2] not in kept]


def test_no_byte_holds_a_secret(tmp_path: Path) -> None:
    with here(tmp_path / "home", environment={"HF_TOKEN": PLANTED["hub"]}) as place:
        (place.home / ".netrc").write_text(
            f"machine x.invalid login me password {PLANTED['netrc']}"
        )
        (place.home / ".netrc").chmod(0o600)
        place.dream.mkdir()
        (place.dream / ".env").write_text(f"MY_OWN_SECRET={PLANTED['own']}\n")
        transient = [place.state, place.home / "tmp"]
        with Watch(PLANTED, transient, known={"hub"}).learn_from(place.dream / ".env") as watch:
            done = place.install("--api-key", "yes")
        assert done.code == 0, str(done)
        env = (place.dream / ".env").read_text()
        made = dict(SECRET.findall(env))
        # Of the native engine; the services of the other profile have none here.
        assert {"ENGINE_API_KEY"} <= set(made) <= {"ENGINE_API_KEY", "MY_OWN_SECRET"}
        words = {**PLANTED, **made}
        kept = [place.dream / ".env", place.dream / ".env.bak", place.home / ".netrc"]
        # What was there before, for the uninstall to give back: as private as it was.
        kept += (place.state / "originals").iterdir()
        assert {path.stat().st_mode & 0o077 for path in kept} == {0}
        assert hits(place.home, words, *kept) == []
        assert [name for name, word in words.items() if word in done.text] == []
        # Again, now that the secrets are known: repair, doctor, archive, uninstall.
        (place.dream / "config" / "engine" / "engine.json").unlink()
        with Watch(words, [place.state / "runs", place.home / "tmp"], known={"hub"}) as later:
            again = place.install()
            assert again.code == 0, str(again)
            archive = place.home / "support.tar.gz"
            doctor = place.run("doctor", "--bundle", str(archive))
            # Of this machine itself it may say anything.
            assert doctor.code in (0, 3, 11), str(doctor)
            assert archive.is_file()
            assert hits(place.home, words, *kept) == []
            gone = place.run("uninstall", "--purge", "--yes", "--json")
        assert gone.code == 0, str(gone)
        assert (watch.found, later.found) == (set(), set())
        assert watch.looks > 10
        # The file that was there before is as it was; of everything else nothing is left.
        assert (place.dream / ".env").read_text() == f"MY_OWN_SECRET={PLANTED['own']}\n"
        made.pop("MY_OWN_SECRET")
        assert hits(place.home, made) == []
        assert [path.name for path in place.dream.iterdir()] == [".env"]
        assert json.loads(gone.out)["left"] == []
