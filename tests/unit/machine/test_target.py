"""What is present of a model: a whole file, a partial, another file, nothing."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.machine import target
from dream_runner.settings import merge
from dream_runner.settings.parsers import Known
from dream_runner.settings.values import Given, Saved


@pytest.mark.parametrize(
    ("size", "on_disk", "partial", "expected"),
    [
        pytest.param(10, 10, None, (10, 10), id="whole"),
        pytest.param(10, 7, None, (0, 10), id="a file of another size is not it"),
        pytest.param(10, None, (4, 10), (4, 10), id="partial"),
        pytest.param(None, None, (4, 12), (4, 12), id="the partial knows the size"),
        pytest.param(None, None, None, (0, 0), id="nothing known"),
        pytest.param(None, 8, None, (8, 8), id="whole, of unknown size"),
    ],
)
def test_model_progress(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int | None,
    on_disk: int | None,
    partial: tuple[int, int] | None,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(target, "partial_progress", lambda path: partial)
    home = tmp_path / "dream"
    if on_disk is not None:
        (home / "data" / "models").mkdir(parents=True)
        (home / "data" / "models" / "m.gguf").write_bytes(b"x" * on_disk)
    given = {"install_dir": Given(str(home), "--install-dir", "flag")}
    chosen = merge.merge(given, {}, Saved(), {}, Known())
    choice: dict[str, Any] = {"model": {"files": [{"file": "m.gguf", "size_bytes": size}]}}
    known = target.Target(str(tmp_path), chosen, {"receipts": {}}, choice, {})
    assert target.model_progress(known) == expected


def test_the_catalogue_is_what_is_known() -> None:
    known = target.known()
    assert "NV_ULTRA" in known.tiers
    assert "smoke" in known.models
