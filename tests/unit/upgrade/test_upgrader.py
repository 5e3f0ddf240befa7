"""The unit's program: what it does in which order, and that a kill at any step changes no end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.errors import (
    BusyError,
    EngineError,
    IntegrityError,
    NetworkError,
    UsageError,
)
from dream_runner.module_utils.dream_core.files import json_file
from dream_runner.module_utils.dream_core.health import access
from dream_runner.module_utils.dream_core.layout import UPGRADE_UNIT
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import (
    last_good,
    locks,
    receipt,
    record_phase,
)
from dream_runner.module_utils.dream_core.upgrade import (
    progress,
    receipt_changes,
    switch_containers,
    trial,
    upgrader,
)
from unit.decide.decided import HOSTS, stack

SMALL, BIG = b"small", b"big" * 1000


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def reached(model: str) -> dict[str, Any]:
    """Return what the summary says of the way to the AI."""
    asked = {"bind_address": "127.0.0.1", "port": 11434, "model": model}
    asked |= {"services": [], "key_file": "", "has_key": False, "port_notes": []}
    document = access.build(asked, [])
    return {"access": document, "lines": access.lines(document)}


class Host:
    """An install that answers with the small model, and the upgrade that its role has left."""

    def __init__(self, root: Path) -> None:
        self.home, self.state = root / "ai", root / "state"
        self.models = self.home / "data" / "models"
        self.folder = self.home / "upgrade"
        self.unit = root / "etc" / UPGRADE_UNIT
        for folder in (self.models, self.folder, self.unit.parent, self.state / "receipts"):
            folder.mkdir(parents=True)
        (self.models / "small.gguf").write_bytes(SMALL)
        (root / "big.gguf").write_bytes(BIG)
        self.unit.write_text("[Unit]")
        (self.folder / "upgrade.pyz").write_bytes(b"PK")
        (self.home / ".env").write_text("GGUF_FILE=small.gguf\n")
        (self.home / "docker-compose.yml").write_text("{}")
        self.summary = self.home / "summary.json"
        self.summary.write_text("{}")
        self.document: dict[str, Any] = {
            "schema": progress.SCHEMA,
            "install_dir": str(self.home),
            "state_dir": str(self.state),
            "command": "docker",
            "unit": {"name": UPGRADE_UNIT, "scope": "system", "path": str(self.unit)},
            "fetch": {"reserve_bytes": 0, "token_file": ""},
            "url": "http://127.0.0.1:1",
            "summary_file": str(self.summary),
            "model": self.model("big", BIG, f"file://{root}/big.gguf"),
            "before": self.side("small", SMALL),
            "after": self.side("big", BIG),
            "upgraded": {name: {"inputs": {"x": "new"}, "consumes": []} for name in PHASES},
            "facts": {
                "models": {"path": "big", "sha256": sha(BIG)},
                "health": {"model": "big"},
                "summary": {"model": {"id": "big"}, "pending_model": ""},
            },
        }
        self.write_document()
        self.write_receipts()
        self.done: list[str] = []

    def systemctl(self, scope: str, *words: str) -> None:
        assert scope == "system"
        self.done.append(" ".join(words))

    def model(self, name: str, content: bytes, url: str = "") -> dict[str, Any]:
        file = {"file": f"{name}.gguf", "sha256": sha(content), "size_bytes": len(content)}
        return {"id": name, "sha256": sha(content), "files": [{**file, "urls": [url]}]}

    def side(self, name: str, content: bytes) -> dict[str, Any]:
        project = {"name": "p", "services": {"llama-server": {"command": []}}}
        api = {"path": "", "health": "/health", "model": name}
        known = {"model": self.model(name, content), "files": [], "compose": project}
        return {**known, "api": api, "services": [{"id": name}]}

    def write_document(self) -> None:
        json_file.write_json(str(self.folder / "upgrade.json"), self.document)

    def write_receipts(self, origin: str = "made", **states: str) -> None:
        for name in PHASES:
            document = {
                "schema": 2,
                "phase": name,
                "state": states.get(name, "done"),
                "install_dir": str(self.home),
                "version": "1",
                "inputs": {"x": "old"},
                "facts": self.facts(name),
                "resources": self.resources(name, origin),
            }
            assert receipt.write(str(self.state), document) is None

    def facts(self, name: str) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {
            "models": {
                "sha256": sha(SMALL),
                "upgrade": {
                    "model": "big",
                    "sha256": sha(BIG),
                    "files": [{"file": "big.gguf", "size_bytes": len(BIG)}],
                    "until": "small",
                    "unit": UPGRADE_UNIT,
                    "scope": "system",
                },
            },
            "health": {
                "model": "small",
                "degraded": {},
                "proof": {"profile": "full", "model": "small", "services": []},
            },
            "summary": {"model": {"id": "small"}, "pending_model": "big", **reached("small")},
        }
        return known.get(name, {})

    def resources(self, name: str, origin: str) -> list[dict[str, Any]]:
        def of(kind: str, path: Path, **more: Any) -> dict[str, Any]:
            return {"kind": kind, "path": str(path), "origin": "made", "mode": "0644", **more}

        if name == "models":
            return [
                of("model", self.models / "small.gguf", sha256=sha(SMALL), origin=origin),
                of("model", self.models / "big.gguf", sha256=sha(BIG), coming=True),
                of("directory", self.folder),
                of("file", self.folder / "upgrade.pyz"),
                of("file", self.unit),
                {"kind": "unit", "name": UPGRADE_UNIT, "scope": "system", "origin": "made"},
            ]
        if name == "directories":
            return [of("file", self.home / ".env")]
        return [of("file", self.summary)] if name == "summary" else []

    def read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = receipt.read_all(str(self.state))[0][name]
        return document

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def files(self) -> list[str]:
        return sorted(item.name for item in self.models.iterdir() if item.suffix == ".gguf")


class Acted(switch_containers.Containers):
    """A container engine that is not there: every request is recorded."""

    host: Host
    trials: dict[str, str]
    switches: dict[str, str]

    def trial(self, name: str) -> str:
        model = self._document[name]["model"]["id"]
        self.host.done.append(f"try {model}")
        return self.trials.get(model, "")

    def apply(self, name: str) -> dict[str, str]:
        model = self._document[name]["model"]["id"]
        self.host.done.append(f"apply {model}")
        (self.host.home / ".env").write_text(f"GGUF_FILE={model}.gguf\n")
        if self.switches.get(model):
            raise EngineError(self.switches[model], code="ENGINE_NO_ANSWER")
        return {}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("INVOCATION_ID", "this-start")
    return Host(tmp_path)


def run(host: Host, trials: dict[str, str] | None = None, **switches: str) -> int:
    return program_of(host, trials, switches).run()


def program_of(
    host: Host, trials: dict[str, str] | None = None, switches: dict[str, str] | None = None
) -> upgrader.Upgrader:
    def make_engine(*given: Any) -> Acted:
        acted = Acted(*given)
        acted.host, acted.trials, acted.switches = host, trials or {}, switches or {}
        return acted

    return upgrader.Upgrader(
        upgrader.load(str(host.folder / "upgrade.json")),
        make_engine=make_engine,
        systemctl=host.systemctl,
        units=str(host.unit.parent),
        pauses=upgrader.Pauses(0.01, 0.02, 0.01),
    )


def check_upgraded(host: Host) -> None:
    """The state that every way leads to."""
    assert host.files() == ["big.gguf"]
    assert not host.folder.exists()
    assert not host.unit.exists()
    assert progress.look(receipt.read_all(str(host.state))[0]) is None
    models = host.read("models")
    assert (models["facts"]["sha256"], "upgrade" in models["facts"]) == (sha(BIG), False)
    assert [item["path"] for item in models["resources"]] == [str(host.models / "big.gguf")]
    assert models["resources"][0]["seen"]["present"]
    assert not models["resources"][0]["coming"]
    health = host.read("health")["facts"]
    proof = {"profile": "full", "model": "big", "services": [{"id": "big"}]}
    assert (health["model"], health["proof"]) == ("big", proof)
    # A change that fails later is turned back to this model, and not to the small one.
    kept = last_good.read(str(host.state))
    assert kept is not None
    assert kept["proof"] == proof
    summary = {"model": {"id": "big"}, "pending_model": "", **reached("big")}
    assert host.read("summary")["facts"] == summary
    assert json.loads(host.summary.read_text()) == host.read("summary")["facts"]
    assert {host.read(name)["inputs"]["x"] for name in PHASES} == {"new"}
    env = host.read("directories")["resources"][0]["seen"]
    assert env["sha256"] == sha(b"GGUF_FILE=big.gguf\n")


# --- the order --------------------------------------------------------------------------


def test_tried_then_switched_then_retired(host: Host) -> None:
    assert run(host) == 0
    assert host.done == ["try big", "apply big", f"disable {UPGRADE_UNIT}", "daemon-reload"]
    check_upgraded(host)


def test_a_small_model_that_was_there_before_us_stays(host: Host) -> None:
    host.write_receipts(origin="found")
    assert run(host) == 0
    assert host.files() == ["big.gguf", "small.gguf"]


class Killed(BaseException):
    """What no handler of the program catches."""


#: Where the program acts on the host: fetch, try, switch, remove the small model, leave.
STEPS: list[tuple[Any, str]] = [
    *((upgrader, "fetch"), (Acted, "trial"), (Acted, "apply"), (upgrader, "remove")),
    *((Host, "systemctl"), (receipt_changes.Receipts, "record")),
    (receipt_changes.Receipts, "forget"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("place", "step"), STEPS)
def test_a_kill_at_any_step_is_finished_by_the_next_start(
    host: Host, place: Any, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(place, step)

    def killed(*given: Any) -> Any:
        if when == "after":
            whole(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, step, killed)
        with pytest.raises(Killed):
            run(host)
    if step == "forget":
        # Gone with its unit: nobody starts it again, and all but the receipt's list is done.
        assert not host.folder.exists()
        assert host.read("models")["facts"]["sha256"] == sha(BIG)
        return
    assert run(host) == 0
    check_upgraded(host)


@pytest.mark.parametrize("number", range(len(PHASES)))
def test_a_kill_between_two_receipts_is_finished_too(
    host: Host, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = receipt.write, []

    def write(state_dir: str, document: Any) -> Any:
        if len(seen) == number:
            raise Killed
        seen.append(document["phase"])
        return whole(state_dir, document)

    with monkeypatch.context() as patch:
        patch.setattr(receipt, "write", write)
        with pytest.raises(Killed):
            run(host)
    assert run(host) == 0
    check_upgraded(host)


# --- refusals ---------------------------------------------------------------------------


def test_a_model_that_does_not_load_never_takes_the_place(host: Host) -> None:
    assert run(host, {"big": "bad magic"}) == upgrader.FINAL
    assert host.done == ["try big", "try small"]
    assert (host.said()["stage"], host.said()["invocation"]) == ("failed", "this-start")
    assert "bad magic" in host.said()["why"]
    assert host.files() == ["big.gguf", "small.gguf"]
    assert host.read("models")["facts"]["upgrade"]["model"] == "big"
    # The next boot does not try what was refused; another upgrade is another matter.
    assert run(host) == upgrader.FINAL
    assert "bad magic" in host.said()["why"]
    assert host.done == ["try big", "try small"]
    host.document["url"] = "http://127.0.0.1:2"
    host.write_document()
    assert run(host) == 0


def test_a_trial_that_no_model_passes_proves_nothing(host: Host) -> None:
    """An image that cannot run without its card: the switch is then the first proof."""
    assert run(host, {"big": "no device", "small": "no device"}) == 0
    check_upgraded(host)


def test_what_does_not_answer_in_its_place_is_taken_back(host: Host) -> None:
    assert run(host, big="no memory") == upgrader.FINAL
    assert host.done == ["try big", "apply big", "apply small"]
    assert "the small model was restored: no memory" in host.said()["why"]
    assert (host.home / ".env").read_text() == "GGUF_FILE=small.gguf\n"
    assert host.files() == ["big.gguf", "small.gguf"]


def test_a_small_model_that_does_not_come_back_is_told_of(host: Host) -> None:
    assert run(host, big="no memory", small="no engine") == upgrader.FINAL
    assert "the small model does not answer either: no engine" in host.said()["why"]


def test_wrong_bytes_are_final_and_a_dead_network_is_not(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = upgrader.fetch, [NetworkError("no route", code="X") for _ in range(3)]

    def flaky(request: Any, on_progress: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(request, on_progress)

    monkeypatch.setattr(upgrader, "fetch", flaky)
    assert run(host) == 0
    other = Host(host.home.parent / "second")

    def wrong(request: Any, on_progress: Any) -> Any:
        raise IntegrityError("another file", code="X")

    monkeypatch.setattr(upgrader, "fetch", wrong)
    assert run(other) == upgrader.FINAL
    assert other.said()["why"] == "another file"


# --- others at work ---------------------------------------------------------------------


def waiting(host: Host, call: Callable[[], Any]) -> str:
    """Start the program, call when it waits, and return what it waited for."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(host)))
    thread.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if host.said()["stage"] == progress.WAITING:
                break
        time.sleep(0.01)
    why = str(host.said()["why"])
    assert "apply big" not in host.done
    call()
    thread.join(20)
    assert codes == [0]
    return why


