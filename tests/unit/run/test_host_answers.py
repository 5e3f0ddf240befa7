"""A host's answer has types and characters; everything else is refused, and never shown."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.errors import NetworkError
from dream_runner.module_utils.dream_core.look.fleet_visit import visit
from dream_runner.run import host_answers
from tests.fixtures import hostile


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this machine says of itself."""
    folder = tmp_path_factory.mktemp("host")
    found = visit(
        state_dir=str(folder / "state"), install_dir=str(folder / "d {{ 1 }}"), version="1"
    )
    document: dict[str, Any] = json.loads(json.dumps(found))
    return document


def test_an_honest_host_is_believed(honest: dict[str, Any]) -> None:
    host_answers.require(honest, host_answers.VISIT)
    host_answers.require(honest["context"], host_answers.CONTEXT)
    assert honest["install_dir"].endswith("/d {{ 1 }}")


def changed(document: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(document)
    *keys, last = name.split(".")
    place = copied
    for key in keys:
        place = place[key]
    place[last] = value
    return copied


FORMS: dict[str, list[Any]] = {
    **{
        name: ["~/x", "/a/../b", "/a\nb", "/a\x1b", 3, None, "/" * 5000]
        for name in ("state_dir", "home", "context.session.home")
    },
    "install_dir": [
        "/a$HOME",
        "/a`b`",
        '/a"b',
        "/a:b",
        "/a%n",
        "/a\\b",
        "/a #b",
        "/a ;b",
        "/a\u202e",
    ],
    "account": ["x", None, "0" * 31, 1],
    "python": ["3", "3.9; touch x", "{{ 1 }}"],
    "interpreter": ["/usr/bin/python3 -c x", "python3; touch x", "$(x)", "/bin/{{ x }}", "sh"],
    "present": [{"../x": 1}, {"m": "1"}, {"m": -1}, {"m": 2**63}, {"a\nb": 1}, [], {"m": True}],
    "filesystem.free_bytes": ["1", -1, True, 1.5],
    "engine.url": ["file:///etc/passwd", "http://u:p@h/", "http://h/?x", "http://h/{{ x }}", None],
    "engine.answers": ["yes", 1, None],
    "loads_engine": ["yes", 0],
    "lingers": ["{{ true }}"],
    "context.session.user": ["a b", "a;b", "{{ x }}", "", "a\nb", "a/b", "$(x)"],
    "context.session.uid": ["0", -1, True],
    "context.session.sudo": ["yes", True, ["root"], {}],
    "context.session.is_root": [1, "true"],
    "context.facts": [[], "x"],
    "context.receipts": [[], None],
    "context.listeners": [{}, None],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in FORMS.items() for value in values],
)
def test_each_field_is_strict(honest: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(NetworkError) as caught:
        host_answers.require(changed(honest, name, value), host_answers.VISIT)
    assert caught.value.code == "HOST_GARBAGE"
    assert name in caught.value.what
    # The field is named; what stands in it is not.
    assert str(value) not in caught.value.what or str(value) in name + "the host's answer"


@pytest.mark.parametrize("name", host_answers.VISIT)
def test_every_field_is_needed_and_nothing_else_may_stand_in_it(
    honest: dict[str, Any], name: str
) -> None:
    for value in (object(), b"x", "\x1b", "a\nb"):
        with pytest.raises(NetworkError):
            host_answers.require(changed(honest, name, value), host_answers.VISIT)
    copied = copy.deepcopy(honest)
    *keys, last = name.split(".")
    place = copied
    for key in keys:
        place = place[key]
    del place[last]
    with pytest.raises(NetworkError):
        host_answers.require(copied, host_answers.VISIT)


@pytest.mark.parametrize("text", hostile.TEXTS.values())
def test_no_expression_is_a_name_an_address_or_a_program(honest: dict[str, Any], text: str) -> None:
    for name in ("python", "interpreter", "engine.url", "context.session.user"):
        with pytest.raises(NetworkError):
            host_answers.require(changed(honest, name, text), host_answers.VISIT)


def test_no_document_at_all() -> None:
    for document in (None, [], "x", 1, {}):
        with pytest.raises(NetworkError):
            host_answers.require(document, host_answers.VISIT)


def test_an_exception_is_named_by_its_kind_only() -> None:
    error = host_answers.garbage(KeyError("s3cret of the host"))
    assert error.what == "the host's answer is invalid: KeyError"


def test_the_answers_are_checked_where_they_come_in(tmp_path: Path) -> None:
    """Both plugins ask before they decide, and the survey leaves only what it has checked."""
    from dream_runner import paths

    for plugin, table in (("dream_context", "CONTEXT"), ("dream_survey", "VISIT")):
        text = (paths.PACKAGE / "plugins" / "action" / f"{plugin}.py").read_text()
        assert f"host_answers.{table})" in text
