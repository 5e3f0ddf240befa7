"""A newer version over an older one's install: it ends right, or as if it had never begun."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .here import Here, another_version, here

pytestmark = pytest.mark.timeout(900)

SECRET = re.compile(r"^([A-Z0-9_]*(?:SECRET|TOKEN|PASS|KEY|SALT)[A-Z0-9_]*)=(.+)$", re.M)


def age(place: Here) -> None:
    """Make of a new install what version 0.0.9 with receipts of schema 1 would have left."""
    for path in (place.state / "receipts").glob("*.json"):
        document = json.loads(path.read_text())
        document.pop("inputs")
        for resource in document["resources"]:
            resource.pop("original", None)
        document.update(schema=1, version="0.0.9")
        path.write_text(json.dumps(document))
    settings = json.loads((place.state / "settings.json").read_text())
    settings.pop("sources", None)
    settings.update(version="0.0.9", of_another_time="kept")
    (place.state / "settings.json").write_text(json.dumps(settings))
    (place.dream / ".dream-runner.json").unlink()
    env = (place.dream / ".env").read_text()
    # The first layout had no schema and no key of the engine, but those of services that did not
    # run; the user added one.
    env = re.sub(r"^(DREAM_ENV_SCHEMA|ENGINE_API_KEY)=.*\n", "", env, flags=re.M)
    (place.dream / ".env").write_text(env + "LITELLM_KEY=sk-of-then\nMY_OWN=stays\n")


def receipts(place: Here) -> dict[str, Any]:
    folder = place.state / "receipts"
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_an_install_of_an_older_version_ends_right_and_keeps_choices(tmp_path: Path) -> None:
    with here(tmp_path / "home") as place:
        done = place.install("--context-tokens", "512", "--api-key", "yes")
        assert done.code == 0, str(done)
        before = dict(SECRET.findall((place.dream / ".env").read_text()))
        age(place)
        plan = place.run("plan", "--json").json()
        assert {step["why"] for step in plan["steps"]} == {"made by another version"}
        done = place.install()
        assert done.code == 0, str(done)
        assert {item["schema"] for item in receipts(place).values()} == {2}
        assert all(item["version"] != "0.0.9" for item in receipts(place).values())
        # Choices, secrets and what a person added are as they were; what is new was made.
        settings = json.loads((place.state / "settings.json").read_text())
        assert settings["values"]["context_tokens"] == 512
        assert settings["values"]["engine_port"] == place.port
        assert settings["of_another_time"] == "kept"
        env = (place.dream / ".env").read_text()
        now = dict(SECRET.findall(env))
        assert now["ENGINE_API_KEY"] not in ("", before["ENGINE_API_KEY"])
        assert now["LITELLM_KEY"] == "sk-of-then"
        assert "MY_OWN=stays" in env
        # What was ours is still ours: the next run rests, a purge leaves nothing.
        again = place.install()
        assert again.json()["tasks"]["changed"] == 0
        assert set(place.phases(again).values()) == {"unchanged"}
        gone = place.run("uninstall", "--purge", "--yes", "--json")
        assert gone.code == 0, str(gone)
        assert not place.dream.exists()
        assert not place.state.exists()


#: An engine of a newer version that starts, says that it is well, and answers nothing.
MUTE = """
import http.server, json, sys
class Mute(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.send_response(500); self.end_headers()
port = int(json.load(open(sys.argv[1]))["port"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Mute).serve_forever()
"""
#: One that does not even start.
BROKEN = "raise SystemExit('no')\n"


def made(place: Here) -> dict[str, tuple[int, bytes]]:
    """Return what an install put below its directory, less what changes while it runs."""
    return {
        str(path.relative_to(place.dream)): (path.stat().st_mode, path.read_bytes())
        for path in place.dream.rglob("*")
        if path.is_file()
        and path.relative_to(place.dream).parts[0] not in ("logs", "run", "supervisor")
        and "__pycache__" not in path.parts
    }


def test_an_upgrade_that_fails_is_turned_back(tmp_path: Path) -> None:
    """The new version's engine starts and answers nothing."""
    newer = another_version(tmp_path / "newer")
    engine = newer / "roles" / "services" / "files" / "dream_engine.py"
    engine.write_text(MUTE)
    with here(tmp_path / "home") as place:
        assert place.install().code == 0
        before = made(place)
        place.checkout = newer
        check_turned_back(place, before, "ENGINE_NO_ANSWER")


def check_turned_back(place: Here, before: Any, cause: str, *flags: str) -> None:
    done = place.install(*flags)
    error = done.json()["error"]
    assert (done.code, error["code"]) == (8, "ROLLED_BACK"), str(done)
    assert cause in error["what"]
    # Packages, program, configuration, model and secrets are what they were.
    assert made(place) == before
    assert chat(place) == "smoke"


@pytest.mark.slow
def test_a_change_is_turned_back_until_it_works(tmp_path: Path) -> None:
    """Engine and packages fail in ``health``, then in ``services``; then a model does."""
    newer = another_version(tmp_path / "newer")
    files = newer / "roles" / "services" / "files"
    engine = (files / "dream_engine.py").read_text()
    with here(tmp_path / "home") as place:
        assert place.install("--context-tokens", "512").code == 0
        before, older = made(place), place.checkout
        place.checkout = newer
        with (files / "engine-requirements.txt").open("a") as pins:
            pins.write("# of the newer version\n")
        for text, cause in ((MUTE, "ENGINE_NO_ANSWER"), (BROKEN, "ENGINE_NOT_STARTED")):
            (files / "dream_engine.py").write_text(text)
            check_turned_back(place, before, cause)
        # The older version finds its own install; only the one that failed has more to do.
        place.checkout = older
        done = place.install()
        assert done.code == 0, str(done)
        assert made(place) == before
        place.checkout = newer
        (files / "dream_engine.py").write_text(engine + "# mended\n")
        done = place.install()
        assert done.code == 0, str(done)
        assert (place.dream / "engine" / "dream_engine.py").read_text().endswith("# mended\n")
        assert not (place.dream / "engine" / "venv.former").exists()
        assert place.install().json()["tasks"]["changed"] == 0
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUF" + bytes(1000))
        digest = hashlib.sha256(broken.read_bytes()).hexdigest()
        kept = {name: what for name, what in made(place).items() if name != ".env.bak"}
        done = place.install("--model", f"file://{broken}", "--sha256", digest)
        assert (done.code, done.json()["error"]["code"]) == (8, "ROLLED_BACK"), str(done)
        now = made(place)
        assert {name for name in kept if kept[name] != now[name]} <= {".env"}
        assert chat(place) == "smoke"
        assert place.run("uninstall", "--purge", "--yes").code == 0
        assert not place.dream.exists()
        assert not place.state.exists()


def chat(place: Here) -> str:
    """Return the name of the model that answers."""
    question = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    request = urllib.request.Request(
        f"http://127.0.0.1:{place.port}/v1/chat/completions",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        said = json.load(answer)
    assert said["choices"][0]["message"]["content"]
    return str(said["model"])
