"""How the engine's words are taken, what is tried again, and who is waited for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.containers import (
    compose_project,
    engine,
    engine_images,
    engine_objects,
    images,
    project_containers,
)
from dream_runner.module_utils.dream_core.errors import (
    EngineError,
    IntegrityError,
    NetworkError,
    RequirementError,
)
from dream_runner.module_utils.dream_core.health import readiness
from dream_runner.module_utils.dream_core.records import survey
from dream_runner.module_utils.dream_core.resources import observed_host
from dream_runner.module_utils.dream_core.system import tools
from dream_runner.module_utils.dream_core.system.process import Finished

# --- pulls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("toomanyrequests: You have reached your pull rate limit", "IMAGE_PULL"),
        ("dial tcp: lookup ghcr.io: no such host", "IMAGE_PULL"),
        ("received unexpected HTTP status: 503 Service Unavailable", "IMAGE_PULL"),
        ("net/http: TLS handshake timeout", "IMAGE_PULL"),
        ("unauthorized: authentication required", "IMAGE_DENIED"),
        ("pull access denied for x, repository does not exist", "IMAGE_DENIED"),
        ("manifest unknown", "IMAGE_NOT_FOUND"),
        ("write /var/lib/docker/tmp/x: no space left on device", "DISK_FULL"),
        ("filesystem layer verification failed for digest sha256:1", "IMAGE_DIGEST"),
        ("no matching manifest for linux/arm64/v8 in the manifest list", "IMAGE_PLATFORM"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "ENGINE_REFUSED"),
    ],
)
def test_what_stays_is_told_from_what_passes(said: str, code: str) -> None:
    error = engine_images.classify(said, "image")
    assert error.code == code
    assert isinstance(error, NetworkError) is (code == "IMAGE_PULL")


TIMEOUT = {"error": "net/http: TLS handshake timeout"}


def pulled(api: Api, *answers: dict[str, Any]) -> list[float]:
    """Pull while the engine sends these messages, one per attempt; return the pauses between."""
    served, pauses = api(*([item] for item in answers)), []

    try:
        engine_images.pull(
            "docker", "x@1", "linux/amd64", attempts=4, on_progress=quiet, pause=pauses.append
        )
    finally:
        served.join(5)
        assert not served.is_alive()
    return pauses


def quiet(*_: Any) -> None:
    pass


#: Serve one pull for each list of messages; the thread ends after the last.
Api = Callable[..., threading.Thread]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The engine's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(20)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")

        def serve(*answers: list[dict[str, Any]], status: int = 200) -> threading.Thread:
            thread = threading.Thread(target=answer_all, args=(server, answers, status))
            thread.start()
            return thread

        yield serve


def answer_all(server: socket.socket, answers: Sequence[list[dict[str, Any]]], status: int) -> None:
    for messages in answers:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            body = "".join(json.dumps(item) + "\r\n" for item in messages)
            head = f"HTTP/1.0 {status} X\r\nContent-Type: application/json\r\n\r\n"
            connection.sendall((head + body).encode())


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_network_is_given_time_and_more_of_it(api: Api) -> None:
    pauses = pulled(api, TIMEOUT, TIMEOUT, TIMEOUT, {"status": "Pull complete"})
    assert len(pauses) == 3
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses, 1))


def test_the_last_attempt_says_why(api: Api) -> None:
    with pytest.raises(NetworkError, match="TLS handshake timeout"):
        pulled(api, TIMEOUT, TIMEOUT, TIMEOUT, TIMEOUT)


def test_what_stays_is_not_tried_again(api: Api) -> None:
    with pytest.raises(EngineError):
        pulled(api, {"error": "manifest unknown"})


def test_bytes_are_summed_over_layers(api: Api) -> None:
    api(
        [
            {"status": "Pulling from x", "id": "1"},
            {"status": "Downloading", "id": "a", "progressDetail": {"current": 5, "total": 10}},
            {"status": "Downloading", "id": "b", "progressDetail": {"current": 1, "total": 30}},
            {"status": "Download complete", "id": "a"},
            {"status": "Pull complete", "id": "b"},
        ]
    )
    seen: list[tuple[int, int]] = []
    engine_images.pull(
        "docker",
        "x@1",
        "linux/amd64",
        attempts=1,
        on_progress=lambda done, size, note: seen.append((done, size)),
    )
    assert seen[-1] == (40, 40)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("messages", "status", "code"),
    [
        ([{"error": "manifest unknown"}], 200, "IMAGE_NOT_FOUND"),
        ([{"message": "unauthorized"}], 500, "IMAGE_DENIED"),
    ],
)
def test_errors_come_in_the_stream_or_before_it(
    api: Api, tmp_path: Path, messages: list[dict[str, Any]], status: int, code: str
) -> None:
    api(messages, status=status)
    docker = program(tmp_path / "docker", "echo unauthorized; exit 1")
    with pytest.raises(EngineError) as caught:
        engine_images.pull(docker, "x@1", "linux/amd64", attempts=1, on_progress=quiet)
    assert caught.value.code == code


def test_a_credential_helper_is_not_asked_for_what_is_public(api: Api, tmp_path: Path) -> None:
    """The socket first: the command line, with the user's logins, only after a refusal (K7)."""
    asked = tmp_path / "asked"
    docker = program(tmp_path / "docker", f'echo "$@" >> {asked}')
    api([{"status": "Pull complete"}], [{"error": "pull access denied for x"}])
    engine_images.pull(docker, "x@1", "linux/amd64", attempts=1, on_progress=quiet)
    assert not asked.exists()
    engine_images.pull(docker, "x@1", "linux/amd64", attempts=1, on_progress=quiet)
    assert asked.read_text() == "pull --platform linux/amd64 x@1\n"


