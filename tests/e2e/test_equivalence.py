"""The survey sees everything that an install of profile full repairs, and an install repairs it.

On a node that had nothing: the engine's packages, its unit, options and group are ours to make as
well. Every kind of resource is broken in every way it can break, one at a time: the survey
names it, an install repairs it, the next look is clean. Afterwards the same for the unit and the
lingering of the native engine, which takes the stack's place. What the native profile
makes without systemd is broken in tests/integration/test_equivalence.py.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from nodes.node import Node, Result

from dream_runner import catalog

from . import stack
from .stack import Stacked

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(3600)]

Resource = dict[str, Any]

#: ``{kind: {how: script of root}}``; the words in braces are the resource's own, quoted.
BREAKS: dict[str, dict[str, str]] = {
    "container": {
        "removed": "docker rm -f {project}-{service}-1",
        "stopped": "docker stop -t 0 {project}-{service}-1",
        "killed": "docker update --restart no {project}-{service}-1;"
        " docker kill {project}-{service}-1",
        "paused": "docker pause {project}-{service}-1",
    },
    "image": {
        "removed": "docker ps -aq | xargs -r docker rm -f;"
        " docker image ls -aq --no-trunc | sort -u | xargs -r docker image rm -f",
    },
    "network": {
        "removed": "docker ps -aq | xargs -r docker rm -f; docker network rm {name}",
    },
    # A file in its place is somebody's: it is refused by name (IN_THE_WAY), not removed.
    "data": {"removed": "rm -rf {path}"},
    "directory": {"open to all": "chmod 0777 {path}", "closed": "chmod 0 {path}"},
    "file": {
        "deleted": "rm {path}",
        "edited": "echo '# edited' >> {path}",
        "truncated": "truncate -s 0 {path}",
        "forbidden": "chmod 0 {path}",
        "a link": "mv {path} {path}.aside; ln -s {path}.aside {path}",
    },
    "model": {
        "deleted": "rm {path}",
        "corrupt": "printf x | dd of={path} bs=1 seek=4096 conv=notrunc status=none",
        "truncated": "truncate -s 100 {path}",
    },
    "unit": {
        "stopped": "systemctl {scope} stop {name} {socket}",
        "disabled": "systemctl {scope} disable {name}",
        "masked": "systemctl {scope} stop {name} {socket}; systemctl {scope} mask --force {name}",
    },
    "package": {"removed": "dpkg --remove --force-depends {name}"},
    "options": {"file deleted": "rm {path}", "reset": "echo '{{\"debug\": true}}' > {path}"},
    "group": {"left": "gpasswd --delete {user} {group}"},
    "linger": {"switched off": "loginctl disable-linger {user}"},
    "port": {"closed": "docker stop -t 0 $(docker ps -q --filter publish={port})"},
}
#: Both are asked for on AMD's cards only. A volume is broken without an install below; a kernel
#: setting is the whole machine's, in a container as well: tests/unit/records/test_survey.py. A
#: program in the background exists only while a model is fetched: test_fast_start_native.py ends
#: it.
WITHOUT_INSTALL = frozenset(("volume", "sysctl", "background"))
_SURVEY = """
import json, sys
from dream_runner.module_utils.dream_core.records import receipt, survey
found, warnings = receipt.read_all(sys.argv[1])
assert not warnings, warnings
print(json.dumps({"drift": survey.survey(found), "receipts": found}))
"""


@dataclass
class Host:
    """The node and what its receipts say."""

    stacked: Stacked
    told: list[str] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return self.stacked.node

    @property
    def state(self) -> str:
        return f"{self.node.home}/{stack.STATE}"

    def root(self, script: str) -> Result:
        return self.node.must("sh", "-c", f"exec 2>&1; set -e; {script}", user="root")

    def look(self) -> dict[str, Any]:
        """Survey the host with the installed code, as plan and install do."""
        link = self.node.must("readlink", "-f", self.node.command).out
        python = link.strip().rpartition("/")[0] + "/python"
        return dict(json.loads(self.node.must(python, "-c", _SURVEY, self.state).out))

    def drift(self) -> dict[str, list[str]]:
        """Return by phase what the survey names."""
        found = self.look()["drift"]
        return {
            phase: [f"{item['what']}: {item['found']}" for item in items]
            for phase, items in found.items()
            if items
        }

    def due(self) -> dict[str, str]:
        steps = self.node.runner("plan", "--json").json()["steps"]
        found = {step["phase"]: f"{step['why']} {step['detail']}" for step in steps}
        return {phase: why for phase, why in found.items() if why.strip() != "unchanged"}

    def repair(self) -> Any:
        done = self.stacked.again()
        assert done.code == 0, f"{self.told[-1:]}\n{done}"
        return done.json()

    def resources(self) -> list[tuple[str, Resource]]:
        return [
            (phase, item)
            for phase, document in self.look()["receipts"].items()
            for item in document["resources"]
            if item["seen"]["present"]
        ]

    def broken(self, phase: str, resource: Resource, way: str) -> None:
        """Break it, see that the survey sees it, repair it, see that nothing is left."""
        name = f"{resource['kind']} {_name(resource)}: {way}"
        self.told.append(name)
        self.root(script(resource, way))
        seen = self.drift()
        assert phase in seen, f"{name}: the survey saw {seen}"
        print(f"{name}: seen as {seen[phase][0]}")
        self.repair()
        left = self.drift()
        assert left == {}, f"{name}: left {left}"


def _name(resource: Resource) -> str:
    words = ("path", "name", "service", "reference", "user", "port")
    return str(next(resource[word] for word in words if word in resource))


def script(resource: Resource, way: str) -> str:
    words = {key: shlex.quote(str(value)) for key, value in resource.items()}
    if resource["kind"] == "unit":
        user = resource["scope"] == "user"
        scope = "--user --machine=sudoer@" if user else "--system"
        # Whoever talks to the engine would start it again by its socket.
        words.update(scope=scope, socket="" if user else "docker.socket")
    return BREAKS[resource["kind"]][way].format(**words)


@pytest.fixture(scope="module")
def host(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A finished stack on a machine that was bare."""
    model = tmp_path_factory.mktemp("models") / "one.gguf"
    model.write_bytes((catalog.HERE / "smoke.gguf").read_bytes())
    node = module_node("13", engine=True, user="sudoer")
    # A login manager, as all but the barest machines have.
    node.must("sh", "-c", f"{_APT} libpam-systemd", user="root")
    stacked = stack.prepare(node, {"one": model})
    features = [f"--{name}" for name in catalog.load().features["features"]]
    off = [word for name in features for word in (name, "no")]
    done = stacked.install("--docker-source", "distro", *off, "--workflows", "yes")
    assert done.code == 0, str(done)
    return Host(stacked)


_APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update && apt-get -qq -y install"


def test_a_clean_look_means_that_no_role_would_change_anything(host: Host) -> None:
    assert host.drift() == {}
    assert host.due() == {}
    done = host.stacked.again("--full")
    assert (done.code, done.json()["tasks"]["changed"]) == (0, 0), str(done)
    assert host.due() == {}


def test_every_break_of_every_kind_is_seen_and_repaired(host: Host) -> None:
    """Each way of each kind, on a resource of each phase that has the kind.

    A kind without a way to break it has nothing to be broken by, and fails here.
    """
    failed: list[str] = []
    wanted: dict[tuple[str, str, bool], Resource] = {}
    for phase, item in host.resources():
        wanted.setdefault((phase, item["kind"], item.get("volatile", False)), item)
    assert {kind for _, kind, _ in wanted} - WITHOUT_INSTALL <= set(BREAKS)
    for (phase, kind, volatile), item in wanted.items():
        ways = [way for way in BREAKS[kind] if not (volatile and way in ("edited", "truncated"))]
        if item.get("path", "").endswith("/.env"):
            # What a person adds stays, nothing is written through a link of theirs, and without
            # it old data would get new secrets: neither is damage that an install repairs.
            ways = ["forbidden"]
        for way in ways:
            try:
                host.broken(phase, item, way)
            except AssertionError as error:
                # The others are told of as well: one that cannot be repaired here is seen below.
                failed.append(str(error))
                host.stacked.again("--full")
    assert failed == [], "\n".join(failed)
    assert host.due() == {}