def test_it_waits_for_a_run_that_holds_the_lock(host: Host) -> None:
    import fcntl

    handle = os.open(host.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert waiting(host, lambda: os.close(handle)) == "an install is in progress"
    check_upgraded(host)


@pytest.mark.parametrize("state", ["running", "failed"])
def test_it_waits_for_an_install_that_has_not_ended(host: Host, state: str) -> None:
    host.write_receipts(health=state)
    why = waiting(host, host.write_receipts)
    assert why == "the install has not finished its phase health"
    check_upgraded(host)


def test_another_choice_ends_it_before_it_switches(host: Host) -> None:
    program = program_of(host)
    host.document["model"]["id"] = "other"
    host.write_document()
    with pytest.raises(SystemExit) as ended:
        program.run()
    # Not one of the statuses that systemd leaves alone.
    assert ended.value.code not in (0, upgrader.FINAL)
    assert host.done == []


def test_a_phase_does_not_begin_during_a_switch(host: Host) -> None:
    def begin(seconds: float) -> None:
        with locks.kept_off(str(host.state), seconds):
            pass

    begin(0.0)
    with locks.turn(str(host.state)) as mine:
        assert mine
        with pytest.raises(BusyError) as busy:
            begin(0.1)
        assert busy.value.code == "ANOTHER_RUN"
        with locks.turn(str(host.state)) as second:
            assert not second
    begin(0.0)
    done = record_phase.record(state_dir=str(host.state), phase="models", state="running")
    assert done["warnings"] == []


def test_the_holder_of_the_lock_is_named(host: Host) -> None:
    from dream_runner.run.processes import lock

    with (
        locks.turn(str(host.state)),
        pytest.raises(BusyError) as busy,
        lock.hold(str(host.state), "install", print),
    ):
        pass
    assert "the upgrade of the model" in busy.value.what


# --- pieces -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_a_trial_has_no_card_and_is_seen_by_nobody_else(name: str) -> None:
    project = stack(name)["compose"]
    trial = switch_containers.trial_project(project, 4711)
    assert trial is not None
    service = trial["services"]["llama-server"]
    assert service["image"] == project["services"]["llama-server"]["image"]
    assert (service["ports"][0]["host_ip"], service["ports"][0]["published"]) == (
        "127.0.0.1",
        "4711",
    )
    assert not {"deploy", "devices", "networks", "healthcheck"} & set(service)
    command = service["command"]
    assert service["environment"]["LLAMA_ARG_N_GPU_LAYERS"] == "0"
    assert command[command.index("--ctx-size") + 1] == "512"
    assert trial["name"] != project["name"]


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    pauses = [upgrader.pause(tries) for tries in range(12)]
    assert 10 < pauses[0] < 20
    assert all(pause <= 900 * 1.2 for pause in pauses)
    assert pauses[-1] > 700


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("loading\nllama: failed to load model\nbye", " (llama: failed to load model)"),
        ("one\ntwo\nthree", " (two | three)"),
    ],
)
def test_last_words(said: str, words: str) -> None:
    assert trial.last_words(said) == words


