"""Profile full on a machine with an engine: the whole stack, and what becomes of it.

The tests share one node and go on where the one before left it, as the user of a machine does. All
images but llama.cpp's are stand-ins that answer like their products (fixtures/standins.py); the
engine, compose, the registry, the model and its answers are real.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from images import docker_registry
from nodes.node import Node, Result

from dream_runner import catalog

from . import stack
from .machine import error_code
from .stack import Stacked
from .watcher import SECRET
from .whole import BOOTSTRAP, files, owner_of, packages, unexplained

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

#: What runs on a machine without a GPU when nobody switches anything on or off.
EVERYTHING = {
    *("llama-server", "open-webui", "litellm", "searxng", "hermes"),
    *("whisper", "tts", "n8n", "qdrant", "embeddings"),
}
#: All that is offered, in the order of the end screen.
READY = ["chat", "documents", "search", "voice", "agent", "workflows"]
#: The agent refuses a shorter context, and the model of a machine this small has a shorter one.
CONTEXT = ("--context-tokens", "65536")


#: What only somebody with an account or a key may ask of an open port.
GUARDED = {3000: "/api/models", 4000: "/v1/models", 11434: "/v1/models"}
#: Prints the status of every port that answers; 0 where nothing is known to ask.
SCAN = """
import json, socket, urllib.error, urllib.request
address, paths, found = "{address}", {paths}, {{}}
for port in range(1, 12_000):
    with socket.socket() as client:
        client.settimeout(2)
        if client.connect_ex((address, port)) == 0:
            found[port] = 0
for port in found.keys() & paths.keys():
    url = f"http://{{address}}:{{port}}{{paths[port]}}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            found[port] = answer.status
    except urllib.error.HTTPError as error:
        found[port] = error.code
print(json.dumps(found))
"""
#: Of the user's own environment; it may be in that of what the user starts, and nowhere else. In
#: parts, because the machine has these tests, too.
TOKEN = "-".join(("planted", "hub", "0123456789abcdef"))
#: Where secrets of .env are all the same, and why. Only root, or the owner, can read these.
KEPT = {
    r"/root/ai-server/\.env(\.bak)?": "the file of the secrets itself",
    r"/var/lib/docker/containers/[0-9a-f]{64}/config\.v2\.json": "what the engine keeps of a"
    " container, with the environment that it is told",
    r"/var/lib/containerd/io\.containerd\.metadata\.v1\.bolt/meta\.db": "the same, of its runtime",
    r"/tmp/runc-process\d+": "the same, of a health check, while the runtime starts it",
    r"/(var/)?run/(docker/)?containerd/.+/[0-9a-f]{64}/config\.json": "the same, for its runtime",
}
#: What differs after a purge for another reason than those that every install has.
STAYS = {
    r"/root/(served|pid|out)(/.*)?": "what these tests put there",
    r"/var/lib/(docker|containerd)(/.*)?": "the engine's own database; what is in it is asked for",
    r"/root/\.local/state/dream-runner(/images\.lock\.json)?": "dream-runner's own state, which a"
    " purge takes: in the place of `dream-runner lock` the test wrote it before the install",
    r"/etc/(docker)?": "a directory of the engine that was there: it may be of another size",
}


@pytest.fixture(scope="module")
def stacked(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """A node with an engine and everything to install from."""
    smoke = (catalog.HERE / "smoke.gguf").read_bytes()
    models = {"one": smoke, "two": smoke[:-4] + b"\0\0\0\x3d"}
    folder = tmp_path_factory.mktemp("models")
    paths: dict[str, Path] = {}
    for name, content in models.items():
        paths[name] = folder / f"{name}.gguf"
        paths[name].write_bytes(content)
    machine = module_node("13", kind="docker", engine=True)
    machine.env["HF_TOKEN"] = TOKEN
    ready = stack.prepare(machine, paths)
    if os.environ.get("DREAM_TEST_SLOW") == "1":
        ready.before = (files(machine), packages(machine))
        ready.watch({"HF_TOKEN": TOKEN}, known=["HF_TOKEN"], env_file="/root/ai-server/.env")
    return ready


def succeeded(result: Result) -> Any:
    assert result.code == 0, str(result)
    return result.json()


def agreed(stacked: Stacked, *flags: str) -> Any:
    """Plan, install, and compare what was said with what became of it; return the install's."""
    said = stacked.node.runner("plan", "--json", "--exit-code", *flags)
    plan, images, before = said.json(), stacked.images(), stacked.identities()
    due = {step["phase"] for step in plan["steps"] if step["why"] != "unchanged"}
    assert said.code == (20 if plan["changes_pending"] else 0)
    done = succeeded(stacked.again(*flags))
    ran = {name for name, state in stacked.phases(done).items() if state != "unchanged"}
    assert ran == due
    missing = {item["reference"] for item in plan["images"] if not item["present"]}
    assert stacked.images() - images == missing
    after = stacked.identities()
    anew = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert anew <= set(plan["restarts"])
    assert set(after) == {item["name"] for item in plan["units"]}
    assert stacked.published() == {line.split(" ")[0] for line in plan["ports"]}
    where = ("find", "/root/ai-server/data/models", "-type", "f", "-printf", "%P\\n")
    models = stacked.node.must(*where).out.split()
    assert {item["what"] for item in plan["downloads"]} <= set(models)
    now = stacked.node.runner("plan", "--json", "--exit-code")
    assert now.code == 0, str(now)
    rest = now.json()
    assert (rest["fetch_bytes"], rest["packages"], rest["disk"], rest["restarts"]) == (
        0,
        [],
        [],
        [],
    )
    return done


