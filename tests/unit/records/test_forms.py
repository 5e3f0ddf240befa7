"""State of any form is refused or repaired: it never stops a reader or a verb."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import uninstall
from dream_runner.diagnose import checks, finding, host_checks
from dream_runner.machine import resume
from dream_runner.machine.target import known
from dream_runner.module_utils.dream_core import forms
from dream_runner.module_utils.dream_core.fetch.disk import journal
from dream_runner.module_utils.dream_core.files import json_file
from dream_runner.module_utils.dream_core.health import serving as engine_serving
from dream_runner.module_utils.dream_core.network import listeners
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import (
    due_phases,
    install_mark,
    last_good,
    receipt,
    receipt_form,
    survey,
)
from dream_runner.module_utils.dream_core.system import tools
from dream_runner.module_utils.dream_core.undo.uninstall import remove
from dream_runner.module_utils.dream_core.upgrade import progress
from dream_runner.settings import answers
from dream_runner.settings.merge import merge

#: One value of each JSON type, and those that programs trip over.
ODD: list[Any] = [
    *(None, True, 0, -1, 10**400, 1.5, float("inf"), "", "x", "a\0b"),
    *([], [[]], [7], [{"path": 7}], {}, {"a": []}),
]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a document, the document itself included."""
    yield at
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from places(item, (*at, key))


