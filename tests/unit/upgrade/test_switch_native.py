"""The upgrade of the native engine, with the real engine and the real supervisord."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner import catalog, paths
from dream_runner.module_utils.dream_core.files import json_file
from dream_runner.module_utils.dream_core.health import ask_model
from dream_runner.module_utils.dream_core.native import supervisord, supervisord_program
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import receipt, survey
from dream_runner.module_utils.dream_core.resources import registry
from dream_runner.module_utils.dream_core.system import process, systemd
from dream_runner.module_utils.dream_core.system.processes import command_lines, end_processes
from dream_runner.module_utils.dream_core.upgrade import progress, switch_native, trial, upgrader

ENGINE = paths.content() / "roles" / "services" / "files" / "dream_engine.py"
SMOKE = (catalog.HERE / "smoke.gguf").read_bytes()
#: The same model under another digest: bytes after the last tensor are ignored.
MODELS = {"small": SMOKE, "big": SMOKE + b"\x5a" * 4096, "bad": b"GGUF" + b"\xff" * 4096}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Host:
    """A native installation under supervisord that answers with the small model."""

    def __init__(self, root: Path, final: str) -> None:
        self.home, self.state, self.final = root / "ai", root / "state", final
        self.paths = progress.Paths(str(self.home))
        for name in ("engine", "config/engine", "logs", "run", "supervisor", "data/models"):
            (self.home / name).mkdir(parents=True)
        Path(self.paths.folder).mkdir(mode=0o700)
        self.models = Path(self.paths.models)
        (self.models / "small.gguf").write_bytes(MODELS["small"])
        (root / f"{final}.gguf").write_bytes(MODELS[final])
        self.program = shutil.copy(ENGINE, self.home / "engine")
        self.config = self.home / "config" / "engine" / "engine.json"
        self.port = trial.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("upgrade.json", "upgrade.pyz", "network.env"):
            (Path(self.paths.folder) / name).write_text("")
        self.sides = {"before": self.side("small"), "after": self.side(final)}
        for name, side in self.sides.items():
            json_file.write_json(self.paths.side(name), side)
        self.document = self.describe(root)
        json_file.write_json(self.paths.document, self.document)
        self.start("before")
        self.write_receipts()

    def side(self, name: str) -> dict[str, Any]:
        config = {"model": str(self.models / f"{name}.gguf"), "alias": name, "host": "127.0.0.1"}
        config |= {"port": self.port, "context_tokens": 1024, "threads": 1, "parallel": 1}
        content = json.dumps(config)
        revision = sha(content.encode())[:16]
        argv = [sys.executable, str(self.program), str(self.config), f"--revision={revision}"]
        return {
            "sha256": sha(MODELS[name]),
            "config": config,
            "files": [{"path": str(self.config), "mode": "0644", "content": content}],
            "command": argv,
            "revision": revision,
            "supervisor": "supervisord",
            "unit": "",
            "program": "engine",
            "log": str(self.home / "logs" / "engine.log"),
        }

    def model(self, name: str, url: str = "") -> dict[str, Any]:
        content = MODELS[name]
        file = {"file": f"{name}.gguf", "sha256": sha(content), "size_bytes": len(content)}
        return {"id": name, "sha256": sha(content), "files": [{**file, "urls": [url]}]}

    def describe(self, root: Path) -> dict[str, Any]:
        def side(name: str) -> dict[str, Any]:
            api = {"path": "", "health": "/health", "model": name}
            env = {"LLM_MODEL": name, "GGUF_FILE": f"{name}.gguf"}
            return {"model": self.model(name), "env": env, "api": api, "services": []}

        return {
            "schema": progress.SCHEMA,
            "engine": "native",
            "install_dir": str(self.home),
            "state_dir": str(self.state),
            "command": "docker",
            "unit": {"name": "dream-runner-upgrade", "scope": "background", "path": ""},
            "fetch": {"reserve_bytes": 0, "token_file": ""},
            "url": self.url,
            "summary_file": str(self.home / "summary.json"),
            "model": self.model(self.final, f"file://{root}/{self.final}.gguf"),
            "before": side("small"),
            "after": side(self.final),
            "upgraded": {name: {"inputs": {"x": "new"}, "consumes": []} for name in PHASES},
            "facts": {
                "models": {"path": self.final, "sha256": sha(MODELS[self.final])},
                "health": {"model": self.final},
            },
        }

    def start(self, name: str) -> None:
        side = self.sides[name]
        self.config.write_text(side["files"][0]["content"])
        python, environment = sys.executable, process.small_environment()
        supervisord.ensure(self.supervised(side), python, environment)
        ask_model.wait_until_ready(self.url + "/health", 60)

    def supervised(self, side: dict[str, Any]) -> supervisord_program.Program:
        return supervisord_program.Program(str(self.home), "engine", side["command"], side["log"])

    def write_receipts(self) -> None:
        config = self.supervised(self.sides["before"]).config
        resources: dict[str, list[dict[str, Any]]] = {
            "models": [
                {"kind": "model", "path": str(self.models / "small.gguf")},
                {"kind": "model", "path": str(self.models / f"{self.final}.gguf"), "coming": True},
                {"kind": "directory", "path": self.paths.folder},
                {"kind": "file", "path": self.paths.document},
                {
                    "kind": "background",
                    "name": "dream-runner-upgrade",
                    "program": self.paths.program,
                    "path": self.paths.document,
                },
            ],
            "services": [
                {"kind": "file", "path": str(self.config)},
                {"kind": "file", "path": self.paths.side("before"), "volatile": True},
                {"kind": "file", "path": self.paths.side("after"), "volatile": True},
                {"kind": "file", "path": config},
                {"kind": "supervisor", "config": config, "program": "engine"},
            ],
        }
        facts: dict[str, dict[str, Any]] = {
            "models": {"sha256": sha(MODELS["small"]), "upgrade": self.pending()},
            "services": {"engine": "native", "revision": self.sides["before"]["revision"]},
            "health": {"model": "small", "degraded": {}, "proof": {"model": "small"}},
        }
        for name in PHASES:
            listed = [{"origin": "made", **item} for item in resources.get(name, [])]
            for item in listed:
                if item["kind"] == "model":
                    item["sha256"] = sha(MODELS[Path(item["path"]).stem])
            document = {
                "schema": 2,
                "phase": name,
                "state": "done",
                "install_dir": str(self.home),
                "version": "1",
                "inputs": {"x": "old"},
                "facts": facts.get(name, {}),
                "resources": registry.observe_all(listed),
            }
            assert receipt.write(str(self.state), document) is None

    def pending(self) -> dict[str, Any]:
        file = {"file": f"{self.final}.gguf", "size_bytes": len(MODELS[self.final])}
        words = {"unit": "dream-runner-upgrade", "scope": "background", "until": "small"}
        found = {"model": self.final, "sha256": sha(MODELS[self.final]), "files": [file]}
        return {**found, **words}

    def run(self) -> int:
        return upgrader.Upgrader(upgrader.load(self.paths.document)).run()

    def served(self) -> str:
        return ask_model.served(self.url)

    def read(self, phase: str) -> dict[str, Any]:
        return dict(receipt.read_all(str(self.state))[0][phase])

    def processes(self) -> list[list[str]]:
        program = str(self.program)
        return [argv for argv in command_lines().values() if program in argv]

    def stop(self) -> None:
        supervisord.stop(self.supervised(self.sides["before"]).config)
        assert self.processes() == []


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    found = Host(tmp_path, getattr(request, "param", "big"))
    yield found
    found.stop()


def check_upgraded(host: Host) -> None:
    """The state that every way leads to."""
    assert host.served() == "big"
    assert ask_model.complete(host.url, "big", 60, exact=True)["text"]
    side = host.sides["after"]
    assert supervisord.problem(host.supervised(side)) == ""
    assert sorted(item.name for item in host.models.glob("*.gguf")) == ["big.gguf"]
    assert not os.path.exists(host.paths.folder)
    assert host.processes() == [side["command"]]
    receipts = receipt.read_all(str(host.state))[0]
    assert progress.look(receipts) is None
    assert receipts["services"]["facts"]["revision"] == side["revision"]
    health = receipts["health"]["facts"]
    assert (health["model"], health["proof"]["model"]) == ("big", "big")
    assert {receipts[name]["inputs"]["x"] for name in PHASES} == {"new"}
    # The next install finds the host as the receipts describe it.
    assert not [line for found in survey.survey(receipts, verify=True).values() for line in found]
    kinds = [item["kind"] for item in receipts["services"]["resources"]]
    assert kinds == ["file", "file", "supervisor"]
    assert [item["kind"] for item in receipts["models"]["resources"]] == ["model"]


def test_tried_switched_and_retired(host: Host) -> None:
    assert host.served() == "small"
    assert host.run() == 0
    check_upgraded(host)


class Killed(BaseException):
    """Ends the program at once: no handler catches it."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["trial", "apply"])