OWN = {"ActiveState": "active", "InvocationID": "now"}


@pytest.mark.parametrize(
    ("shown", "said", "stage"),
    [
        (OWN, {"invocation": "now", "stage": "testing"}, "testing"),
        # Words of an earlier start count for nothing, however fresh the file is.
        (OWN, {"invocation": "before", "stage": "testing"}, "starting"),
        (OWN, {}, "starting"),
        (
            OWN | {"ActiveState": "activating"},
            {"invocation": "now", "stage": "fetching"},
            "restarting",
        ),
        (OWN | {"ActiveState": "inactive"}, {"invocation": "now", "stage": "fetching"}, "stopped"),
        ({}, {"invocation": "", "stage": "fetching"}, "stopped"),
        (OWN | {"ActiveState": "failed"}, {"invocation": "now", "stage": "failed"}, "failed"),
        (OWN | {"ActiveState": "failed"}, {"invocation": "before", "stage": "switching"}, "failed"),
    ],
)
def test_what_the_program_said_counts_for_its_own_start_only(
    shown: dict[str, str], said: dict[str, str], stage: str
) -> None:
    assert progress.stage_of(shown, said)[0] == stage


def test_progress_is_that_of_the_bytes(host: Host) -> None:
    receipts = receipt.read_all(str(host.state))[0]
    seen = progress.look(receipts, lambda name, scope: OWN)
    assert seen is not None
    assert (seen["done_bytes"], seen["total_bytes"], seen["stage"]) == (0, len(BIG), "starting")
    (host.models / "big.gguf").write_bytes(BIG)
    seen = progress.look(receipts, lambda name, scope: OWN)
    assert seen is not None
    assert seen["done_bytes"] == len(BIG)
    assert progress.sentence(seen, str) == (
        "small answers now. big takes over when it is downloaded (100 % of 3000)."
    )


def test_a_document_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "upgrade.json"
    path.write_text("{")
    with pytest.raises(UsageError) as error:
        upgrader.load(str(path))
    assert error.value.code == "UPGRADE_UNREADABLE"
    assert upgrader.main([str(path)]) == upgrader.FINAL
    assert "is not a valid upgrade document" in capsys.readouterr().err


@pytest.fixture
def program(tmp_path: Path) -> Path:
    from dream_runner.plugins.action.dream_program import archive

    path = tmp_path / "upgrade.pyz"
    path.write_bytes(archive("upgrade.upgrader"))
    # The same code gives the same bytes, so that copying it again changes nothing.
    assert archive("upgrade.upgrader") == path.read_bytes()
    return path


def test_the_program_runs_with_nothing_but_python(program: Path, host: Host) -> None:
    import subprocess
    import sys

    argv = [sys.executable, "-B", "-I", "-S", str(program)]
    document = str(host.folder / "upgrade.json")
    done = subprocess.run([*argv, "--check", document], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