def test_a_first_install_that_is_killed_twice_ends_in_an_answer(stacked: Stacked) -> None:
    """kill -9 while images come and while containers start; the third run finishes."""
    for phase in ("images", "services"):
        kill_in(stacked, phase, *CONTEXT)
    done = succeeded(stacked.install(*CONTEXT))
    assert ready(done) == READY
    assert set(stacked.containers()) == EVERYTHING
    assert all(item["State"] == "running" for item in stacked.containers().values())
    model, answer = stacked.chat()
    assert (model, bool(answer)) == ("one", True)
    assert stacked.ask("/health", port=3000) == {"status": True}


def ready(done: Any) -> list[str]:
    """Return the features that passed their probe; every one that was tried must have."""
    found = done["summary"]["access"]["features"]
    assert (found["failed"], found["unproven"]) == ({}, {})
    return list(found["passed"])


def kill_in(stacked: Stacked, phase: str, *more: str) -> None:
    """Start an install and kill the command outright when ``phase`` has begun."""
    node = stacked.node
    node.must("rm", "-f", "/root/pid")
    script = 'echo $$ > /root/pid; exec ./install.sh "$@" > /root/out 2>&1'
    node.podman.run(
        *("exec", "-d", "--env", "HOME=/root", "--workdir", node.checkout, node.name),
        *("sh", "-c", script, "sh", *stacked.options(), *more),
    )

    def begun() -> bool:
        said = node.run("cat", f"{stack.STATE}/receipts/{phase}.json")
        return said.code == 0 and json.loads(said.out)["state"] == "running"

    stack.wait_for(begun, seconds=300)
    node.must("sh", "-c", "sleep 1; kill -9 $(cat /root/pid)")
    stack.wait_for(lambda: not any("ansible" in line for line in node.processes()), seconds=30)


def test_again_changes_nothing(stacked: Stacked) -> None:
    before = stacked.identities()
    assert succeeded(stacked.again())["tasks"]["changed"] == 0
    # Every role this time, whatever the survey says: there is still nothing to do.
    assert succeeded(stacked.again("--full"))["tasks"]["changed"] == 0
    assert stacked.identities() == before


def test_from_another_machine_only_that_answers_which_the_plan_calls_open(
    stacked: Stacked, node: Callable[..., Node]
) -> None:
    """Try the ports below 12,000 one by one, except those that the tests themselves serve."""
    plan = stacked.node.runner("plan", "--json").json()
    told = {row["port"]: row for row in plan["exposure"]}
    other = node("13", systemd=False)
    script = SCAN.format(address=stacked.node.address, paths=GUARDED)
    scanned = {int(port): status for port, status in json.loads(other.python(script)).items()}
    found = {
        port: scanned[port] for port in scanned.keys() - {stack.REGISTRY_PORT, stack.FILES_PORT}
    }
    for port, row in sorted(told.items()):
        planned = f"open, guard: {row['guard']}" if row["open"] else "closed"
        print(f"{port:5} {row['what']:30} {planned:20} {found.get(port, 'does not answer')}")
    assert found.keys() == {port for port, row in told.items() if row["open"]}
    # All of them ask who is there, but for the one that was named with --expose.
    assert {told[port]["guard"] for port in found.keys() - {11434}} == {"account", "key"}
    assert found == {3000: 401, 4000: 401, 11434: 200}
    assert {6333, 8090, 8880, 8888, 9000, 5678} <= told.keys() - found.keys()


@pytest.mark.slow
def test_a_feature_off_and_on_again_touches_its_services_only(stacked: Stacked) -> None:
    before = stacked.identities()
    stacked.node.must("sh", "-c", "echo mine > /root/ai-server/data/n8n/workflow")
    agreed(stacked, "--workflows", "no")
    assert stacked.identities() == {key: before[key] for key in before if key != "n8n"}
    assert refuses(stacked, 5678)
    agreed(stacked, "--workflows", "yes")
    after = stacked.identities()
    assert after.pop("n8n") != before.pop("n8n")
    assert after == before
    assert stacked.node.must("cat", "/root/ai-server/data/n8n/workflow").out == "mine\n"
    assert succeeded(stacked.again())["tasks"]["changed"] == 0


