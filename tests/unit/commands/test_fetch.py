"""``dream-runner fetch`` without the command line around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.fetching import SIZE, Thing, make_thing

from dream_runner.commands import fetch as command
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.request import Progress


@pytest.fixture(scope="module")
def thing() -> Thing:
    return make_thing(SIZE)


def test_fetch_and_fetch_again(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Progress] = []
    with thing.villain() as server:
        urls = ["missing-file", server.url("honest")]
        words = {"sha256": thing.sha256, "output": "m", "environment": {}}
        first = command.run(urls, size_bytes=SIZE, on_progress=seen.append, **words)
        again = command.run(urls, **words)
    assert first.path == str(tmp_path / "m")
    assert first.source == server.url("honest")
    assert seen
    assert seen[-1].done == SIZE
    assert "6.3 MB fetched" in command.as_text(first)
    assert command.as_text(again) == f"{tmp_path}/m already exists: unchanged since it was verified"
    assert json.loads(json.dumps(command.as_json(again)))["verified_by"] == "stamp"


def test_the_environment_counts(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        url = server.url("needs_login").replace("/model.gguf", "/r/resolve/main/m")
        words = {"sha256": thing.sha256, "output": str(tmp_path / "m")}
        with pytest.raises(DreamError, match="HTTP 401"):
            command.run([url], environment={}, **words)
        assert command.run([url], environment={"HF_TOKEN": "t"}, **words).changed
