"""Test the real Open WebUI in the catalogue's version, with the environment of the catalogue.

It is installed from the Python package index, without the packages that only its built-in models
need. The services behind it are stand-ins; the chat, its accounts, documents, search, speech and
connections are its own code. Set DREAM_TEST_SLOW=1: the packages are 750 MB.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import standins
from images import cache
from unit.decide.decided import stack
from unit.health.test_feature_probes import ENV, environment

from dream_runner import catalog
from dream_runner.module_utils.dream_core.health import feature_probes
from dream_runner.module_utils.dream_core.upgrade import trial

from . import application

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="Open WebUI needs Python 3.11 or 3.12"),
]

#: Packages of built-in models, which the stack does not use: torch alone is larger than the rest.
_WITHOUT = ("accelerate", "sentence-transformers", "transformers", "faster-whisper", "rapidocr")
_MORE = ("opencv-python-headless", "colbert-ai")
_CLIENT = "qdrant-client==1.18.0"


def version() -> str:
    """Return the version that the catalogue runs."""
    services = catalog.load().services["services"]
    (image,) = [item["image"] for item in services if item["id"] == "open-webui"]
    found = re.search(r":v([0-9.]+)", image)
    assert found
    return found[1]


def _make(root: Path) -> None:
    wheels = root / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    name = f"open-webui=={version()}"
    subprocess.run([*pip, "download", "--no-deps", "--dest", wheels, name], check=True)
    (wheel,) = wheels.glob("open_webui-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (path,) = [item for item in packed.namelist() if item.endswith(".dist-info/METADATA")]
        told = packed.read(path).decode()
    needed = re.findall(r"^Requires-Dist: ([^;\n]+)$", told, re.MULTILINE)
    left = [item for item in needed if not item.startswith((*_WITHOUT, *_MORE))]
    target = ["--target", root / "lib"]
    subprocess.run([*pip, "install", *target, *left, _CLIENT], check=True)
    subprocess.run([*pip, "install", *target, "--no-deps", wheel], check=True)
    wheel.unlink()


@pytest.fixture(scope="module")
def library() -> Path:
    mark = cache.digest(version(), sys.version_info[:2], _WITHOUT, _MORE, _CLIENT)
    return cache.cached(f"open-webui-{mark}", _make) / "lib"


class Page(standins.Service):
    """A web page that the search engine finds."""

    def __init__(self) -> None:
        super().__init__()
        text = b"<html><body>A lighthouse stands here.</body></html>"
        self.routes = [("GET", "/page", lambda asked: text)]


@contextlib.contextmanager
def proven(library: Path, folder: Path, *without: str) -> Iterator[dict[str, Any]]:
    """Run the chat with its environment without some keys; yield the results of the probes."""
    port, model = trial.free_port(), stack("nvidia")["environment"]["LLM_MODEL"]
    with contextlib.ExitStack() as opened:

        def serve(service: standins.Service) -> str:
            return opened.enter_context(standins.serving(service))

        agent = standins.Model("hermes-agent", key=ENV["HERMES_API_KEY"], tools=True)
        places = {
            "llama-server:8080": serve(standins.Model(model)),
            "hermes:8642": serve(agent),
            "embeddings:80": serve(standins.Embeddings()),
            "qdrant:6333": serve(standins.Vectors(ENV["QDRANT_API_KEY"])),
            "searxng:8080": serve(standins.Search(serve(Page()) + "/page")),
            "whisper:8000": serve(standins.SpeechToText("Systran/faster-whisper-base")),
            "tts:8880": serve(standins.TextToSpeech()),
        }
        told = {
            key: value for key, value in environment("open-webui").items() if key not in without
        }
        for name, url in places.items():
            told = {key: value.replace(f"http://{name}", url) for key, value in told.items()}
        here = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "DATA_DIR": str(folder),
            "PYTHONPATH": str(library),
            # The test needs neither ffmpeg nor a name service.
            "BYPASS_PYDUB_PREPROCESSING": "true",
            "ENABLE_RAG_LOCAL_WEB_FETCH": "true",
        }
        program = [sys.executable, "-m", "uvicorn", "open_webui.main:app", "--port", str(port)]
        log = opened.enter_context((folder / "log").open("w"))
        chat = subprocess.Popen(program, env={**told, **here}, cwd=folder, stdout=log, stderr=log)
        try:
            application.wait(f"http://127.0.0.1:{port}/health", chat, folder / "log")
            pages = {"open-webui": f"http://127.0.0.1:{port}", "qdrant": places["qdrant:6333"]}
            services = [
                dict(item, url=pages.get(item["id"], ""))
                for item in stack("nvidia")["services"]
                if item["id"] != "n8n"
            ]
            yield feature_probes.run(services, model, ENV, answer_seconds=60)
        finally:
            chat.terminate()
            chat.wait()


def test_the_real_chat_has_every_feature_as_it_is_wired(library: Path, tmp_path: Path) -> None:
    with proven(library, tmp_path) as found:
        wanted = ["chat", "documents", "search", "voice", "agent"]
        assert found == {"passed": wanted, "failed": {}, "unproven": {}}
        assert os.listdir(tmp_path / "uploads") == [], "the probe's document is still there"


@pytest.mark.parametrize(
    ("key", "probe"),
    [
        ("OPENAI_API_KEYS", "agent"),
        ("VECTOR_DB", "documents"),
        ("ENABLE_WEB_SEARCH", "search"),
        ("AUDIO_STT_ENGINE", "voice"),
    ],
)
def test_the_real_chat_misses_a_wire(library: Path, tmp_path: Path, key: str, probe: str) -> None:
    with proven(library, tmp_path, key) as found:
        assert set(found["failed"]) == {probe}