def refuses(stacked: Stacked, port: int) -> bool:
    try:
        stacked.ask("/", port=port)
    except OSError:
        return True
    return False


def test_what_somebody_removed_comes_back_alone(stacked: Stacked) -> None:
    before = stacked.identities()
    stacked.node.must("docker", "rm", "-f", "dream-runner-tts-1")
    stacked.node.must("docker", "stop", "-t", "0", "dream-runner-qdrant-1")
    agreed(stacked)
    after = stacked.identities()
    assert [name for name in before if before[name] != after[name]] == ["tts"]
    assert stacked.containers()["qdrant"]["State"] == "running"


@pytest.mark.slow
def test_another_model_by_settings_only(stacked: Stacked) -> None:
    before = stacked.identities()
    done = succeeded(stacked.install(model="two"))
    assert done["summary"]["model"]["sha256"] == stacked.models["two"]
    assert stacked.chat()[0] == "two"
    after = stacked.identities()
    # The gateway and the agent name the model in their own files.
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"llama-server", "litellm", "hermes"}


@pytest.mark.slow
def test_a_service_without_its_image_leaves_the_core_running(stacked: Stacked) -> None:
    lock = f"{stacked.node.home}/{stack.STATE}/{catalog.LOCK}"
    good = json.loads(stacked.node.must("cat", lock).out)["images"]
    tag = next(name for name in good if name.startswith("qdrant/"))
    place = f"127.0.0.1:{stack.REGISTRY_PORT}/gone"
    stack.write_lock(stacked.node, {**good, tag: {**good[tag], "from": place}})
    done = stacked.again("--json")
    assert (done.code, error_code(done)) == (11, "SERVICES_DEGRADED"), str(done)
    assert "qdrant" in done.json()["error"]["what"]
    assert stacked.chat()[1]
    # It is not taken for finished: the next run tries again, and succeeds when it can.
    assert stacked.again().code == 11
    stack.write_lock(stacked.node, good)
    succeeded(stacked.again())
    assert set(stacked.containers()) == EVERYTHING


@pytest.mark.slow
def test_a_digest_that_its_registry_deleted_is_named_with_the_remedy(stacked: Stacked) -> None:
    node, image = stacked.node, stack.images()["qdrant"]
    services = catalog.load().services["services"]
    (tag,) = (item["image"] for item in services if item["id"] == "qdrant")
    place = f"127.0.0.1:{stack.REGISTRY_PORT}/qdrant"
    assert node.runner("lock", "--check", "qdrant").code == 0
    node.must("docker", "rm", "-f", "dream-runner-qdrant-1")
    node.must("docker", "image", "rm", f"{place}@{image.digest}")
    registry = f"{node.address}:{stack.REGISTRY_PORT}/qdrant"
    docker_registry.skopeo("delete", f"docker://{registry}:{tag.rpartition(':')[2]}")
    done = stacked.again()
    assert (done.code, error_code(done)) == (11, "SERVICES_DEGRADED"), str(done)
    assert image.digest in done.text
    assert f"dream-runner lock {tag}" in done.text
    checked = node.runner("lock", "--check", "qdrant", "--json")
    assert (checked.code, error_code(checked)) == (7, "PIN_GONE"), str(checked)
    # The remedy: what its maker publishes instead, here a mirror that has it again.
    docker_registry.push(image, f"{registry}:{tag.rpartition(':')[2]}")
    node.must(node.command, "lock", "qdrant")
    assert ready(succeeded(stacked.again())) == READY
    assert set(stacked.containers()) == EVERYTHING


@pytest.mark.slow
def test_an_upgrade_whose_engine_does_not_answer_is_turned_back(stacked: Stacked) -> None:
    """A new digest of the engine starts and answers nothing; the old one comes back, and again."""
    lock = f"{stacked.node.home}/{stack.STATE}/{catalog.LOCK}"
    good = json.loads(stacked.node.must("cat", lock).out)["images"]
    before = stacked.containers()
    stub = next(entry for tag, entry in good.items() if tag.startswith("redis:"))
    stack.write_lock(stacked.node, {**good, stack.ENGINE_TAG: stub})
    for _ in range(2):
        done = stacked.again()
        assert (done.code, error_code(done)) == (8, "ROLLED_BACK"), str(done)
        assert "ENGINE_NO_ANSWER" in done.json()["error"]["what"]
        # By its old digest, as it was configured, with the model that it had.
        now = stacked.containers()
        assert now["llama-server"]["Image"] == before["llama-server"]["Image"]
        assert set(now) == EVERYTHING
        assert stacked.chat()[0] == "two"
        others = EVERYTHING - {"llama-server"}
        assert {now[name]["ID"] for name in others} == {before[name]["ID"] for name in others}
    # A version whose image cannot even start is turned back where it is started.
    broken = stacked.unusable_image()
    stack.write_lock(stacked.node, {**good, stack.ENGINE_TAG: broken})
    done = stacked.again()
    assert (done.code, error_code(done)) == (8, "ROLLED_BACK"), str(done)
    assert stacked.chat()[0] == "two"
    stack.write_lock(stacked.node, good)
    succeeded(stacked.again())
    assert succeeded(stacked.again())["tasks"]["changed"] == 0
    assert stacked.chat()[0] == "two"


