"""Status reads the machine back: an engine that is there, ill, silent, foreign or gone."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import doctor, status
from dream_runner.commands.status import Engine
from dream_runner.diagnose.checks import CHECKS as HOST_CHECKS
from dream_runner.machine.resume import Before
from dream_runner.module_utils.dream_core.health import serving
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import receipt

GOOD = {
    "/health": (200, {"status": "ok"}),
    "/v1/models": (200, {"data": [{"id": "smoke"}]}),
    "/v1/chat/completions": (200, {"choices": [{"message": {"content": "hello"}}]}),
}


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the test's server for the engine; ``health/test_serving.py`` is about whose it is."""
    monkeypatch.setattr(serving, "is_ours", lambda receipts, listener: True)


@contextlib.contextmanager
def engine(replies: dict[str, tuple[int, Any]]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code, body = replies.get(self.path, (404, {}))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def write(state: Path, port: int, **states: str) -> None:
    for phase in PHASES:
        seen = {"present": True, "listening": True}
        resources = [{"kind": "port", "port": port, "address": "127.0.0.1", "origin": "made"}]
        resources[0]["seen"] = seen
        document = {
            "schema": 1,
            "phase": phase,
            "state": states.get(phase, "done"),
            "install_dir": "/srv/dream",
            "version": "1",
            "resources": resources if phase == "services" else [],
            "facts": {},
        }
        assert receipt.write(str(state), document) is None


def test_ready_means_an_answer(tmp_path: Path) -> None:
    with engine(GOOD) as port:
        write(tmp_path, port)
        found = status.run(str(tmp_path))
    assert (found.state, found.exit_code) == ("ready", 0)
    assert found.engine.answer == "hello"
    assert found.engine.model == "smoke"
    assert "ready" in status.as_text(found)


@pytest.mark.parametrize(
    "broken",
    [
        {"/v1/models": (200, {"data": []})},
        {"/v1/models": (500, {})},
        {"/v1/models": (200, b"<html>")},
        {"/v1/chat/completions": (503, {"error": "loading model"})},
        {"/v1/chat/completions": (200, {"choices": []})},
        {"/v1/chat/completions": (200, {"choices": [{"message": {"content": ""}}]})},
        {"/v1/chat/completions": (200, {"choices": [{"message": {"content": " \n"}}]})},
        {"/v1/chat/completions": (200, [])},
    ],
)
def test_healthy_without_an_answer_is_degraded(tmp_path: Path, broken: dict[str, Any]) -> None:
    """HTTP 200 of the health page proves nothing (catalogue row C5)."""
    with engine(GOOD | broken) as port:
        write(tmp_path, port)
        found = status.run(str(tmp_path))
    assert (found.state, found.exit_code) == ("degraded", 11)
    assert found.engine.healthy
    assert found.engine.why


def test_the_thoughts_of_a_model_are_an_answer(tmp_path: Path) -> None:
    message = {"content": "", "reasoning_content": "The user greets."}
    with engine(
        GOOD | {"/v1/chat/completions": (200, {"choices": [{"message": message}]})}
    ) as port:
        write(tmp_path, port)
        found = status.run(str(tmp_path))
    assert (found.state, found.engine.answer) == ("ready", "The user greets.")


def test_a_stranger_on_the_port_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_ours", lambda receipts, listener: False)
    with engine(GOOD) as port:
        write(tmp_path, port)
        found = status.run(str(tmp_path))
    assert (found.state, found.exit_code) == ("stopped", 8)
    assert f"port {port} is in use by " in found.detail
    assert not found.engine.answers


def test_nobody_listens(tmp_path: Path) -> None:
    with engine(GOOD) as port:
        pass
    write(tmp_path, port)
    found = status.run(str(tmp_path))
    assert (found.state, found.exit_code) == ("stopped", 8)
    assert str(port) in found.detail


def test_absent(tmp_path: Path) -> None:
    found = status.run(str(tmp_path / "none"))
    assert (found.state, found.exit_code) == ("absent", 3)
    assert not (tmp_path / "none").exists()


def test_interrupted_wins_over_an_engine_that_answers(tmp_path: Path) -> None:
    with engine(GOOD) as port:
        write(tmp_path, port, health="running")
        found = status.run(str(tmp_path))
    assert (found.state, found.exit_code) == ("interrupted", 11)
    assert "phase 13 of 14 (health)" in found.detail
    assert found.engine.answers


def test_a_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with engine(GOOD) as port:
        write(tmp_path, port)
        assert status.run(str(tmp_path)).state == "ready"


def test_a_feature_that_does_not_work_is_degraded_and_named() -> None:
    answering = status.Engine(listening=True, ours=True, healthy=True, answers=True, seconds=1.0)
    failed = {"documents": "the vector database does not have the document"}
    found, detail = status.judge(Before("finished"), answering, {}, None, failed)
    assert found == "degraded"
    assert "documents failed: the vector database" in detail
    assert status.judge(Before("finished"), answering, {}, None, {})[0] == "ready"


def test_a_unit_that_failed_is_degraded() -> None:
    answering = Engine(listening=True, ours=True, answers=True)
    state, detail = status.judge(Before("finished"), answering, {"dream-web": "failed"})
    assert (state, detail) == ("degraded", "dream-web is failed")


def test_no_feature_waits_for_a_model_that_has_come() -> None:
    waits = "it waits for the model that is still being downloaded"
    document = {
        "chat": "http://127.0.0.1:3000/",
        "features": {"passed": ["chat"], "failed": {}, "unproven": {"agent": waits}},
    }
    receipts = {"summary": {"facts": {"access": document}}}
    engine = Engine("http://127.0.0.1:1", answers=True)
    now = status.current_access(receipts, engine, {"stage": "fetching"})["features"]
    assert now["unproven"] == {"agent": waits}
    then = status.current_access(receipts, engine, None)["features"]
    assert "doctor --deep" in then["unproven"]["agent"]
    assert then["passed"] == ["chat"]


@pytest.mark.parametrize(
    ("stage", "why", "state", "part"),
    [
        ("fetching", "", "ready", "the model answered in"),
        ("waiting", "an install is at work", "ready", "the model answered in"),
        ("restarting", "", "ready", "the model answered in"),
        ("failed", "bad magic", "degraded", "big does not take its place: bad magic"),
        ("stopped", "its unit does not run", "degraded", "its unit does not run"),
    ],
)
def test_an_upgrade_under_way_is_as_it_should_be(
    stage: str, why: str, state: str, part: str
) -> None:
    answering = Engine(listening=True, ours=True, answers=True)
    pending = {"model": "big", "until": "small", "stage": stage, "why": why}
    pending |= {"done_bytes": 1, "total_bytes": 2, "unit": "dream-runner-upgrade.service"}
    units = {"dream-runner-upgrade.service": "activating"}
    found, detail = status.judge(Before("finished"), answering, units, pending)
    assert found == state
    assert part in detail
    said = status.as_text(status.Status(found, detail=detail, engine=answering, upgrade=pending))
    assert "  Upgrade       small " in said


def test_json_has_the_state_and_the_exit_code(tmp_path: Path) -> None:
    data = status.as_json(status.run(str(tmp_path)))
    assert data["state"] == "absent"
    assert data["exit_code"] == 3
    json.dumps(data)


# --- doctor ------------------------------------------------------------------


def found_by(findings: list[doctor.Finding], check: str) -> list[doctor.Finding]:
    return [finding for finding in findings if finding.id == check]


def test_doctor_on_a_healthy_machine(tmp_path: Path) -> None:
    with engine(GOOD) as port:
        write(tmp_path, port)
        findings = doctor.run(str(tmp_path))
    # Of this machine, not of the install; and the engine of a test is a stranger's process.
    others = ("disk", "memory", "gpu-driver", "packages", "ports")
    bad = [item for item in findings if item.severity != "ok" and item.id not in others]
    assert bad == []
    assert {item.id for item in findings} >= {*HOST_CHECKS, *doctor.CHECKS} - {*others, "gpu"}


def test_doctor_where_nothing_is_installed(tmp_path: Path) -> None:
    findings = doctor.run(str(tmp_path / "none"))
    assert found_by(findings, "engine")[0].severity == "ok"


def test_doctor_sees_what_is_gone_stopped_unfinished_and_open(tmp_path: Path) -> None:
    with engine(GOOD) as port:
        pass
    write(tmp_path, port)
    secret = tmp_path / ".env"
    secret.write_text("A=1")
    secret.chmod(0o644)
    document, _ = receipt.read_all(str(tmp_path))
    broken = dict(document["directories"])
    broken["resources"] = [
        {"kind": "file", "path": str(secret), "secret": True, "origin": "made"},
        {"kind": "file", "path": str(tmp_path / "gone"), "origin": "made"},
    ]
    receipt.write(str(tmp_path), broken)
    (tmp_path / "receipts" / "docker.json").write_text("{")
    (tmp_path / "settings.json").write_text("[")
    findings = doctor.run(str(tmp_path))
    assert found_by(findings, "drift")[0].severity == "error"
    assert found_by(findings, "secrets")[0].remedy == f"run: chmod 600 {secret}"
    assert len(found_by(findings, "records") + found_by(findings, "settings")) == 2
    assert doctor.exit_code(findings) == 3
    assert all(item.remedy for item in findings if item.severity != "ok")
    assert [item.severity for item in findings] == sorted(
        (item.severity for item in findings), key=["error", "warning", "ok"].index
    )


def test_one_broken_check_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(place: doctor.Place) -> Iterator[doctor.Finding]:
        raise RuntimeError("oops")

    monkeypatch.setitem(doctor.CHECKS, "disk", breaks)
    findings = doctor.run(str(tmp_path))
    assert "oops" in found_by(findings, "disk")[0].evidence
    assert found_by(findings, "clock")


@pytest.mark.parametrize(
    ("severities", "code"), [([], 0), (["ok"], 0), (["warning", "ok"], 11), (["error"], 3)]
)
def test_doctor_exit_codes(severities: list[str], code: int) -> None:
    assert doctor.exit_code([doctor.Finding("x", item, "") for item in severities]) == code


def finding(check: str, severity: str, evidence: str = "", remedy: str = "") -> doctor.Finding:
    return doctor.Finding(check, severity, evidence, remedy)


def test_a_clean_doctor_is_one_line() -> None:
    assert doctor.as_text([finding("a", "ok"), finding("b", "ok", "x")]) == "All 2 checks passed."


def test_problems_with_one_remedy_stand_together() -> None:
    again = "run 'dream-runner install' to repair it"
    found = [
        finding("drift", "error", "unit x: stopped (was running)", again),
        finding("engine", "error", "nothing listens on port 1", again),
        finding("disk", "warning", "/: 3.0 MB free", "free some space"),
        finding("clock", "ok"),
    ]
    assert (
        doctor.as_text(found)
        == """\
3 problems found; 1 check passed.

error    drift: unit x: stopped (was running)
error    engine: nothing listens on port 1
    Run 'dream-runner install' to repair it.

warning  disk: /: 3.0 MB free
    Free some space."""
    )


def test_where_nothing_is_installed_no_row_says_ok() -> None:
    found = [finding("records", "ok"), finding("engine", "ok", status.NOTHING_INSTALLED)]
    assert doctor.as_text(found).startswith("Nothing is installed for this user.")
    absent = status.Status("absent", detail=status.NOTHING_INSTALLED)
    assert status.as_text(absent).splitlines()[0] == status.NOTHING_INSTALLED


def test_the_model_is_the_one_that_answers_now(tmp_path: Path) -> None:
    """After the upgrade of a fast start the summary still names the small one."""
    with engine(GOOD) as port:
        write(tmp_path, port)
        document, _ = receipt.read_all(str(tmp_path))
        reached = {"chat": f"http://127.0.0.1:{port}/", "api": "x", "model": "small"}
        reached |= {"bind_address": "127.0.0.1", "guard": "none"}
        receipt.write(str(tmp_path), document["summary"] | {"facts": {"access": reached}})
        text = status.as_text(status.run(str(tmp_path)))
    assert "(model: smoke)" in text
    assert f"http://127.0.0.1:{port}/\n" in text
