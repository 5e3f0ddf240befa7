"""The environment file: nothing is lost, secrets are made once and never shown."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

SECRETS = {"WEBUI_SECRET": "hex:32", "LITELLM_KEY": "sk-dream-|hex:16", "N8N_PASS": "base64:16"}


def values(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if "=" in line]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    return {
        "path": str(tmp_path / ".env"),
        "managed": {"OLLAMA_PORT": "11434"},
        "defaults": {"TZ": "UTC"},
        "secrets": SECRETS,
    }


def test_made_once_then_left_alone(twice: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    result = twice("dream_env", **wanted)
    path = tmp_path / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = values(path)
    assert set(result["generated"]) == set(SECRETS)
    assert made["LITELLM_KEY"].startswith("sk-dream-")
    assert len(made["WEBUI_SECRET"]) == 64
    shown = json.dumps(result)
    assert not any(made[key] in shown for key in SECRETS)


def test_everything_a_person_wrote_stays(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nMY_KEY=1\nOLLAMA_PORT=9\nnot an assignment\nTZ=Asia/Tokyo\n")
    result = run_module("dream_env", **wanted)
    text = path.read_text()
    assert text.startswith(
        "# mine\nMY_KEY=1\nOLLAMA_PORT=11434\nnot an assignment\nTZ=Asia/Tokyo\n"
    )
    assert result["updated"] == ["OLLAMA_PORT"]
    assert (tmp_path / ".env.bak").read_text().startswith("# mine\nMY_KEY=1\nOLLAMA_PORT=9\n")
    assert stat.S_IMODE((tmp_path / ".env.bak").stat().st_mode) == 0o600


def test_a_changed_setting_keeps_the_secrets(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    run_module("dream_env", **wanted)
    before = values(tmp_path / ".env")
    run_module("dream_env", **wanted | {"managed": {"OLLAMA_PORT": "8080"}})
    after = values(tmp_path / ".env")
    assert after.pop("OLLAMA_PORT") == "8080"
    before.pop("OLLAMA_PORT")
    assert after == before


@pytest.mark.parametrize("damage", ["", "MY_KEY=1\n"], ids=["emptied", "secrets gone"])
def test_a_damaged_file_comes_back_from_its_backup(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / ".env"
    run_module("dream_env", **wanted)
    run_module("dream_env", **wanted | {"managed": {"OLLAMA_PORT": "8080"}})
    secrets = {key: values(path)[key] for key in SECRETS}
    path.write_text(damage)
    result = run_module("dream_env", **wanted)
    assert result["restored"] is True
    assert {key: values(path)[key] for key in SECRETS} == secrets


def test_no_new_secrets_beside_old_data(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "webui.db").write_text("sessions")
    result = run_module("dream_env", **wanted, proof_of_data=[str(tmp_path / "webui.db")])
    assert result["failed"] is True
    assert result["dream_error"]["code"] == "SECRETS_LOST"
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize("obstacle", ["directory", "link"])
def test_what_is_no_file_is_refused(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path, obstacle: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("A=1\n")
    path = tmp_path / ".env"
    path.symlink_to(victim) if obstacle == "link" else path.mkdir()
    result = run_module("dream_env", **wanted)
    assert result["failed"] is True
    assert result["dream_error"]["hint"]
    assert victim.read_text() == "A=1\n"


def test_a_wrong_mode_is_mended(run_module: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    run_module("dream_env", **wanted)
    (tmp_path / ".env").chmod(0o644)
    assert run_module("dream_env", **wanted)["changed"] is True
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_one_that_its_owner_closed_is_opened_again(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    run_module("dream_env", **wanted)
    path = Path(wanted["path"])
    before = path.read_text()
    path.chmod(0)
    assert run_module("dream_env", **wanted)["changed"] is True
    assert path.read_text() == before


def test_values_that_cannot_be_written_are_refused(run_module: Run, wanted: dict[str, Any]) -> None:
    result = run_module("dream_env", **wanted | {"managed": {"A": "two\nlines"}})
    assert result["dream_error"]["code"] == "ENV_VALUE"


def test_dormant_secrets_are_kept_and_never_made(
    run_module: Run, wanted: Any, tmp_path: Any
) -> None:
    """A host that leaves the full profile keeps its secrets; one that never had it has none."""
    path = tmp_path / ".env"
    native = wanted | {"secrets": {}, "dormant": SECRETS}
    assert run_module("dream_env", **native)["generated"] == []
    assert not set(values(path)) & set(SECRETS)
    run_module("dream_env", **wanted)
    kept = {key: values(path)[key] for key in SECRETS}
    run_module("dream_env", **native | {"managed": {"OLLAMA_PORT": "2"}})
    # Also when the file is lost: they come back from the backup.
    path.unlink()
    run_module("dream_env", **native | {"managed": {"OLLAMA_PORT": "1"}})
    assert {key: values(path)[key] for key in SECRETS} == kept


def test_a_mark_tells_that_a_secret_changed_and_not_what_it_is(
    run_module: Run, wanted: Any, tmp_path: Any
) -> None:
    name = next(iter(SECRETS))
    first = run_module("dream_env", **wanted, marked=[name])
    path = tmp_path / ".env"
    assert values(path)[name] not in str(first)
    assert run_module("dream_env", **wanted, marked=[name])["marks"] == first["marks"]
    path.write_text(path.read_text() + f"{name}=mine\n")
    assert run_module("dream_env", **wanted, marked=[name])["marks"] != first["marks"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_file_saved_by_another_editor_keeps_its_secrets(
    run_module: Run, tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / ".env"
    text = "WEBUI_SECRET=old-secret-in-use\r\nMINE='a b'\r\n"
    path.write_bytes(text.encode(encoding))
    path.chmod(0o600)
    done = run_module("dream_env", path=str(path), secrets={"WEBUI_SECRET": "hex:8"})
    assert done["generated"] == []
    assert path.read_text().startswith("WEBUI_SECRET=old-secret-in-use\n")
    assert not run_module("dream_env", path=str(path), secrets={"WEBUI_SECRET": "hex:8"})["changed"]
