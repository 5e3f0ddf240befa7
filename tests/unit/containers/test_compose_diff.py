"""What is rendered is what the real compose reads; what is due follows from what runs."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from images import compose as real

from dream_runner.decide.services import compose_file
from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.containers import compose_diff
from unit.decide.decided import HOSTS, stack

FEATURES = ("voice", "workflows", "rag", "agents", "images", "observability", "search")


@pytest.fixture(scope="session")
def program() -> str:
    try:
        return real.program()
    except (RuntimeError, OSError) as error:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            raise
        pytest.skip(f"no compose 2 here, and none to be had: {error}")


def pairwise() -> list[dict[str, str]]:
    """Return settings in which every pair of features has every pair of values."""
    words = {name: ("yes" if name == "observability" else "auto", "no") for name in FEATURES}
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(FEATURES, 2)
        for x in words[a]
        for y in words[b]
    }
    rows = []
    for values in itertools.product(*words.values()):
        row = dict(zip(FEATURES, values, strict=True))
        pairs = set(itertools.combinations(row.items(), 2)) & missing
        if len(pairs) >= min(10, len(missing)):
            rows.append(row)
            missing -= pairs
    for (a, x), (b, y) in sorted(missing):
        rows.append({**dict.fromkeys(FEATURES, "no"), a: x, b: y})
    return rows


def test_pairwise_has_every_pair() -> None:
    rows = pairwise()
    for a, b in itertools.combinations(FEATURES, 2):
        assert len({(row[a], row[b]) for row in rows}) == 4
    assert len(rows) < 40


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_compose_accepts_every_project(program: str, tmp_path: Path, host: str) -> None:
    for row in pairwise():
        project = stack(host, **row)["compose"]
        fitted = compose_diff.fit(project, {"NCPU": 4, "ServerVersion": "26.1"}, {"video": 44}, {})
        shown = config(program, tmp_path, fitted)
        assert set(shown["services"]) == set(fitted["services"]), row


def config(program: str, folder: Path, project: dict[str, Any]) -> Any:
    """Return what compose makes of a project, every required key being set."""
    text = json.dumps(project)
    keys = sorted(set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", text)))
    (folder / "env").write_text("".join(f"{key}=s3cr$et-{key}\n" for key in keys))
    (folder / "docker-compose.yml").write_text(text)
    done = subprocess.run(
        [program, "--env-file", "env", "config", "--format", "json"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_compose_reads_is_what_was_meant(program: str, tmp_path: Path) -> None:
    shown = config(program, tmp_path, stack("nvidia", bind_address="192.0.2.7")["compose"])[
        "services"
    ]
    webui = shown["open-webui"]
    # A dollar in a path is no reference; compose shows it escaped.
    assert webui["volumes"][0]["source"] == "/srv/my ai$$/data/open-webui"
    assert webui["ports"][0]["host_ip"] == "192.0.2.7"
    assert webui["environment"]["OPENAI_API_BASE_URLS"] == (
        "http://llama-server:8080/v1;http://hermes:8642/v1"
    )
    assert webui["environment"]["WEBUI_NAME"] == "dream-runner"
    assert shown["hermes"]["environment"]["OPENAI_API_KEY"] == "sk-local"
    assert "'http://127.0.0.1:8080/health'" in webui["healthcheck"]["test"][1]


# --- values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("costs $5", "costs $$5"),
        ({"key": "A", "default": "x"}, "${A:-x}"),
        ({"key": "A", "required": True}, "${A:?}"),
        ({"key": "KNOWN", "default": "x"}, "is$$it"),
        ({"first_of": ["A", "B"], "default": "x"}, "${A:-${B:-x}}"),
        ({"first_of": ["A", "KNOWN"], "default": "x"}, "${A:-is$$it}"),
        ({"template": "http://{A|h}:{KNOWN}/{B}"}, "http://${A:-h}:is$$it/${B:?}"),
    ],
)
def test_values(source: Any, expected: str) -> None:
    assert compose_file.value(source, {"KNOWN": "is$it"}) == expected


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("${A:-x}", {}, "x"),
        ("${A:-x}", {"A": ""}, "x"),
        ("${A:-x}", {"A": "1"}, "1"),
        ("${A:-${B:-x}}", {"B": "2"}, "2"),
        ("${A:?}/$$B", {"A": "$$"}, "$$/$B"),
        ("$${A:-x}", {"A": "1"}, "${A:-x}"),
    ],
)
def test_filled_is_what_compose_does(text: str, env: dict[str, str], expected: str) -> None:
    assert compose_diff.filled(text, env) == expected


# --- fitting --------------------------------------------------------------------------------

LIMITED = {
    "services": {
        "a": {
            "image": "x",
            "deploy": {
                "resources": {
                    "limits": {"cpus": "16", "memory": "64M"},
                    "reservations": {"memory": "32M"},
                }
            },
            "group_add": ["video", "render"],
            "healthcheck": {"test": ["CMD", "x"]},
        }
    }
}


def fitted(engine: dict[str, Any], **groups: int) -> Any:
    return compose_diff.fit(LIMITED, engine, groups, {"x": "sha256:other"})["services"]["a"]


def test_a_limit_is_at_most_what_the_engine_has() -> None:
    service = fitted({"NCPU": 2, "CpuCfsQuota": True, "MemoryLimit": True})
    assert service["deploy"]["resources"]["limits"] == {"cpus": "2", "memory": "64M"}


def test_a_limit_that_the_engine_refuses_is_left_out() -> None:
    service = fitted({"NCPU": 2, "CpuCfsQuota": False, "MemoryLimit": False})
    assert "deploy" not in service


def test_groups_are_the_hosts_numbers_and_images_the_engines_ids() -> None:
    service = fitted({}, video=44)
    assert service["group_add"] == ["44"]
    assert service["image"] == "sha256:other"


@pytest.mark.parametrize(
    ("version", "has"), [("24.0.7", False), ("26.1.5+dfsg1", True), ("", False)]
)
def test_quick_first_looks_where_the_engine_knows_them(version: str, has: bool) -> None:
    assert ("start_interval" in fitted({"ServerVersion": version})["healthcheck"]) is has


# --- what is due ----------------------------------------------------------------------------

PROJECT: dict[str, Any] = {
    "name": "p",
    "services": {
        "a": {
            "image": "x@1",
            "restart": "unless-stopped",
            "networks": ["default"],
            "environment": {"K": "${S:?}", "L": "1"},
        },
        "once": {"image": "x@1", "restart": "no"},
    },
}
WANTED = {"a": "hash-a", "once": "hash-once"}
ENV = {"S": "secret"}


def container(service: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"id-{service}",
        "name": f"p-{service}-1",
        "service": service,
        "hash": f"hash-{service}",
        "image": "x@1",
        "state": "exited" if service == "once" else "running",
        "exit_code": 0,
        "environment": {"K": "secret", "L": "1", "PATH": "/bin"},
        "command": [],
        "labels": {},
        "ports": [],
        "policy": "no" if service == "once" else "unless-stopped",
        "networks": ["p_default"],
        **more,
    }


def steps(*containers: dict[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    found = compose_diff.due(PROJECT, WANTED, containers, ENV)
    return [(item["action"], item["service"], item["why"], item["remove"]) for item in found]


ONCE = container("once")


def test_nothing_is_due_when_all_is_as_wanted() -> None:
    assert steps(container("a"), ONCE) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"state": "exited", "exit_code": 137}, ("start", "it was stopped with status 137")),
        ({"state": "created"}, ("start", "it was created")),
        ({"hash": "old", "image": "x@0"}, ("recreate", "changed: image")),
        (
            {"hash": "old", "environment": {"K": "other", "L": "2"}},
            ("recreate", "changed: environment (K, L)"),
        ),
        ({"hash": "old", "ports": ["1:2:3"]}, ("recreate", "changed: ports")),
        (
            {"hash": "old", "labels": {layout.FILES_LABEL: "x"}},
            ("recreate", "changed: configuration files"),
        ),
        ({"hash": "old"}, ("recreate", "changed: its settings")),
    ],
)
def test_each_step_says_why_and_no_value(
    changed: dict[str, Any], expected: tuple[str, str]
) -> None:
    ((action, service, why, remove),) = steps(container("a", **changed), ONCE)
    assert (action, why, service, remove) == (*expected, "a", [])
    assert "secret" not in why


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"state": "paused"}, "it was paused"),
        ({"policy": "no"}, "its restart policy was changed to no"),
        ({"networks": []}, "it was disconnected from the network p_default"),
    ],
)
def test_what_no_hash_tells_is_seen_and_made_anew(changed: dict[str, Any], why: str) -> None:
    """Compose itself would find nothing to do, or fail to start what is paused."""
    assert steps(container("a", **changed), ONCE) == [("create", "a", why, ["id-a"])]


def test_a_network_of_somebody_s_own_stays() -> None:
    assert steps(container("a", networks=["mine", "p_default"]), ONCE) == []


def test_a_service_that_is_off_goes_and_only_it() -> None:
    assert steps(container("a"), ONCE, container("z")) == [
        ("remove", "z", "it was switched off", ["id-z"])
    ]


def test_what_a_killed_run_left_is_cleared() -> None:
    left = container("a", id="id-old", name="0123456789ab_p-a-1")
    assert steps(container("a"), left, ONCE) == [
        ("start", "a", "an interrupted run left a second container", ["id-old"])
    ]
    assert steps(left, ONCE) == [
        ("create", "a", "an interrupted run left it half replaced", ["id-old"])
    ]


def test_a_job_that_ended_well_is_not_done_again() -> None:
    assert steps(container("a"), container("once", exit_code=1)) == [
        ("start", "once", "it was stopped with status 1", [])
    ]


# --- what holds something that is made anew ---------------------------------------------------

HOLDER: dict[str, Any] = {
    "name": "p",
    "services": {
        "a": {
            "labels": {layout.FILES_LABEL: "digest"},
            "volumes": [
                {"type": "bind", "source": "/i/$$x/data", "target": "/data"},
                {"type": "bind", "source": "/i/etc", "target": "/etc/a"},
                {"type": "volume", "source": "named", "target": "/cache"},
            ],
        }
    },
}
FILES = [
    {"path": "/i/etc/a.yml", "content": "as written"},
    {"path": "/i/etc2/b.yml", "content": "of another service"},
]
THERE = {"/i/$x/data": "", "/i/etc": "", "/i/etc/a.yml": "as written"}


def stale(there: dict[str, str], **more: Any) -> list[tuple[str, list[str]]]:
    labelled = {"labels": {layout.FILES_LABEL: "digest"}, **more}
    found = compose_diff.stale(HOLDER, [container("a", **labelled)], FILES, there.get)
    return [(item["why"], item["remove"]) for item in found]


def test_a_container_that_holds_what_is_there_stays() -> None:
    assert stale(THERE) == []


def test_a_container_whose_directory_is_gone_goes_before_another_has_its_name() -> None:
    ((why, remove),) = stale({"/i/etc": "", "/i/etc/a.yml": "as written"})
    assert why == "its mounted path /i/$x/data is missing"
    assert remove == ["id-a"]


@pytest.mark.parametrize("text", ["as somebody wrote", None])
def test_a_container_that_may_have_read_another_s_text_goes(text: str | None) -> None:
    there = {
        name: found for name, found in {**THERE, "/i/etc/a.yml": text}.items() if found is not None
    }
    ((why, _),) = stale(there)
    assert why == "its configuration file /i/etc/a.yml was changed by another program"


def test_a_change_of_ours_waits_for_its_phase() -> None:
    """The model is fetched in between: so long the old one answers."""
    assert (
        stale({**THERE, "/i/etc/a.yml": "of before"}, labels={layout.FILES_LABEL: "before"}) == []
    )


def test_a_service_that_is_off_is_the_business_of_its_phase() -> None:
    assert compose_diff.stale(HOLDER, [container("z")], FILES, {}.get) == []
