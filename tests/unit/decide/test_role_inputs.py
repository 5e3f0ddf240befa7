"""What a phase depends on is read from its role, so that no list of it can be wrong."""

import re

from dream_runner import paths
from dream_runner.decide import role_inputs
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.settings import table


def test_every_setting_reaches_a_phase() -> None:
    mentioned = frozenset().union(*(source.names for source in role_inputs.of_roles().values()))
    assert {f"dream_{setting.name}" for setting in table.SETTINGS} <= mentioned


def test_names_behind_shared_variables_are_found() -> None:
    health = role_inputs.of_roles()["health"].names
    assert "dream_engine_watch" in health
    assert "dream_install_dir" in health


def test_tasks_of_another_role_belong_to_the_one_that_takes_them() -> None:
    packages = (paths.content() / "roles" / "devtools" / "tasks" / "main.yml").read_text()
    assert re.search(r"name: requirements", packages)
    assert "dream_session.is_root" in role_inputs.of_roles()["devtools"].names


def test_a_phase_runs_again_for_a_value_it_reads_and_for_no_other() -> None:
    values = {setting.name: setting.default for setting in table.SETTINGS}
    choice = {"model": {"id": "a"}, "supervisor": "supervisord"}
    before = role_inputs.wanted(values, choice, {"backend": "cpu"}, {"user": "me"})
    after = role_inputs.wanted(
        values, {**choice, "model": {"id": "b"}}, {"backend": "cpu"}, {"user": "me"}
    )
    touched = {phase for phase in PHASES if before[phase] != after[phase]}
    assert {"models", "services", "summary"} <= touched
    assert not touched & {"features", "detection", "preflight"}


def test_a_role_default_that_somebody_set_is_an_input_of_its_phase_alone() -> None:
    plain = role_inputs.wanted({}, {}, {}, {})
    other = role_inputs.wanted({}, {}, {}, {}, {"models_token_file": "/x", "models_facts": {}})
    assert {phase for phase in PHASES if plain[phase] != other[phase]} == {"models"}
    assert list(other["models"]["inputs"]) == ["content", "models_token_file"]
