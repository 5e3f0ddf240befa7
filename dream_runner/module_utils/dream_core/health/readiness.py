"""Wait for several services at once, each up to its own time limit.

A service is up when it answers over HTTP or, if it publishes no port, when the engine's health
check of its container passes. A container that has stopped, or that restarts again and again, is
not waited for.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .. import arguments
from ..containers import project_containers
from ..errors import DreamError, EngineError
from ..files.logs import last_lines
from ..resources.watched import failed_for_good
from ..types.health import FeatureTests
from ..types.service import Container, ServiceSummary
from . import ask_model, engine_key, feature_probes

#: A container that restarts this often during the wait is in a loop.
_LOOP = 3
#: Seconds between two looks at a service that is not up yet.
PAUSE_SECONDS = 1.0
_PROGRAM = {"state": "running", "restarts": 0, "exit_code": 0, "health": ""}  # No container.


#: The options of the module dream_probe.
SPEC = {
    "url": {"type": "str", "required": True},
    "health_path": {"type": "str", "default": "/health"},
    "model": {"type": "str", "required": True},
    "deadline_seconds": {"type": "int", "default": 300},
    "watch": {"type": "dict"},
    "services": {"type": "list", "elements": "dict", "default": []},
    "project": {"type": "str", "default": ""},
    "command": {"type": "str", "default": "docker"},
    "log": {"type": arguments.path},
    "page": {"type": "bool", "default": False},
    # Options of the feature tests: ``env_file``, ``offline``, ``upgrading``. Without them no
    # feature is tested.
    "features": {"type": "dict"},
    # A path, not the key itself.
    "key_file": {"type": arguments.path, "no_log": False},
}


def carry_out(params: Mapping[str, Any], *, write: bool) -> Dict[str, Any]:
    """Run a dream_probe task, in this process or in the module. Raises DreamError.

    Without ``write`` nothing is tested, because nothing may be running yet.
    """
    if not write:
        return {"changed": False}
    try:
        return _asked(params)
    except DreamError as error:
        lines = last_lines(params["log"]) if params["log"] else []
        if lines:
            error.hint = "the last lines of %s: %s" % (params["log"], " | ".join(lines))
        raise


def _asked(params: Mapping[str, Any]) -> Dict[str, Any]:
    watch, seconds = params["watch"], params["deadline_seconds"]
    down = wait_for_services(params["command"], params["project"], params["services"])
    ready = ask_model.wait_until_ready(
        params["url"] + params["health_path"],
        seconds,
        lambda: failed_for_good(watch) if watch else "",
    )
    key = engine_key.api_key(params["key_file"] or "")
    answer = ask_model.complete(params["url"], params["model"], seconds, exact=True, key=key)
    if params["page"]:
        _check_page(params["url"] + "/")
    features = probe_features(params, down)
    told = {**down, **features.get("failed", {})}
    return {
        "changed": False,
        "features": features,
        "ready_seconds": round(ready, 3),
        "answer_seconds": round(answer["seconds"], 3),
        "answer_characters": len(answer["text"]),
        "busy": answer["busy"],
        "down": down,
        "warnings": ["%s: %s" % item for item in sorted(told.items())],
    }


def probe_features(params: Mapping[str, Any], down: Mapping[str, str]) -> FeatureTests:
    """Test each feature once; return what passed, what failed and what was not tested."""
    how = params["features"]
    if not how:
        return {}
    return feature_probes.run(
        params["services"],
        params["model"],
        feature_probes.read_env(str(how["env_file"])),
        offline=bool(how.get("offline")),
        upgrading=bool(how.get("upgrading")),
        down=down,
    )


def _check_page(url: str) -> None:
    why = ask_model.page(url)
    if why:
        raise EngineError(
            "the model answers, but its chat page does not: %s" % why,
            code="CHAT_PAGE_MISSING",
            where=url,
            hint="run 'dream-runner install --full' to install the engine's packages again",
        )


class Watch:
    """The project's containers, read at most once in ``pause`` seconds for all threads."""

    def __init__(self, look: Callable[[], List[Container]], pause: float = PAUSE_SECONDS) -> None:
        self._look = look
        self.pause = pause
        self._lock = threading.Lock()
        self._seen: Dict[str, Container] = {}
        self._first: Dict[str, int] = {}
        self._at = 0.0

    def container(self, service: str) -> Optional[Container]:
        """Return the container of a service as it is now, or None."""
        with self._lock:
            now = time.monotonic()
            if not self._at or now - self._at > self.pause:
                self._seen = {item["service"]: item for item in self._look()}
                for name, item in self._seen.items():
                    self._first.setdefault(name, item["restarts"])
                self._at = now
            return self._seen.get(service)

    def restarts(self, service: str, container: Container) -> int:
        """Return the number of restarts since the watch began."""
        return int(container["restarts"]) - self._first.get(service, 0)


def wait_for_services(
    command: str, project: str, services: Sequence[ServiceSummary]
) -> Dict[str, str]:
    """Wait for all services; return ``{id: why}`` for the optional ones that are not up.

    Raises EngineError SERVICE_NOT_READY if a core service is not up.
    """
    if not services:
        return {}
    programs: List[Any] = [{**_PROGRAM, "service": item["id"]} for item in services]
    watch = Watch(lambda: project_containers.look(command, project) if project else programs)
    with ThreadPoolExecutor(max_workers=len(services)) as pool:
        reasons = dict(
            zip(
                (item["id"] for item in services),
                pool.map(lambda item: wait_for(item, watch), services),
            )
        )
    down = {name: why for name, why in reasons.items() if why}
    broken = [item["id"] for item in services if item["core"] and item["id"] in down]
    if broken:
        raise EngineError(
            "not ready: %s" % "; ".join("%s: %s" % (name, down[name]) for name in broken),
            code="SERVICE_NOT_READY",
            where=", ".join(broken),
            hint="see 'docker compose logs %s' in the install directory" % " ".join(broken),
        )
    return down


def wait_for(service: ServiceSummary, watch: Watch) -> str:
    """Wait for a service; return an empty string if it is up, else why it is not."""
    began = time.monotonic()
    while True:
        seen, final = look_at(service, watch)
        if not seen:
            return ""
        waited = time.monotonic() - began
        if final or waited > float(service["budget_seconds"]):
            return seen if final else "%s, after %.0f s" % (seen, waited)
        time.sleep(watch.pause)


def look_at(service: ServiceSummary, watch: Watch) -> Any:
    """Return ``(why it is not up, whether waiting is useless)``; ``("", False)`` if it is up."""
    container = watch.container(service["id"])
    if container is None:
        return "it has no container", True
    state = container["state"]
    if service.get("once"):
        if state == "exited":
            code = container["exit_code"]
            return ("it exited with status %d" % code if code else ""), bool(code)
        return "it is still working", False
    if state in ("exited", "dead"):
        return "its container stopped with status %d" % container["exit_code"], True
    if watch.restarts(service["id"], container) >= _LOOP:
        return "its container keeps restarting", True
    if state != "running":
        # If its port answers now, that is another program.
        return "its container is %s" % state, False
    if service.get("probe"):
        answer = ask_model.get(service["probe"])
        # A page that requires a sign-in is up.
        up = answer["status"] is not None and (
            answer["status"] < 400 or answer["status"] in (401, 403)
        )
        return ("" if up else answer["error"] or "status %s" % answer["status"]), False
    if container["health"] in ("", "healthy"):
        return "", False
    return "its container is %s" % (container["health"] or state), False
