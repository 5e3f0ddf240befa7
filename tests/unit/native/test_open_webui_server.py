"""The program that runs Open WebUI: its variables are ours, its secrets come from .env."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths

PROGRAM = paths.content() / "roles" / "services" / "files" / "open_webui_server.py"
#: In place of Uvicorn: it writes down what it was started with, then waits for the signal.
UVICORN = """
import json, os, time
def run(app, **options):
    with open("told.json.part", "w") as handle:
        json.dump({"app": app, "options": options, "environment": dict(os.environ)}, handle)
    os.rename("told.json.part", "told.json")
    time.sleep(60)
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "uvicorn.py").write_text(UVICORN)
    (tmp_path / ".env").write_text(
        "# kept\nWEBUI_SECRET='first'\nexport WEBUI_SECRET=\"second\"\nWEBUI_NAME=\nOTHER=x\n"
    )
    return {
        "host": "127.0.0.1",
        "port": 3000,
        "data": str(tmp_path / "data"),
        "env_file": str(tmp_path / ".env"),
        "environment": {"WEBUI_NAME": "ours", "ENABLE_SIGNUP": "false"},
        "from_env_file": {"WEBUI_SECRET_KEY": "WEBUI_SECRET", "WEBUI_NAME": "WEBUI_NAME"},
        "required": ["WEBUI_SECRET_KEY"],
    }


def start(config: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    path = folder / "webui.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, str(PROGRAM), str(path), "--revision=1"]
    environment = {"PYTHONPATH": str(folder / "lib"), "PATH": os.environ["PATH"], "STRAY": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while not (folder / "data" / "told.json").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, Any] = json.loads((folder / "data" / "told.json").read_text())
    return found


def test_it_has_our_variables_and_no_others(config: dict[str, Any], tmp_path: Path) -> None:
    process = start(config, tmp_path)
    try:
        found = told(process, tmp_path)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert found["app"] == "open_webui.main:app"
    assert (found["options"]["host"], found["options"]["port"]) == ("127.0.0.1", 3000)
    # An empty value in .env is none; Python may add the coercion of its locale.
    wanted = {"WEBUI_NAME": "ours", "ENABLE_SIGNUP": "false", "WEBUI_SECRET_KEY": "second"}
    assert {k: v for k, v in found["environment"].items() if k != "LC_CTYPE"} == wanted


def test_files_that_it_makes_are_its_owners_alone(config: dict[str, Any], tmp_path: Path) -> None:
    process = start(config, tmp_path)
    try:
        told(process, tmp_path)
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert (tmp_path / "data" / "told.json").stat().st_mode & 0o077 == 0


def test_it_serves_the_vectors_of_documents_and_leaves_no_byte_code(
    config: dict[str, Any], tmp_path: Path
) -> None:
    program = tmp_path / "program" / "embeddings_server.py"
    program.parent.mkdir()
    program.write_text(PROGRAM.with_name("embeddings_server.py").read_text())
    process = start({**config, "embeddings": str(program)}, tmp_path)
    try:
        found = told(process, tmp_path)["environment"]
        request = urllib.request.Request(
            found["RAG_OPENAI_API_BASE_URL"] + "/embeddings",
            b"{}",
            {"Authorization": "Bearer " + found["RAG_OPENAI_API_KEY"]},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        caught.value.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert caught.value.code == 400, "the key is right, the question is not"
    assert found["RAG_EMBEDDING_ENGINE"] == "openai"
    assert found["RAG_EMBEDDING_MODEL"] == "all-MiniLM-L6-v2"
    assert os.listdir(program.parent) == ["embeddings_server.py"]


@pytest.mark.parametrize("is_there", [True, False])
def test_it_starts_with_and_without_the_model_that_recognizes_speech(
    config: dict[str, Any], tmp_path: Path, is_there: bool
) -> None:
    program = tmp_path / "program" / "speech_model.py"
    program.parent.mkdir()
    if is_there:
        program.write_text("def write(directory):\n    open(directory, 'w').close()\n")
    speech = {"program": str(program), "directory": str(tmp_path / "model")}
    process = start({**config, "speech": speech}, tmp_path)
    try:
        found = told(process, tmp_path)["environment"]
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert found["WHISPER_MODEL"] == str(tmp_path / "model")
    assert (tmp_path / "model").exists() == is_there
    assert ("speech is not recognized" in said) != is_there


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"required": ["WEBUI_SECRET_KEY", "WEBUI_NAME"]}, ""),
        ({"env_file": "/nowhere/.env"}, "No such file"),
        ({"from_env_file": {"WEBUI_SECRET_KEY": "ABSENT"}}, "holds no ABSENT"),
        ({"environment": None}, "AttributeError"),
    ],
)
def test_it_does_not_start_without_its_secrets(
    config: dict[str, Any], tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    process = start({**config, **changed}, tmp_path)
    try:
        if not said:
            told(process, tmp_path)
            return
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 2
    assert said in errors