def test_nothing_of_the_caller_steers_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBUI_PORT", "8090")
    monkeypatch.setenv("COMPOSE_FILE", "/tmp/other.yml")
    assert not {"WEBUI_PORT", "COMPOSE_FILE"} & set(engine.environment())


# --- images -----------------------------------------------------------------------------------


def image(service: str, reference: str, archive: str = "") -> dict[str, str]:
    return {
        "service": service,
        "tag": f"{service}:1",
        "reference": reference,
        "also": "",
        "archive": archive,
        "platform": "linux/amd64",
    }


WANTED = [image("core", "a@1"), image("extra", "b@1"), image("third", "b@1")]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """An engine's images; a pull puts one there, except of what is called broken."""
    here: set[str] = set()

    def pull(command: str, reference: str, *_: Any, **__: Any) -> None:
        if "broken" in reference:
            raise NetworkError(f"{reference}: no answer", code="IMAGE_PULL")
        here.add(reference)

    monkeypatch.setattr(engine_images, "images", lambda command, names: here & set(names))
    monkeypatch.setattr(engine_images, "pull", pull)
    return here


def settle(wanted: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    options = {"bundle": "", "offline": False, "attempts": 1, "parallel": 2, "write": True}
    return images.settle("docker", wanted, ["core"], on_progress=quiet, **{**options, **more})


def test_each_image_is_fetched_once(store: set[str]) -> None:
    assert settle(WANTED) == {"changed": True, "fetched": ["core:1", "third:1"], "degraded": {}}
    assert settle(WANTED) == {"changed": False, "fetched": [], "degraded": {}}


def test_a_dry_run_only_says_so(store: set[str]) -> None:
    assert settle(WANTED, write=False)["changed"]
    assert not store


def test_an_image_that_can_be_missed_is_reported_and_the_core_raises(store: set[str]) -> None:
    found = settle([image("core", "a@1"), image("extra", "broken@1")])
    assert found["degraded"] == {"extra": "broken@1: no answer"}
    with pytest.raises(NetworkError):
        settle([image("core", "broken@1"), image("extra", "b@1")])
    assert "b@1" in store, "what could be had is kept"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("manifest for x@sha256:1 not found: manifest unknown", "IMAGE_NOT_FOUND"),
        ("pull access denied for x, repository does not exist", "IMAGE_DENIED"),
    ],
)
def test_a_digest_that_is_gone_names_the_image_and_the_remedy(
    store: set[str], monkeypatch: pytest.MonkeyPatch, said: str, code: str
) -> None:
    """The bare tag, which may be another image by now, is never used instead."""
    asked: list[str] = []

    def pull(command: str, reference: str, *_: Any, **__: Any) -> None:
        asked.append(reference)
        raise engine_images.classify(said, reference)

    monkeypatch.setattr(engine_images, "pull", pull)
    with pytest.raises(EngineError) as caught:
        settle([image("core", "x@sha256:1")])
    assert caught.value.code == code
    assert "dream-runner lock core:1" in caught.value.hint
    found = settle([image("extra", "x@sha256:1")])
    assert "extra" in found["degraded"]
    if code == "IMAGE_NOT_FOUND":
        lost = "no longer has the pinned digest of extra:1 (x@sha256:1)"
        assert lost in found["degraded"]["extra"]
        assert "'dream-runner lock extra:1'" in found["degraded"]["extra"]
    assert set(asked) == {"x@sha256:1"}


