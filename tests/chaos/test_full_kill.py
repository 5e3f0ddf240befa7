"""kill -9 at random instants of the full profile, in a node with a real engine.

All images but llama.cpp's are stand-ins (tests/e2e/stack.py). A case begins with nothing but the
wrapper's environment, or with a finished install that is broken in several ways, as the dice
of its seed fall.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from nodes.node import node as started_node
from nodes.podman import Podman

from . import cases, sandbox
from .machine import Machine, hit, succeeded
from .origin import SIZE

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

#: All that is offered, in the order of the end screen.
EVERYTHING = ("search", "voice", "workflows", "rag", "agents")
READY = {
    (): ["chat"],
    EVERYTHING: ["chat", "documents", "search", "voice", "agent", "workflows"],
}
#: The features of a run of ten seeds. CI has time for the first seed, and for one feature.
FEATURES: tuple[tuple[str, ...], ...] = ((), EVERYTHING, EVERYTHING)
#: How to spoil a finished install. Each is one shell line; together they touch every phase.
BREAKS = {
    "facts lost": "rm -f $S/facts.json",
    # As after kills in every phase. What a receipt that is lost forgets is told elsewhere.
    "phases unfinished": 'sed -i \'s/"state": "done"/"state": "running"/\' $S/receipts/*.json',
    "engine stopped": "systemctl stop docker.socket docker.service",
    "settings of the stack edited": "echo '# edited' >> $D/docker-compose.yml",
    "a key lost": "sed -i '/^WEBUI_PORT=/d; /^DREAM_ENV_SCHEMA=/d' $D/.env",
    "directory opened": "chmod 0777 $D/data/models $D/config",
    "models lost": "rm -rf $D/data/models/*",
    "model spoilt": "find $D/data/models -name '*.gguf' -exec sh -c 'echo x >> $0' {} ';'",
    "images lost": "docker ps -aq | xargs -r docker rm -f >/dev/null; "
    "docker image ls -q --no-trunc | sort -u | xargs -r docker image rm -f >/dev/null",
    "containers lost": "docker ps -aq | xargs -r docker rm -f >/dev/null",
    "one container stopped": "docker ps -q | head -n 1 | xargs -r docker stop -t 0 >/dev/null",
    "summary lost": "rm -f $D/summary.json",
}
#: These need the engine; what stops it comes last.
_LAST = "engine stopped"


@dataclass
class Reference:
    """An install that nobody disturbed."""

    options: list[str]
    seconds: float
    state: dict[str, Any]


@dataclass
class Lab:
    """The node of the session with the undisturbed install of each set of features."""

    machine: Machine
    references: dict[tuple[str, ...], Reference] = field(default_factory=dict)
    #: What is installed, whole and running; None when nobody knows.
    installed: tuple[str, ...] | None = None

    def reference(self, features: tuple[str, ...]) -> Reference:
        """Return the undisturbed install of these features, made the first time."""
        if features not in self.references:
            machine, options = self.machine, self.machine.options(features)
            if self.references:
                machine.wipe()
                done = succeeded(machine.install(*options))
            else:
                # install.sh makes the wrapper's environment, which every later run has.
                first = machine.start(*options, entry="./install.sh")
                while not machine.events() and first.is_alive:
                    time.sleep(0.2)
                done = succeeded(machine.finish(first))
            assert machine.ready() == READY[features]
            made = Reference(options, done.seconds, machine.state())
            self.references[features] = made
            self.installed = features
            check_rests(machine, made)
        return self.references[features]


@pytest.fixture(scope="session")
def lab(podman: Podman, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A node with an engine and everything to install from."""
    model = tmp_path_factory.mktemp("full") / "model.gguf"
    model.write_bytes(content)
    with started_node(podman, "13", kind="docker", engine=True) as node:
        yield Lab(Machine(node, model, SIZE // 3))


@pytest.mark.parametrize("seed", range(cases.SEED, cases.SEED + cases.FULL_KILLS))
def test_full_install_killed(
    lab: Lab, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A run dies at a random instant; the next one ends as if nothing had been."""
    began = time.monotonic()
    dice, machine = random.Random(f"full {seed}"), lab.machine
    features = FEATURES[seed // 10 % len(FEATURES)]
    reference = lab.reference(features)
    options = begin(lab, dice, features)
    kept = machine.secrets()
    sent, pulled = machine.sent(), machine.sent_by_registry()
    whole = model_is_there(machine)
    kill(machine, dice, [*options, *reference.options], reference.seconds)
    machine.wait_until_gone()
    half = machine.secrets()
    assert {name: half.get(name, value) for name, value in kept.items()} == kept
    flags = ["--resume"] if dice.random() < 0.5 else []
    print(f"recovers with {flags or 'no flags'}")
    done = succeeded(machine.install(*reference.options, *flags))
    print(f"recovered in {done.seconds:.1f} s")
    check(lab, features, {**kept, **half})
    end = check_rests(machine, reference)
    lab.installed = features
    # What was only spoilt in part is fetched in part: no lower bound.
    twice = max(0, machine.sent() - sent - (0 if whole else SIZE))
    assert twice <= cases.TWICE
    for name, value in (
        ("profile", "full"),
        ("seed", seed),
        ("seconds", time.monotonic() - began),
        ("twice", twice),
        ("state", end),
        ("pulled", machine.sent_by_registry() - pulled),
    ):
        record_property(name, value)


@pytest.mark.slow
@pytest.mark.parametrize("last", ["true", "! systemctl start docker.service"])
def test_engine_was_started_too_often(lab: Lab, last: str) -> None:
    """systemd counts the starts of a minute; stopped or refused, the engine comes back."""
    features, machine = FEATURES[0], lab.machine
    reference = lab.reference(features)
    if lab.installed != features:
        machine.wipe()
        succeeded(machine.install(*reference.options))
    lab.installed = None
    machine.sh(_USE_UP + last)
    succeeded(machine.install("--yes", "--json"))
    check(lab, features, machine.secrets())
    check_rests(machine, reference)
    lab.installed = features


#: As often as Debian's unit allows; ``set -e`` does not end where a start is to be refused.
_USE_UP = """
set -eu
systemctl reset-failed docker.service docker.socket
for start in 1 2 3; do
    systemctl stop docker.socket docker.service
    systemctl start docker.service
done
systemctl stop docker.socket docker.service
"""


def begin(lab: Lab, dice: random.Random, features: tuple[str, ...]) -> list[str]:
    """Bring the machine to where the case begins; return the flags its run needs."""
    machine, bare = lab.machine, dice.random() < 0.4
    ways = dice.sample(sorted(BREAKS), dice.randint(2, 5))
    if bare:
        print("begins with nothing")
        lab.installed = None
        machine.wipe()
        return []
    if lab.installed != features:
        machine.wipe()
        succeeded(machine.install(*lab.reference(features).options))
    lab.installed = None
    ways.sort(key=_LAST.__eq__)
    print(f"begins with a finished install, but: {', '.join(ways)}")
    for way in ways:
        machine.sh(f"D=/root/ai-server S=/root/.local/state/dream-runner; {BREAKS[way]}")
    # Every phase runs, whatever the dice left as it was.
    return ["--full"]


def model_is_there(machine: Machine) -> bool:
    """Tell whether the model need not be fetched at all."""
    found = list((machine.install_dir / "data" / "models").glob("*.gguf"))
    return any(hashlib.sha256(path.read_bytes()).hexdigest() == machine.sha256 for path in found)


def kill(machine: Machine, dice: random.Random, options: list[str], seconds: float) -> None:
    """Start an install and kill it, or a part of it, within so many seconds."""
    instant = dice.uniform(0, seconds)
    part = dice.choice(["tree", "tree", "wrapper", "playbook", "module"])
    engine = dice.random() < 0.15
    print(
        f"kills {part}{' and the engine' if engine else ''} after {instant:.2f} of {seconds:.2f} s"
    )
    run = machine.start("install", *options)
    time.sleep(instant)
    events = machine.events()
    print(f"the last event was {events[-1] if events else 'none'}")
    if not hit(run, part):
        print(f"there was no {part}: kills the whole tree")
        hit(run, "tree")
    if engine:
        machine.sh("systemctl kill --signal=KILL docker")
    run.process.wait(timeout=60)


def check(lab: Lab, features: tuple[str, ...], secrets: dict[str, str]) -> None:
    """The state of an undisturbed install, the same secrets, every feature, nothing left over."""
    machine, reference = lab.machine, lab.reference(features)
    kept = machine.secrets()
    assert {name: kept.get(name) for name in secrets} == secrets, "secrets changed"
    found = sandbox.differences(reference.state, machine.state())
    assert not found, "\n".join(found)
    twins = {name: many for name, many in machine.engine()["containers"].items() if len(many) > 1}
    assert twins == {}
    assert machine.ready() == READY[features]
    assert machine.leftovers() == []
    assert machine.strangers() == []
    name, answer = machine.stack.chat()
    assert (name, bool(answer)) == ("model", True)


def check_rests(machine: Machine, reference: Reference) -> str:
    """A finished install is asked again: no task runs, nothing changes; return its digest."""
    before = machine.stack.identities()
    again = succeeded(machine.install("--yes", "--json"))
    why = [item for item in machine.events() if item["type"] == "phase_finished"]
    assert (again.changed, again.tasks) == (0, 0), f"{again}\n{why}"
    assert machine.stack.identities() == before
    state = machine.state()
    found = sandbox.differences(reference.state, state)
    assert not found, "\n".join(found)
    return cases.digest(state)