def test_a_kill_is_finished_by_the_next_start(
    host: Host, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(switch_native.Native, step)

    def killed(self: Any, name: str) -> Any:
        if when == "after":
            whole(self, name)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(switch_native.Native, step, killed)
        with pytest.raises(Killed):
            host.run()
    assert host.run() == 0
    check_upgraded(host)


@pytest.mark.parametrize("host", ["bad"], indirect=True)
def test_a_model_that_does_not_load_leaves_the_small_one(host: Host) -> None:
    before = host.processes()
    assert host.run() == upgrader.FINAL
    said = json.loads(Path(host.paths.state).read_text())
    assert said["stage"] == progress.FAILED
    assert "it was loaded beside the running engine and failed" in said["why"]
    assert "the engine exited (exit status 1)" in said["why"]
    assert (host.served(), host.processes()) == ("small", before)
    seen = progress.look(receipt.read_all(str(host.state))[0])
    assert seen is not None
    assert progress.sentence(seen, str).startswith("small keeps answering. bad does not take its")
    assert not os.path.exists(host.paths.trial)


class Front(http.server.BaseHTTPRequestHandler):
    """What stands before the engine at its real address: it answers no question to ``big``."""

    engine = ""

    def do_GET(self) -> None:
        self.pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if json.loads(body)["model"] == "big":
            self.send_error(500, "no memory")
        else:
            self.pass_on(body)

    def pass_on(self, body: bytes | None) -> None:
        asked = urllib.request.Request(self.engine + self.path, body, dict(self.headers))
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.URLError:
            status, content = 502, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def front(host: Host) -> Iterator[str]:
    handler = type("Handler", (Front,), {"engine": host.url})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_does_not_answer_in_its_place_is_taken_back(host: Host, front: str) -> None:
    json_file.write_json(host.paths.document, {**host.document, "url": front})
    assert host.run() == upgrader.FINAL
    said = json.loads(Path(host.paths.state).read_text())
    assert "the small model was restored: " in said["why"]
    assert "500" in said["why"]
    assert host.served() == "small"
    assert host.processes() == [host.sides["before"]["command"]]
    assert not [
        line
        for phase, found in survey.survey(receipt.read_all(str(host.state))[0]).items()
        for line in found
        # The program was not started by its keeper here.
        if phase == "services"
    ]


def test_it_waits_until_the_engine_is_described(host: Host) -> None:
    """The services role writes it, after the models role has started the program."""
    native = switch_native.Native(host.document, host.paths, print)
    assert native.reason_to_wait() == ""
    os.unlink(host.paths.side("after"))
    assert "for big is not written yet" in native.reason_to_wait()
    # What is there may be another model's, of an earlier choice.
    json_file.write_json(host.paths.side("after"), {**host.sides["after"], "sha256": "0" * 64})
    assert "for big is not written yet" in native.reason_to_wait()


def test_a_trial_serves_this_machine_only_and_little() -> None:
    config = {"host": "0.0.0.0", "port": 1, "context_tokens": 65536, "parallel": 4, "threads": 3}
    assert switch_native.trial_config(config, 4711) == {
        "host": "127.0.0.1",
        "port": 4711,
        "context_tokens": 512,
        "parallel": 1,
        "threads": 3,
    }


#: A service manager with one unit: its file is the command, and ``restart`` really restarts it.
SYSTEMCTL = """#!{python}
import json, os, signal, subprocess, sys, time
words = sys.argv[1:]
base = {base!r}
with open(base + "/asked", "a") as log:
    log.write(" ".join(words) + "\\n")
pid = int(open(base + "/pid").read()) if os.path.exists(base + "/pid") else 0
if words[1] == "show":
    print("MainPID=%d" % pid)
if words[1] == "restart":
    if pid:
        os.kill(pid, signal.SIGKILL)
        while os.path.exists("/proc/%d/exe" % pid):
            time.sleep(0.01)
    argv = json.load(open(base + "/engine.service"))
    null = subprocess.DEVNULL
    started = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    open(base + "/pid", "w").write(str(started.pid))
"""


def test_a_unit_is_restarted_with_its_new_file_and_only_then(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.stop()
    (host.models / "big.gguf").write_bytes(MODELS["big"])
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "systemctl"
    program.write_text(SYSTEMCTL.format(python=sys.executable, base=str(tools)))
    program.chmod(0o755)
    monkeypatch.setattr(systemd.tools, "SYSTEM_PATH", str(tools))
    for name, side in host.sides.items():
        unit = {"path": str(tools / "engine.service"), "mode": "0644"}
        unit["content"] = json.dumps(side["command"])
        side.update(supervisor="systemd-system", unit="engine.service")
        side["files"].append(unit)
        json_file.write_json(host.paths.side(name), side)
    native = switch_native.Native(host.document, host.paths, print)
    try:
        for side, model in (("before", "small"), ("after", "big"), ("after", "big")):
            assert native.apply(side) == {}
            assert host.served() == model
        asked = (tools / "asked").read_text().splitlines()
        restarts = [line for line in asked if "show" not in line]
        assert restarts == 2 * [
            "--system daemon-reload",
            "--system reset-failed engine.service",
            "--system restart engine.service",
        ]
        # A switch that was killed after the files and before the restart.
        assert native.apply("before") == {}
        host.config.write_text(host.sides["after"]["files"][0]["content"])
        (tools / "engine.service").write_text(json.dumps(host.sides["after"]["command"]))
        assert native.apply("after") == {}
        assert host.served() == "big"
        assert native.touched() == [
            ("file", str(host.config)),
            ("file", str(tools / "engine.service")),
            ("file", str(host.home / ".env")),
        ]
        assert "LLM_MODEL=big\n" in (host.home / ".env").read_text()
    finally:
        end_processes([int((tools / "pid").read_text())])
