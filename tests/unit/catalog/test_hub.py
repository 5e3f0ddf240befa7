"""Commit, digest and size, which pin a model's file, are looked up on its hub."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fixtures.serving import serving

from dream_runner import catalog
from dream_runner.catalog import hub
from dream_runner.commands import lock
from dream_runner.module_utils.dream_core.errors import NetworkError, UsageError

COMMIT, DIGEST = "a" * 40, "b" * 64


class Hub(BaseHTTPRequestHandler):
    """A hub that has every file of one repository."""

    digest = DIGEST
    token = ""

    def do_HEAD(self) -> None:
        type(self).token = self.headers.get("Authorization", "")
        known = self.path.startswith("/owner/repo/resolve/main/")
        self.send_response(302 if known else 404)
        if known:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{self.digest}"')
            self.send_header("X-Linked-Size", "1234")
            self.send_header("Location", "http://127.0.0.1:1/never-asked")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as place:
        address = f"http://{place}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield address


def test_a_file_is_pinned_by_what_its_hub_says() -> None:
    found = lock.models(("owner/repo/Q4/model.gguf",))
    address = "https://huggingface.co/owner/repo/resolve/main/Q4/model.gguf"
    assert found.answers.found[address] == {
        "url": f"https://huggingface.co/owner/repo/resolve/{COMMIT}/Q4/model.gguf",
        "sha256": DIGEST,
        "size_bytes": 1234,
    }
    assert Hub.token == "Bearer hf_secret"
    text = lock.models_as_text(found)
    assert f"resolve/{COMMIT}/Q4/model.gguf" in text
    assert "replaced" not in text
    assert found.exit_code == 0


def models(digest: str) -> dict[str, Any]:
    url = "https://huggingface.co/owner/repo/resolve/main/model.gguf"
    file = {"file": "model.gguf", "sha256": digest, "size_bytes": None, "urls": [url]}
    return {
        "models": [{"id": "m", "files": [file]}],
        "known_gaps": [{"model": "m", "lacks": ["commit", "size_bytes"], "why": "x"}],
    }


@pytest.mark.parametrize(("digest", "replaced"), [(DIGEST, False), ("c" * 64, True)])
def test_without_a_name_the_gaps_of_the_catalogue_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, digest: str, replaced: bool
) -> None:
    loaded = catalog.load()
    changed = type(loaded)(**{**vars(loaded), "models": models(digest)})
    monkeypatch.setattr(catalog, "load", lambda directory=None: changed)
    found = lock.models()
    assert lock.models_as_json(found)["files"][0]["is_pinned_digest"] is not replaced
    assert ("the file was replaced" in lock.models_as_text(found)) is replaced


def test_every_gap_of_the_shipped_catalogue_can_be_asked_for() -> None:
    loaded = catalog.load().models
    wanted = hub.files((), loaded)
    assert len(wanted) >= len(loaded["known_gaps"])
    assert all(file.sha256 for file in wanted)


def test_what_the_hub_does_not_have_is_named_beside_the_rest() -> None:
    found = lock.models(("owner/repo/model.gguf", "other/repo/model.gguf"))
    assert len(found.answers.found) == 1
    assert found.exit_code == 5
    assert "# not looked up: https://huggingface.co/other/repo" in lock.models_as_text(found)


def test_a_hub_that_says_too_little_pins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "digest", "not-a-digest")
    found = lock.models(("owner/repo/model.gguf",))
    assert "does not report commit" in lock.models_as_text(found)


def test_words_that_mean_no_file_are_refused() -> None:
    for word in ("nonsense", "owner/repo", "https://example.org/x.gguf"):
        with pytest.raises(UsageError) as caught:
            lock.models((word,))
        assert caught.value.code == "UNKNOWN_MODEL"


def test_a_dead_hub_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(NetworkError) as caught:
        lock.models(("a/b/c.gguf", "a/b/d.gguf"))
    assert caught.value.what == "no server can be reached: 127.0.0.1 refused the connection"
