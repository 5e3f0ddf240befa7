"""The vectors of documents: served to who has the key, computed with the published weights only."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import struct
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dream_runner import catalog, paths

PROGRAM = paths.content() / "roles" / "services" / "files" / "embeddings_server.py"


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("embeddings_server", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVER = loaded()


class Model:
    """In place of the weights: the length of each text."""

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(text))] for text in texts]

    def count(self, texts: list[str]) -> int:
        return sum(map(len, texts))


@pytest.fixture
def server() -> Any:
    found = SERVER.Server("secret", Model())
    found.start()
    return found


def ask(server: Any, body: Any, key: str = "secret", path: str = "/embeddings") -> Any:
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_answers_as_openai_does(server: Any) -> None:
    status, answer = ask(server, {"model": "any", "input": ["one", "three"]})
    assert status == 200
    assert [item["embedding"] for item in answer["data"]] == [[3.0], [5.0]]
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert ask(server, {"input": "alone"})[1]["data"][0]["embedding"] == [5.0]


@pytest.mark.parametrize(
    ("body", "key", "path", "status"),
    [
        ({"input": "x"}, "wrong", "/embeddings", 401),
        ({"input": "x"}, "secret", "/models", 404),
        ({"input": []}, "secret", "/embeddings", 400),
        ({"input": [1]}, "secret", "/embeddings", 400),
        ({"text": "x"}, "secret", "/embeddings", 400),
        (["x"], "secret", "/embeddings", 400),
    ],
)
def test_others_get_a_reason(server: Any, body: Any, key: str, path: str, status: int) -> None:
    found, answer = ask(server, body, key, path)
    assert found == status
    assert answer["error"]["message"]


def test_it_is_reached_from_this_machine_only(server: Any) -> None:
    assert server.url.startswith("http://127.0.0.1:")


def test_its_files_are_those_that_the_full_profile_uses() -> None:
    """The digests are the catalogue's, so that both profiles compute the same vectors."""
    helpers = catalog.load().models["helpers"]
    (model,) = (item for item in helpers if item["id"] == "all-minilm-l6-v2")
    known = {item["file"].rpartition("/")[2]: item["sha256"] for item in model["files"]}
    assert {name: known[name] for name in SERVER.FILES} == SERVER.FILES


@pytest.mark.parametrize("content", [b"weights", b"others"])
def test_other_weights_are_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_model"
    package.mkdir()
    (package / "__init__.py").write_text("")
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        archive.writestr("folder/model.bin", content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(SERVER, "PACKAGE", "some_model")
    wanted = {"model.bin": hashlib.sha256(b"weights").hexdigest()}
    monkeypatch.setattr(SERVER, "FILES", wanted)
    if content == b"weights":
        assert SERVER.packed() == {"model.bin": b"weights"}
    else:
        with pytest.raises(ValueError, match="not the published file"):
            SERVER.packed()
    sys.modules.pop("some_model", None)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SERVER, "PACKAGE", "no_such_model")
    with pytest.raises(ValueError, match="no_such_model is missing"):
        SERVER.packed()


def test_gelu_is_exact_enough_for_the_weights() -> None:
    scalars = SimpleNamespace(abs=abs, float32=float, exp=math.exp, copysign=math.copysign)
    for value in [step / 50 for step in range(-400, 401)]:
        exact = value * 0.5 * (1 + math.erf(value / math.sqrt(2)))
        assert abs(SERVER.gelu(value, scalars) - exact) < 1e-6


def test_tensors_are_read_by_name_and_shape() -> None:
    class Row:
        def __init__(self, content: bytes, kind: Any, count: int, offset: int) -> None:
            self.values = struct.unpack_from(f"<{count}f", content, offset)

        def reshape(self, shape: list[int]) -> Any:
            return (tuple(shape), self.values)

    header = {
        "__metadata__": {"format": "pt"},
        "embeddings.position_ids": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "a.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [8, 16]},
    }
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(8) + struct.pack("<2f", 1.5, -2.0)
    numpy = SimpleNamespace(float32=float, frombuffer=Row)
    assert SERVER.tensors(content, numpy) == {"a.weight": ((1, 2), (1.5, -2.0))}
    header["a.weight"]["dtype"] = "F16"
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match="F16"):
        SERVER.tensors(struct.pack("<Q", len(text)) + text + bytes(16), numpy)
