"""The support archive holds what helps and not one planted secret."""

import base64
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from dream_runner.diagnose import support_archive
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.records import receipt

#: Values without any telling form, so that only knowing them can remove them.
PLANTED = {name: f"plantedvalue{name}xyz" for name in ("env", "hf", "netrc", "docker", "own")}
#: Values that nobody knows, in forms that tell.
FORMS = {
    "url": "https://user:plantedform1@host/x",
    "signed": "https://host/file?sig=plantedform2",
    "bearer": "Authorization: Bearer plantedform3",
    "key": 'api_key="plantedform4"',
}


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    """Plant secrets everywhere; return the environment."""
    state, dream, home = (tmp_path / name for name in ("state", "dream", "home"))
    for folder in (dream / "logs", home / ".docker", home / ".cache/huggingface"):
        folder.mkdir(parents=True)
    every = " ".join([*PLANTED.values(), *map(quote, PLANTED.values()), *FORMS.values()])
    (dream / ".env").write_text(f"WEBUI_SECRET={PLANTED['env']}\nPORT=11434\n")
    (dream / "logs" / "engine.log").write_text("the engine says " + every)
    (home / ".cache/huggingface/token").write_text(PLANTED["hf"])
    (home / ".netrc").write_text(f"machine host login me password {PLANTED['netrc']}\n")
    auth = {"auths": {"registry": {"auth": PLANTED["docker"]}}}
    (home / ".docker" / "config.json").write_text(json.dumps(auth))
    document = {
        "schema": 2,
        "phase": "services",
        "state": "done",
        "install_dir": str(dream),
        "facts": {"said": every, "token": PLANTED["own"]},
        "resources": [
            {"kind": "file", "path": str(dream / "logs" / "engine.log"), "origin": "made"},
            {"kind": "file", "path": str(dream / ".env"), "origin": "made", "secret": True},
        ],
    }
    receipt.write(str(state), document)
    values = {"model": FORMS["url"], "note": every}
    (state / "settings.json").write_text(json.dumps({"schema": 1, "values": values}))
    run = state / "runs" / "20260101T000000-abc"
    run.mkdir(parents=True)
    (run / "log.txt").write_text(f"pip: {every}\n{base64.b64encode(PLANTED['env'].encode())!r}")
    (run / "events.jsonl").write_text(json.dumps({"message": every}) + "\n{broken " + every)
    return {"HOME": str(home), "MY_PASSWORD": PLANTED["own"], "PATH": "/usr/bin"}


def texts(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as stream:
        return {
            entry.name: stream.extractfile(entry).read().decode()  # type: ignore[union-attr]
            for entry in stream.getmembers()
        }


def test_no_planted_secret_is_in_it(host: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    finding = {"id": "x", "evidence": " ".join(PLANTED.values())}
    support_archive.write(str(target), str(tmp_path / "state"), [finding], host)
    assert target.stat().st_mode & 0o777 == 0o600
    found = texts(target)
    whole = json.dumps(found)
    assert "plantedvalue" not in whole
    assert "plantedform" not in whole
    assert base64.b64encode(PLANTED["env"].encode()).decode()[:16] not in whole
    assert "the engine says" in whole
    names = {name.partition("/")[2] for name in found}
    assert {"findings.json", "install-0/env-keys.txt", "install-0/logs/engine.log"} <= names
    assert "runs/20260101T000000-abc/log.txt" in names
    assert found["dream-runner-support/install-0/env-keys.txt"] == "PORT\nWEBUI_SECRET\n"
    assert not any(name.endswith(".env") for name in names)


def test_a_secret_that_slips_through_stops_it(
    host: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support_archive.Redactor, "text", lambda self, text: text)
    target = tmp_path / "out.tar.gz"
    with pytest.raises(DreamError) as caught:
        support_archive.write(str(target), str(tmp_path / "state"), [], host)
    assert caught.value.code == "REDACTION_FAILED"
    assert not target.exists()


def test_nothing_installed_is_an_archive_too(tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    assert "findings.json" in support_archive.write(str(target), str(tmp_path / "none"), [], {})
