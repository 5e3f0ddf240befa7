"""What makes Ansible work through Mitogen, and what is said where it is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ansible_mitogen import module_finder

from dream_runner import paths
from dream_runner.commands import fleet as command
from dream_runner.fleet import mitogen, view, wave_order
from dream_runner.fleet.inventory import Source
from dream_runner.module_utils.dream_core.errors import UsageError


def test_who_has_none_is_told_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    way = command.Way(Source(("host,",)), mitogen=True)
    options = command.Options(wave_order.parse("1", "100%", "10%"))
    environment = {"HOME": str(tmp_path)}
    with pytest.raises(UsageError) as caught:
        command.install({}, None, environment, way, options, view.make("quiet"))
    assert caught.value.code == "MITOGEN_MISSING"
    assert "pip install mitogen" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_mitogen_finds_all_that_our_modules_import(tmp_path: Path) -> None:
    """Its own search is asked: as the package is, with relative imports, it finds a part."""
    said = mitogen.environment(mitogen.plugins(), tmp_path)
    shared = Path(said["ANSIBLE_MODULE_UTILS"])
    core = {str(path.relative_to(shared)) for path in (shared / "dream_core").rglob("*.py")}
    assert len(core) > 50
    for module in sorted((paths.content() / "library").glob("*.py")):
        found = module_finder.scan(module.stem, str(module), [str(shared)])
        ours = {str(Path(path).relative_to(shared)) for _, path, _ in found if shared.name in path}
        assert ours >= core, module.name
    as_it_is = paths.PACKAGE / "module_utils"
    found = module_finder.scan(
        "dream_model", str(paths.content() / "library/dream_model.py"), [str(as_it_is)]
    )
    assert len(found) < len(core)
