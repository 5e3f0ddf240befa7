"""New secrets by intention: everything else stays, and what data depends on is kept."""

import io
from pathlib import Path

import pytest

from dream_runner.commands import rotate_secrets
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.files import env_file
from dream_runner.module_utils.dream_core.records import receipt
from dream_runner.ui import terminal
from dream_runner.ui.plain import QuietListener

TEXT = """# mine
MY_KEY=own
WEBUI_SECRET=old-web
export LITELLM_KEY='old-lite'
LANGFUSE_SALT=old-salt
SEARXNG_SECRET=
"""


def installed(tmp_path: Path) -> tuple[dict[str, str], Path]:
    env = tmp_path / "dream" / ".env"
    env.parent.mkdir()
    env.write_text(TEXT)
    env.with_name(".env.bak").write_text(TEXT)
    document = {
        "schema": 2,
        "phase": "directories",
        "state": "done",
        "resources": [{"kind": "file", "path": str(env), "secret": True, "origin": "made"}],
    }
    receipt.write(str(tmp_path / "state" / "dream-runner"), document)
    return {"XDG_STATE_HOME": str(tmp_path / "state")}, env


def rotate(
    environment: dict[str, str], *only: str, yes: bool = True, dry_run: bool = False
) -> rotate_secrets.RotatedSecrets:
    return rotate_secrets.run(
        environment, QuietListener(io.StringIO()), only=only, yes=yes, dry_run=dry_run
    )


def test_every_secret_of_ours_is_new_and_the_rest_as_it_was(tmp_path: Path) -> None:
    environment, env = installed(tmp_path)
    outcome = rotate(environment)
    values = env_file.parse(env.read_text())
    assert outcome.rotated == ("WEBUI_SECRET", "LITELLM_KEY", "LANGFUSE_SALT")
    assert "old" not in env.read_text()
    assert values["LITELLM_KEY"].startswith("sk-dream-")
    assert (values["MY_KEY"], values["SEARXNG_SECRET"]) == ("own", "")
    assert env.read_text().startswith("# mine\n")
    assert env.stat().st_mode & 0o777 == 0o600
    assert not env.with_name(".env.bak").exists()
    shown = rotate_secrets.as_text(outcome) + str(rotate_secrets.as_json(outcome))
    assert not any(values[name] in shown for name in outcome.rotated)


def test_what_data_depends_on_is_kept_and_named(tmp_path: Path) -> None:
    environment, env = installed(tmp_path)
    (env.parent / "data" / "langfuse" / "postgres").mkdir(parents=True)
    outcome = rotate(environment)
    assert "LANGFUSE_SALT=old-salt" in env.read_text()
    assert list(outcome.kept) == ["LANGFUSE_SALT"]
    assert "LANGFUSE_SALT" in rotate_secrets.as_text(outcome)


def test_one_by_name_and_none_for_show(tmp_path: Path) -> None:
    environment, env = installed(tmp_path)
    assert rotate(environment, "WEBUI_SECRET", dry_run=True).rotated == ("WEBUI_SECRET",)
    assert env.read_text() == TEXT
    rotate(environment, "WEBUI_SECRET")
    assert "old-web" not in env.read_text()
    assert "old-lite" in env.read_text()
    with pytest.raises(UsageError):
        rotate(environment, "MY_KEY")


def test_without_a_person_or_an_install_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, env = installed(tmp_path)
    monkeypatch.setattr(terminal, "is_present", lambda: False)
    with pytest.raises(UsageError) as caught:
        rotate(environment, yes=False)
    assert caught.value.code == "NOT_CONFIRMED"
    assert env.read_text() == TEXT
    with pytest.raises(UsageError) as caught:
        rotate({"XDG_STATE_HOME": str(tmp_path / "none")})
    assert caught.value.code == "NOT_INSTALLED"