def test_offline_asks_nobody(store: set[str]) -> None:
    with pytest.raises(RequirementError) as caught:
        settle(WANTED, offline=True)
    assert caught.value.code == "OFFLINE_ARTEFACT_MISSING"


def test_an_archive_must_hold_what_the_lock_promises(
    store: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = [image("core", "sha256:1", "images/x.tar")]
    monkeypatch.setattr(engine_images, "load", lambda command, path: None)
    with pytest.raises(IntegrityError) as caught:
        settle(wanted, bundle=str(tmp_path), offline=True)
    assert caught.value.code == "IMAGE_DIGEST"
    monkeypatch.setattr(engine_images, "load", lambda command, path: store.add("sha256:1"))
    assert settle(wanted, bundle=str(tmp_path), offline=True)["changed"]


# --- containers -------------------------------------------------------------------------------


class Fake(compose_project.Stack):
    """A stack whose compose starts what is not called broken."""

    def __init__(self, directory: Path, *services: str) -> None:
        project = {
            "name": "p",
            "services": {name: {"image": "x", "restart": "always"} for name in services},
            "networks": {"default": {}},
            "volumes": {},
        }
        env_file = directory / ".env"
        env_file.touch()
        super().__init__("docker", str(directory), str(env_file), project, {})
        self.running: dict[str, str] = {}
        self.calls: list[list[str]] = []
        self.removed: list[str] = []

    def _text(self) -> str:
        return json.dumps(self._project)

    def _hashes(self) -> dict[str, str]:
        return {name: "h" for name in self._project["services"]}

    def _containers(self) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "name": f"p-{name}-1",
                "service": name,
                "hash": found,
                "state": "running",
                "exit_code": 0,
                "image": "x",
                "environment": {},
                "command": [],
                "labels": {},
                "ports": [],
                "policy": "always",
                "networks": ["p_default"],
            }
            for name, found in self.running.items()
        ]

    def _remove(self, ids: Any) -> None:
        self.removed += ids

    def _remove_networks(self) -> None:
        pass

    def _up(self, names: Any) -> Finished:
        self.calls.append(list(names))
        broken = [name for name in names if "broken" in name]
        if broken:
            return Finished(1, f"Error: {broken[0]} has no legs")
        self.running.update(dict.fromkeys(names, "h"))
        return Finished(0, "")


def test_one_that_fails_does_not_keep_the_others_down(tmp_path: Path) -> None:
    stack = Fake(tmp_path, "core", "one", "broken", "two")
    said: list[str] = []
    found = stack.settle(["core"], write=True, say=said.append)
    assert set(stack.running) == {"core", "one", "two"}
    assert list(found["degraded"]) == ["broken"]
    assert "has no legs" in found["degraded"]["broken"]
    assert stack.calls[0] == ["core"]
    assert "core: created (it was missing)" in said


def test_a_core_service_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        Fake(tmp_path, "broken-core").settle(["broken-core"], write=True, say=quiet)
    assert caught.value.code == "SERVICE_FAILED"


def test_the_second_time_nothing_is_done(tmp_path: Path) -> None:
    stack = Fake(tmp_path, "core", "one")
    assert stack.settle(["core"], write=True, say=quiet)["changed"]
    calls = len(stack.calls)
    assert not stack.settle(["core"], write=True, say=quiet)["changed"]
    assert len(stack.calls) == calls


def test_check_mode_on_a_bare_host_only_says_that_something_would_change(tmp_path: Path) -> None:
    stack = Fake(tmp_path, "core")
    assert stack.settle(["core"], write=False, say=quiet)["changed"]
    assert not (tmp_path / compose_project.FILE).exists()


def test_absent_takes_everything_of_the_project(tmp_path: Path) -> None:
    stack = Fake(tmp_path, "core")
    stack.running = {"core": "h", "one": "h"}
    assert stack.remove(write=True, say=quiet)["changed"]
    assert sorted(stack.removed) == ["core", "one"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Error: Bind for 127.0.0.1:3000 failed: port is already allocated", "PORT_TAKEN"),
        ("listen tcp4 0.0.0.0:3000: bind: address already in use", "PORT_TAKEN"),
        ("Error response from daemon: No such image: x@1", "IMAGE_NOT_FOUND"),
        ("dependency failed to start: container p-db-1 is unhealthy", "SERVICE_FAILED"),
    ],
)
def test_why_a_start_failed(said: str, code: str) -> None:
    error = compose_project.failure(said, ["a"])
    assert error.code == code
    assert code != "PORT_TAKEN" or "3000" in error.what


