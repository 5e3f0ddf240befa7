"""A newer version over an older one's install: it ends right and keeps what was chosen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .here import Here, here

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
    # The first layout had no schema and no key of one later service; the user added one.
    env = re.sub(r"^(DREAM_ENV_SCHEMA|LANGFUSE_SALT)=.*\n", "", env, flags=re.M)
    (place.dream / ".env").write_text(env + "MY_OWN=stays\n")


def receipts(place: Here) -> dict[str, Any]:
    folder = place.state / "receipts"
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_an_install_of_an_older_version_ends_right_and_keeps_choices(tmp_path: Path) -> None:
    with here(tmp_path / "home") as place:
        done = place.install("--context-tokens", "512")
        assert done.code == 0, str(done)
        secrets = dict(SECRET.findall((place.dream / ".env").read_text()))
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
        assert now.pop("LANGFUSE_SALT") != secrets.pop("LANGFUSE_SALT")
        assert {name: now[name] for name in secrets} == secrets
        assert "MY_OWN=stays" in env
        # What was ours is still ours: the next run rests, a purge leaves nothing.
        again = place.install()
        assert again.json()["tasks"]["changed"] == 0
        assert set(place.phases(again).values()) == {"unchanged"}
        gone = place.run("uninstall", "--purge", "--yes", "--json")
        assert gone.code == 0, str(gone)
        assert not place.dream.exists()
        assert not place.state.exists()