def mutated(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of the document with another value at one place."""
    if not at:
        return value
    found = copy.deepcopy(document)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return found


def without(document: Any, at: tuple[Any, ...]) -> Any:
    """Return a copy of the document that lacks one place."""
    found = copy.deepcopy(document)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    del inner[at[-1]]
    return found


def mutants(document: Any) -> Iterator[Any]:
    for at in places(document):
        yield from mutants_at(document, at)


def mutants_at(document: Any, at: tuple[Any, ...]) -> Iterator[Any]:
    for value in [*ODD, deep(500)]:
        yield mutated(document, at, value)
    if at:
        yield without(document, at)


class Machine:
    """A state directory with whole records of an install that is there."""

    def __init__(self, root: Path) -> None:
        self.home, self.state = root / "home", root / "state"
        self.install = self.home / "ai"
        (self.install / "data" / "models").mkdir(parents=True)
        (self.state / "receipts").mkdir(parents=True)
        self.config = self.install / "config.json"
        self.config.write_text("x")

    def receipt(self, phase: str) -> dict[str, Any]:
        facts: dict[str, dict[str, Any]] = {
            "requirements": {"engine_port": 9, "ports": {"A": 10}, "bind_address": "127.0.0.1"},
            "detection": {
                "backend": "cpu",
                "gpu_assignment": {"engine": ["0"], "helpers": {"whisper": ["0"]}},
            },
            "features": {"settings": {"model": "smoke", "engine_port": 9}},
            "docker": {"command": "docker", "become": False, "version": "1"},
            "models": {
                "sha256": "0" * 64,
                "upgrade": {
                    "model": "big",
                    "sha256": "0" * 64,
                    "files": [{"file": "big.gguf", "size_bytes": 5}],
                    "until": "small",
                    "unit": "dream-runner-upgrade.service",
                    "scope": "system",
                },
            },
            "health": {
                "url": "http://127.0.0.1:9",
                "model": "small",
                "degraded": {"x": "why"},
                "proof": {"url": "http://127.0.0.1:9", "model": "small", "profile": "native"},
            },
            "summary": {"urls": {"chat": "http://127.0.0.1:9/"}, "model": {"id": "small"}},
        }
        made: dict[str, list[dict[str, Any]]] = {
            "directories": [
                {"kind": "directory", "path": str(self.install), "mode": "0755"},
                {"kind": "file", "path": str(self.config), "mode": "0644", "secret": True},
                {"kind": "data", "path": str(self.install / "data" / "x")},
            ],
            "models": [
                {
                    "kind": "model",
                    "path": str(self.install / "data" / "models" / "m.gguf"),
                    "sha256": "0" * 64,
                    "size_bytes": 5,
                    "coming": False,
                }
            ],
            "services": [
                {"kind": "tree", "path": str(self.install / "engine" / "venv")},
                {"kind": "port", "port": 9, "address": "127.0.0.1"},
                {"kind": "supervisor", "config": "/nowhere/x.conf", "program": "engine"},
            ],
        }
        resources = [
            {"origin": "made", "seen": {"present": True, "mode": "0644"}, **item}
            for item in made.get(phase, [])
        ]
        if phase == "directories":
            rights = {"mode": "0644", "uid": 0, "gid": 0, "sha256": "0" * 64, "backup": False}
            resources[1] = dict(resources[1], origin="found", original=rights)
        return {
            "schema": 2,
            "phase": phase,
            "state": "done",
            "version": "1",
            "run_id": "r",
            "install_dir": str(self.install),
            "started_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:01Z",
            "inputs": {"a": "b"},
            "facts": facts.get(phase, {}),
            "resources": resources,
        }

    def write(self, name: str, document: Any) -> None:
        path = self.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")

    def write_receipts(self) -> None:
        for phase in PHASES:
            self.write(f"receipts/{phase}.json", self.receipt(phase))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    found.write_receipts()
    # No program of this host is asked: what is tested is what is read.
    monkeypatch.setattr(tools, "output", lambda *_, **__: "")
    monkeypatch.setattr(listeners, "listeners", lambda *_, **__: [])
    monkeypatch.setattr(progress, "show_program", lambda *_: {})
    return found


def read_all_of(machine: Machine) -> None:
    """Do everything that plan, status, doctor and uninstall do with receipts."""
    receipts, warnings = receipt.read_all(str(machine.state))
    assert all(isinstance(line, str) and len(line) < 500 for line in warnings)
    drift = survey.survey(receipts)
    wanted = {name: {"inputs": {}, "consumes": ["models"]} for name in PHASES}
    due_phases.decide(receipts, drift, wanted, install_dir=str(machine.install), version="1")
    before = resume.read(receipts)
    if before.is_open:
        resume.sentence(before)
    resume.refuse_second(before, before.install_dir, False)
    seen = progress.look(receipts)
    if seen:
        progress.sentence(seen, str)
    engine_serving.endpoint(receipts)
    place = finding.Place(str(machine.state), receipts, warnings, 0.0, str(machine.home))
    for check in (
        *(checks.CHECKS[name] for name in ("failed", "drift", "services")),
        host_checks.hardware,
        host_checks.gpu,
    ):
        list(check(place))
    answers.read_saved(str(machine.state))
    uninstall.plan(str(machine.state), str(machine.home), purge=True)
    for phase, document in receipts.items():
        receipt.begin(document, phase=phase, resources=[], exists=[], stamp={})


@pytest.mark.parametrize("phase", [name for name in PHASES if name not in ("docker", "offline")])
def test_a_receipt_of_any_form_stops_no_reader(machine: Machine, phase: str) -> None:
    whole = machine.receipt(phase)
    for at in places(whole):
        tried = set()
        for odd in mutants_at(whole, at):
            machine.write(f"receipts/{phase}.json", odd)
            # Readers work with what passes the form: a few documents of each place are tried.
            found = repr(receipt.read_one(receipt.path_of(str(machine.state), phase), phase)[0])
            if found not in tried and len(tried) < 3:
                tried.add(found)
                read_all_of(machine)


def test_the_whole_receipts_are_used_without_a_word(machine: Machine) -> None:
    """The right value: the forms refuse nothing that the roles write."""
    receipts, warnings = receipt.read_all(str(machine.state))
    assert (len(receipts), warnings) == (len(PHASES), [])
    assert not any(item.get("foreign") for item in receipts.values())


def test_every_kind_of_resource_has_a_form() -> None:
    assert set(receipt_form.REQUIRED) == set(receipt.IDENTITY)


def test_a_receipt_of_another_form_is_said_once_and_written_anew(machine: Machine) -> None:
    machine.write("receipts/models.json", dict(machine.receipt("models"), facts={"upgrade": [1]}))
    receipts, warnings = receipt.read_all(str(machine.state))
    assert "models" not in receipts
    assert warnings == ["receipt of phase models ignored: its facts upgrade is not an object"]
    assert receipt.write(str(machine.state), machine.receipt("models")) is None
    assert receipt.read_all(str(machine.state))[1] == []
    assert (machine.state / "receipts" / "models.json.aside").exists()


def test_a_resource_of_another_form_is_put_aside_and_never_acted_on(machine: Machine) -> None:
    document = machine.receipt("directories")
    document["resources"].append({"kind": "file", "path": ["/etc/passwd"], "origin": "made"})
    document["resources"].append({"kind": ["file"], "path": "/x", "origin": "made"})
    machine.write("receipts/directories.json", document)
    found = receipt.read_all(str(machine.state))[0]["directories"]
    assert len(found["resources"]) == 3
    assert len(found["foreign"]) == 2
    answer = remove(str(machine.state), str(machine.home), purge=True, dry=True)
    assert sum("from an unknown version" in line for line in answer["kept"]) == 2


def test_saved_settings_of_any_form_stop_nothing(machine: Machine) -> None:
    whole = {
        "schema": 1,
        "version": "1",
        "values": {"model": "smoke", "engine_port": 9, "offline": False, "ports": {"A": 1}},
        "sources": {"model": "flag"},
    }
    ids = known()
    for odd in mutants(whole):
        machine.write("settings.json", odd)
        saved, notes = answers.read_saved(str(machine.state))
        assert all(len(line) < 500 for line in notes)
        settings = merge({}, {}, saved, {}, ids, [])
        assert answers.save(str(machine.state), settings) is None
        assert answers.read_saved(str(machine.state))[1] == []


def test_the_mark_of_any_form_stops_nothing(machine: Machine) -> None:
    whole = {"schema": 1, "install_dir": str(machine.install), "made": [["linger", "me"]]}
    resources = machine.receipt("directories")["resources"]
    for odd in mutants(whole):
        (machine.install / install_mark.NAME).write_text(
            json.dumps(odd), encoding="utf-8", errors="surrogatepass"
        )
        install_mark.owned(str(machine.install), resources)
        remove(str(machine.state), str(machine.home), purge=True, dry=True)
        assert install_mark.note(str(machine.install), resources) is None


def test_the_manifest_of_what_was_proved_of_any_form_stops_nothing(machine: Machine) -> None:
    original = {"mode": "0644", "uid": 0, "gid": 0, "sha256": "0" * 64}
    whole = {
        "schema": 1,
        "install_dir": str(machine.install),
        "version": "1",
        "proof": {
            **dict.fromkeys(("profile", "url", "health_path", "api_path", "model", "project"), "x"),
            "deadline_seconds": 1,
            "services": [{"id": "x", "core": True}],
            "watch": {"kind": "unit", "name": "x", "scope": "user"},
        },
        "files": [{"kind": "file", "path": str(machine.config), "original": original}],
    }
    machine.write("proved/manifest.json", whole)
    kept = last_good.read(str(machine.state))
    assert kept == whole
    for odd in mutants(whole):
        machine.write("proved/manifest.json", odd)
        found = last_good.read(str(machine.state))
        if found is not None:
            last_good.differing(found, str(machine.home))


def test_what_the_upgrade_said_of_any_form_stops_nothing(machine: Machine) -> None:
    whole = {
        "schema": progress.SCHEMA,
        "stage": "fetching",
        "why": "",
        "invocation": "1",
        "model": "big",
        "refused": {"digest": "1", "why": "x"},
    }
    receipts = receipt.read_all(str(machine.state))[0]
    folder = Path(progress.Paths(str(machine.install)).folder)
    folder.mkdir(parents=True)
    for active in ("active", "failed", "activating", ""):
        shown = {"ActiveState": active, "InvocationID": "1"}
        for odd in mutants(whole):
            (folder / "state.json").write_text(
                json.dumps(odd), encoding="utf-8", errors="surrogatepass"
            )
            seen = progress.look(receipts, lambda *_, shown=shown: shown)  # type: ignore[misc]
            assert seen is not None
            assert isinstance(progress.sentence(seen, str), str)


def test_the_journal_of_a_fetch_of_any_form_stops_nothing(tmp_path: Path) -> None:
    header = {"schema": journal.SCHEMA, "sha256": "0" * 64, "size_bytes": 100}
    lines = [["t", 0], ["v", "a", "b", "c"], ["p", 10, "0" * 64], ["s", 20, 30, "x"], ["n", 100]]
    path = tmp_path / "m.part.json"
    for number, whole in enumerate([header, *lines]):
        for odd in mutants(whole):
            written = [json.dumps(item) for item in (header, *lines)]
            written[number] = json.dumps(odd)
            path.write_text("\n".join(written) + "\n", encoding="utf-8", errors="surrogatepass")
            found, _ = journal.load(str(path))
            if found is not None:
                assert all(0 <= mark.start < mark.end for mark in found.marks())
                found.open()
                found.close()


def test_numbers_text_and_nesting_that_nothing_can_use_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '"\\ud800"',
        "[" * 90 + "]" * 90,
    ):
        path.write_text(content)
        document, why = json_file.read_json(str(path))
        assert document is None
        assert why
    for content in ('{"a": 1e300}', '"ü 😀"', "[" * 30 + "]" * 30, "{}"):
        path.write_text(content)
        assert json_file.read_json(str(path)) == (json.loads(content), None)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (forms.text, ["", "a\n"], [None, 1, []]),
        (forms.name, ["a b", "ü"], ["a\n", "\x1b[2J", 1]),
        (forms.path, ["/", "/a b"], ["a", "", "~/x", "/a\0", 1]),
        (forms.flag, [True, False], [0, 1, "yes", None]),
        (forms.whole, [0, -1, 2**62], [True, 1.0, 2**63, "1"]),
        (forms.number, [0, 1.5], [float("nan"), float("inf"), True, "1"]),
        (forms.port, [0, 65535, "80"], [-1, 65536, "", "+1", "8x", True, "٣"]),
        (forms.mode, ["0644", "755", "4755"], ["", "9999", "0o644", 644]),
        (forms.maybe(forms.text), [None, "x"], [1]),
        (forms.list_of(forms.text), [[], ["x"]], [{}, [1], "x"]),
        (forms.map_of(forms.text), [{}, {"a": "x"}], [[], {"a": 1}]),
    ],
)
def test_forms(form: forms.Form, good: list[Any], bad: list[Any]) -> None:
    assert [form(item) for item in good] == [""] * len(good)
    assert all(form(item) for item in bad)