def test_a_key_of_the_environment_file_comes_back(host: Host) -> None:
    path = f"{host.node.home}/ai-server/.env"
    before = host.root(f"cat {path}").out
    keys = [line.split("=")[0] for line in before.splitlines() if re.match(r"[A-Z_]+_PORT=", line)]
    assert keys, before
    host.root("; ".join(f"sed -i '/^{key}=/d' {path}" for key in keys))
    assert "directories" in host.drift()
    host.repair()
    after = host.root(f"cat {path}").out
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    assert host.drift() == {}


def test_a_container_has_the_directory_that_is_there(host: Host) -> None:
    """It goes before another has the name of what it mounted: what is written there would be lost.

    A look into it is not to be had: a nested engine cannot exec.
    """
    before = host.stacked.identities()
    host.root(f"rm -rf {host.node.home}/ai-server/data/n8n")
    host.repair()
    after = host.stacked.identities()
    assert {name for name in after if before[name] != after[name]} == {"n8n"}
    assert host.drift() == {}


def test_a_container_that_read_an_edited_file_reads_it_again(host: Host) -> None:
    """It was started with what somebody wrote; the file alone put right would not tell it."""
    before = host.stacked.identities()
    path = f"{host.node.home}/ai-server/config/litellm/config.yaml"
    host.root(f"echo '# mine' >> {path}; docker restart -t 0 dream-runner-litellm-1")
    host.repair()
    after = host.stacked.identities()
    assert {name for name in after if before[name] != after[name]} == {"litellm"}
    assert host.drift() == {}


def test_what_a_person_writes_into_the_environment_file_reaches_the_containers(host: Host) -> None:
    path = f"{host.node.home}/ai-server/.env"
    host.root(f"sed -i 's/^LITELLM_KEY=.*/LITELLM_KEY=sk-of-a-person/' {path}")
    assert "services" in host.due()
    host.repair()
    seen = host.root("docker inspect --format '{{json .Config.Env}}' dream-runner-litellm-1").out
    assert "sk-of-a-person" in seen
    assert "LITELLM_KEY=sk-of-a-person" in host.root(f"cat {path}").out
    assert host.due() == {}


def test_a_volume_is_seen(host: Host) -> None:
    """No service here has one: the survey is asked about one that the test made."""
    known = host.look()["receipts"]["services"]
    made = {"kind": "volume", "name": "dream-runner_test", "origin": "made"}
    host.root("docker volume create dream-runner_test")
    path = f"{host.state}/receipts/services.json"
    more = dict(known, resources=[*known["resources"], dict(made, seen={"present": True})])
    host.node.must("sh", "-c", 'cat > "$0"', path, input=json.dumps(more))
    assert host.drift() == {}
    host.root("docker volume rm dream-runner_test")
    assert host.drift() == {"services": ["volume dream-runner_test: missing"]}
    host.node.must("sh", "-c", 'cat > "$0"', path, input=json.dumps(known))
    assert host.drift() == {}


def test_the_native_engine_of_a_user(host: Host) -> None:
    """It takes the place of the stack; its unit and the lingering are broken like the rest."""
    flags = ("--profile", "native", "--workflows", "auto", "--model", "smoke")
    done = host.stacked.again(*flags)
    assert done.code == 0, str(done)
    assert host.drift() == {}
    kinds = {item["kind"]: (phase, item) for phase, item in host.resources()}
    for kind in ("unit", "linger"):
        phase, item = kinds[kind]
        # A unit in its own directory cannot be masked: its file is in the way.
        for way in (name for name in BREAKS[kind] if name != "masked"):
            host.broken(phase, item, way)
    assert host.stacked.again("--full").json()["tasks"]["changed"] == 0