def test_secrets_are_in_no_file_but_their_own(stacked: Stacked) -> None:
    root = "/root/ai-server"
    secrets = dict(SECRET.findall(stacked.node.must("cat", f"{root}/.env").out))
    assert {"WEBUI_SECRET", "LITELLM_KEY", "N8N_PASS", "SEARXNG_SECRET"} <= secrets.keys()
    names = ("docker-compose.yml", "config", "logs", "summary.json")
    places = " ".join([*(f"{root}/{name}" for name in names), stack.STATE])
    for name in ("WEBUI_SECRET", "LITELLM_KEY", "N8N_PASS", "SEARXNG_SECRET"):
        found = stacked.node.run("sh", "-c", f'grep -rlF -- "$0" {places}', secrets[name])
        assert found.out == ""
    assert TOKEN not in "".join(stacked.said)


@pytest.mark.slow
def test_secrets_are_nowhere_but_where_they_must_be(stacked: Stacked) -> None:
    """Every byte on the machine, its journal, all that was said, and every process meanwhile."""
    watched = stacked.watched()
    assert watched["looks"] > 100
    assert {"WEBUI_SECRET", "N8N_PASS", "HF_TOKEN"} <= {n.split(" ")[0] for n in watched["words"]}
    assert [line for line in watched["found"] if not kept(*line.split(" in ", 1))] == []
    env = stacked.node.must("cat", "/root/ai-server/.env").out
    words = {**dict(SECRET.findall(env)), "hub": TOKEN}
    assert len(words) > 10
    found = stacked.scan(words)
    unexplained = [line for line in found if not kept(*line.split(" in ", 1))]
    assert unexplained == []
    # Nobody else can read these.
    for path in {line.split(" in ", 1)[1] for line in found}:
        assert stacked.node.run("test", "-r", path, user="plain").code == 1, path
    journal = stacked.node.must("journalctl", "--no-pager", "--all", "--output=export").out
    assert "dockerd" in journal
    said = journal + "".join(stacked.said)
    assert [name for name, word in words.items() if word in said] == []


def kept(name: str, path: str) -> bool:
    return name not in ("hub", "HF_TOKEN") and any(re.fullmatch(pattern, path) for pattern in KEPT)


def test_uninstall_leaves_no_container_and_no_network(stacked: Stacked) -> None:
    stacked.node.must("sh", "-c", "echo mine > /root/ai-server/data/n8n/workflow")
    done = stacked.node.runner("uninstall", "--yes", "--json")
    assert done.code == 0, str(done)
    assert stacked.containers() == {}
    networks = stacked.node.must("docker", "network", "ls", "--format", "{{.Name}}").out.split()
    assert not [name for name in networks if "dream" in name]
    # What took long and what is the user's stays without --purge.
    assert stacked.node.run("test", "-e", "/root/ai-server/data/n8n/workflow").code == 0


@pytest.mark.slow
def test_purge_leaves_the_machine_as_it_was(stacked: Stacked) -> None:
    """Images, volumes and data go, too; the engine was there before and stays."""
    node = stacked.node
    planned = node.runner("uninstall", "--purge", "--dry-run", "--json").json()
    done = node.runner("uninstall", "--purge", "--yes", "--json")
    assert done.code == 0, str(done)
    assert (done.json()["remove"], done.json()["left"]) == (planned["remove"], [])
    assert node.install("--remove-runner").code == 0
    assert stacked.images() == set()
    for kind in ("volume", "container"):
        assert node.must("docker", kind, "ls", "--quiet").out == ""
    before, packages_before = stacked.before
    changed = {line.split()[0] for line in packages(node) ^ packages_before}
    assert {name for name in changed if not BOOTSTRAP.fullmatch(name)} == set()
    listed = node.must("dpkg-query", "--listfiles", *changed).out if changed else ""
    theirs = set(listed.splitlines())
    found = unexplained(before, files(node), STAYS)
    assert [line for line in found if owner_of(line.partition(":")[0]) not in theirs] == []