# --- health -----------------------------------------------------------------------------------


def seen(**more: Any) -> dict[str, Any]:
    found = {"service": "a", "state": "running", "health": "", "exit_code": 0, "restarts": 0}
    return {**found, **more}


def watch(*looks: dict[str, Any] | None) -> readiness.Watch:
    left = list(looks)

    def look() -> list[dict[str, Any]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [found] if found else []

    return readiness.Watch(look, pause=0.05)


SERVICE = {"id": "a", "core": False, "probe": "", "budget_seconds": 1, "once": False}


@pytest.mark.parametrize(
    ("container", "service", "why"),
    [
        (seen(), {}, ""),
        (seen(health="healthy"), {}, ""),
        (None, {}, "it has no container"),
        (seen(state="exited", exit_code=1), {}, "its container stopped with status 1"),
        (seen(state="exited"), {"once": True}, ""),
        (seen(state="exited", exit_code=2), {"once": True}, "it exited with status 2"),
        (seen(health="unhealthy"), {}, "its container is unhealthy, after"),
        (seen(), {"probe": "http://127.0.0.1:1/"}, "Connection refused"),
        # Its container is not up yet: whoever answers on the port is another program.
        (seen(state="created"), {"probe": "http://127.0.0.1:1/"}, "its container is created"),
    ],
)
def test_who_is_up(container: Any, service: dict[str, Any], why: str) -> None:
    found = readiness.wait_for({**SERVICE, **service}, watch(container))
    assert why in found if why else found == ""


def test_a_container_in_a_loop_is_not_waited_for() -> None:
    looks = [seen(state="restarting", restarts=n) for n in range(5)]
    found = readiness.wait_for({**SERVICE, "budget_seconds": 600}, watch(*looks))
    assert "keeps restarting" in found


def test_a_core_service_that_is_down_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_containers, "look", lambda command, project: [seen(service="b")])
    services = [dict(SERVICE), {**SERVICE, "id": "b", "core": True}]
    assert readiness.wait_for_services("docker", "p", services) == {"a": "it has no container"}
    with pytest.raises(EngineError) as caught:
        readiness.wait_for_services("docker", "p", [{**SERVICE, "core": True}])
    assert caught.value.code == "SERVICE_NOT_READY"


def test_the_label_of_files_is_known_to_both_sides() -> None:
    assert layout.FILES_LABEL.startswith("dream-runner.")


# --- who may ask ------------------------------------------------------------------------------

CONTAINER = {"kind": "container", "project": "p", "service": "a"}


DENIED = "permission denied while trying to connect to the Docker daemon socket"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only directory of programs, for a user who is not root."""
    monkeypatch.setattr(tools, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(engine, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    return tmp_path


@pytest.fixture
def refusing(programs: Path) -> Callable[[str], None]:
    """An engine that answers root only; ``sudo`` says whether sudo asks for a password."""

    def refuse(sudo: str) -> None:
        answer = f'[ "$AS_ROOT" ] && echo "[]" && exit; echo "{DENIED}" >&2; exit 1'
        program(programs / "docker", answer)
        refusal = f'echo "{sudo}" >&2; exit 1'
        program(programs / "sudo", refusal if sudo else 'shift; AS_ROOT=1 exec "$@"')

    return refuse


IMAGE = {"kind": "image", "reference": "x@sha256:1"}


def test_before_the_next_login_the_engine_is_asked_as_root(refusing: Any) -> None:
    refusing("")
    assert engine_objects.observe(IMAGE, engine_objects.Engine([IMAGE])) == {"present": False}


@pytest.mark.parametrize("resource", [IMAGE, CONTAINER])
def test_who_may_not_ask_does_not_take_anything_for_gone(
    refusing: Any, resource: dict[str, Any]
) -> None:
    refusing("sudo: a password is required")
    seen = engine_objects.observe(resource, engine_objects.Engine([resource]))
    assert seen == {"present": True, "unknown": True}
    # It is no drift that is known, and no rest either: the role looks.
    found = survey.drift(dict(resource, seen=seen), observed_host.Host([resource]))
    assert found is not None
    known = dict(resource, seen={"present": True, "active": "running"})
    found = survey.drift(known, observed_host.Host([known]))
    assert found is not None
    assert found["found"] == "this user cannot access the container engine"


def test_an_engine_that_is_stopped_has_nothing(programs: Path) -> None:
    said = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    program(programs / "docker", f'echo "{said}" >&2; exit 1')
    assert engine_objects.observe(CONTAINER, engine_objects.Engine()) == {"present": False}
