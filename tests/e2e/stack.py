"""A machine on which profile ``full`` can be installed without any registry of the world.

A registry and a web server inside the node serve what the catalogue names: llama.cpp's own server,
a stand-in for every other service (fixtures/standins.py), and two small models.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from fixtures import standins
from images import archive, containers, docker_registry, registry
from nodes.node import Node, Result

from dream_runner import catalog

from . import watcher

_WATCH = "/root/served/watch"
REGISTRY_PORT, FILES_PORT = 5000, 5080
STATE = ".local/state/dream-runner"
ENGINE_TAG = "ghcr.io/ggml-org/llama.cpp:server-b9014"


@dataclass
class Stacked:
    """A node with its sources; ``install`` is the README's command for the full profile."""

    node: Node
    models: dict[str, str]
    venv: str = "/root/.local/share/dream-runner/venv"
    #: All that the commands said.
    said: list[str] = field(default_factory=list)
    #: Files and packages of the machine before the first install, where a test compares them.
    before: tuple[dict[str, str], set[str]] = field(default_factory=lambda: ({}, set()))

    def options(self, model: str = "one") -> tuple[str, ...]:
        address = f"http://127.0.0.1:{FILES_PORT}/{model}.gguf"
        which = ("--model", address, "--sha256", self.models[model])
        # The tests ask the engine from outside; it has no sign-in, and --lan leaves it closed.
        return ("--yes", "--lan", "--expose", "llama-server", "--profile", "full", *which)

    def install(self, *more: str, model: str = "one") -> Result:
        return self._heard(self.node.install(*self.options(model), "--json", *more))

    def again(self, *more: str) -> Result:
        """Install with the saved settings, straight from the installed command."""
        return self._heard(self.node.runner("install", "--yes", "--json", *more))

    def _heard(self, result: Result) -> Result:
        self.said.append(result.text)
        return result

    def variables(self, model: str = "one") -> dict[str, Any]:
        """Return what ``options`` say in the words of an answers file."""
        return {
            "dream_profile": "full",
            "dream_model": f"http://127.0.0.1:{FILES_PORT}/{model}.gguf",
            "dream_model_sha256": self.models[model],
            "dream_bind_address": "0.0.0.0",
            "dream_expose": ["llama-server"],
        }

    def playbook(self, **more: Any) -> list[str]:
        """Return the command line that installs without the wrapper, in the checkout."""
        answers = json.dumps({**self.variables(), **more})
        command = [f"{self.venv}/bin/ansible-playbook", "-i", "localhost,", "playbooks/install.yml"]
        return [*command, "-e", answers]

    def play(self, *, full: bool = False, **more: Any) -> Result:
        """Install without the wrapper."""
        words = self.playbook(dream_full=full, **more)
        return self.node.must(*words, cwd=self.node.checkout, env={"NO_COLOR": "1"})

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine runs, by compose service."""
        said = self.node.must("docker", "ps", "--all", "--format", "json", "--no-trunc").out
        found = [json.loads(line) for line in said.splitlines()]
        return {_label(item, "com.docker.compose.service"): item for item in found}

    def identities(self) -> dict[str, str]:
        """Return the container of each service: another id is another container."""
        return {name: item["ID"] for name, item in self.containers().items()}

    def images(self) -> set[str]:
        """Return what the engine has, by the references that a lock gives."""
        form = "{{.Repository}}@{{.Digest}}"
        said = self.node.must("docker", "image", "ls", "--digests", "--format", form).out
        return set(said.split())

    def published(self) -> set[str]:
        """Return address and port of everything that the containers publish over IPv4."""
        said = " ".join(item["Ports"] for item in self.containers().values())
        # Neighbours are shown as one range.
        rows = re.findall(r"(\d+\.\d+\.\d+\.\d+):(\d+)(?:-(\d+))?->", said)
        return {
            f"{address}:{port}"
            for address, first, last in rows
            for port in range(int(first), int(last or first) + 1)
        }

    def phases(self, done: Any) -> dict[str, str]:
        """Return phase and state of what a run did, from its journal."""
        path = f"{self.node.home}/{STATE}/runs/{done['run_id']}/events.jsonl"
        events = [json.loads(line) for line in self.node.must("cat", path).out.splitlines()]
        return {item["phase"]: item["state"] for item in events if item.get("state")}

    def unusable_image(self) -> dict[str, Any]:
        """Return the entry in a lock of an image whose program does not exist."""
        return entry("broken", containers.broken())

    def watch(self, words: dict[str, str], known: list[str], env_file: str) -> None:
        """Look for ``words``, and what ``env_file`` comes to hold, until ``watched`` is called."""
        folders = [f"{self.node.home}/{STATE}/runs", "/tmp"]
        given = {"words": words, "known": known, "folders": folders, "env_files": [env_file]}
        places = {"stop": f"{_WATCH}/stop", "report": f"{_WATCH}/report"}
        self.node.copy_in(watcher.__file__, f"{_WATCH}/watcher.py")
        self._write(f"{_WATCH}/watch.json", {**given, **places})
        program = ["python3", "-B", f"{_WATCH}/watcher.py", "watch", f"{_WATCH}/watch.json"]
        unit(self.node, "test-watcher", program, restart="no")

    def watched(self) -> Any:
        """End the watch; return what it found, and how often it looked."""
        self.node.must("touch", f"{_WATCH}/stop")
        wait_for(lambda: self.node.run("test", "-e", f"{_WATCH}/report").code == 0)
        return json.loads(self.node.must("cat", f"{_WATCH}/report").out)

    def scan(self, words: dict[str, str]) -> list[str]:
        """Return where on the machine a word stands, in whatever file."""
        skip = ["/proc", "/sys", "/dev", _WATCH]
        self._write(f"{_WATCH}/scan.json", {"roots": ["/"], "words": words, "skip": skip})
        command = ("python3", "-B", f"{_WATCH}/watcher.py", "scan", f"{_WATCH}/scan.json")
        done = self.node.must(*command).json()
        assert done["bytes"] > 100_000_000
        return list(done["found"])

    def _write(self, path: str, document: Any) -> None:
        self.node.must("sh", "-c", 'cat > "$0"', path, input=json.dumps(document))

    def ask(self, path: str, port: int = 11434, body: Any = None) -> Any:
        """Ask the node from outside, as another machine in the network would."""
        request = urllib.request.Request(
            f"http://{self.node.address}:{port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def chat(self) -> tuple[str, str]:
        """Return the model's name and its answer."""
        question = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        said = self.ask("/v1/chat/completions", body=question)
        return said["model"], said["choices"][0]["message"]["content"]

    def receipt(self, phase: str) -> Any:
        path = f"{self.node.home}/{STATE}/receipts/{phase}.json"
        return json.loads(self.node.must("cat", path).out)


def _label(item: dict[str, Any], name: str) -> str:
    labels = dict(pair.split("=", 1) for pair in item["Labels"].split(",") if "=" in pair)
    return labels.get(name, "")


def changed(result: Result) -> int:
    """Return how many changes ansible-playbook counts in its last lines."""
    found = re.findall(r"^localhost .* changed=(\d+) .* failed=0 ", result.out, re.MULTILINE)
    assert len(found) == 1, str(result)
    return int(found[0])


def models(folder: Path) -> dict[str, Path]:
    """Write two models that differ in one number, and answer."""
    smoke = (catalog.HERE / "smoke.gguf").read_bytes()
    contents = {"one": smoke, "two": smoke[:-4] + b"\0\0\0\x3d"}
    for name, content in contents.items():
        (folder / f"{name}.gguf").write_bytes(content)
    return {name: folder / f"{name}.gguf" for name in contents}


def prepare(machine: Node, models: dict[str, Path]) -> Stacked:
    """Give ``machine`` a checkout, its sources and a lock that points to them."""
    machine.copy_checkout()
    # Whoever installs, what is served is root's.
    serve_files(replace(machine, user="root"), models)
    replace_helper_models(machine)
    write_lock(machine, serve_images(machine))
    return Stacked(machine, {name: sha256(path) for name, path in models.items()})


#: What the models of the two lowest tiers are here: both choose by the catalogue as it is.
TIERS = {"qwen3.5-2b-q4": "two", "qwen3.5-4b-q4": "one", "qwen3.5-9b-q4": "one"}


def have_models_of_tiers(machine: Node, models: dict[str, Path]) -> None:
    """Let the catalogue of the checkout in ``machine`` name files that can be had there.

    After ``prepare`` and before the first install.
    """
    name = f"{machine.checkout}/dream_runner/catalog/models.yml"
    catalogue = yaml.safe_load(machine.must("cat", name).out)
    for item in catalogue["models"]:
        if item["id"] in TIERS:
            path = models[TIERS[item["id"]]]
            file = {"file": f"{item['id']}.gguf", "sha256": sha256(path)}
            place = f"http://127.0.0.1:{FILES_PORT}/{path.name}"
            item["files"] = [{**file, "size_bytes": path.stat().st_size, "urls": [place]}]
    machine.must("sh", "-c", 'cat > "$0"', name, input=yaml.safe_dump(catalogue))


def replace_helper_models(machine: Node) -> None:
    """Replace the helper models in the catalogue of the checkout in ``machine`` by small files.

    A test cannot download from a hub. Small files are fetched, verified, mounted and removed in the
    same way.
    """
    name = f"{machine.checkout}/dream_runner/catalog/models.yml"
    catalogue = yaml.safe_load(machine.must("cat", name).out)
    served = replace(machine, user="root")
    for helper in catalogue["helpers"]:
        for file in helper["files"]:
            content = f"instead of {file['file']}\n"
            place = f"helpers/{file['file']}"
            script = 'mkdir -p "$(dirname "$0")" && cat > "$0"'
            served.must("sh", "-c", script, f"/root/served/models/{place}", input=content)
            file["sha256"] = hashlib.sha256(content.encode()).hexdigest()
            file["size_bytes"] = len(content)
            file["urls"] = [f"http://127.0.0.1:{FILES_PORT}/{place}"]
    machine.must("sh", "-c", 'cat > "$0"', name, input=yaml.safe_dump(catalogue))


def serve_images(machine: Node, busy: int = 0) -> dict[str, dict[str, Any]]:
    """Run a registry inside ``machine`` and return the lock that points to it.

    ``busy``: how many requests for an image it refuses first, which no real registry can be told.
    """
    served = images()
    root = replace(machine, user="root")
    if busy:
        _serve_images(root, served, busy)
    else:
        tags = {f"{name}:{tag(name)}": image for name, image in served.items()}
        docker_registry.serve(root, tags, REGISTRY_PORT)
    return lock_of(served)


def lock_of(served: dict[str, archive.Image]) -> dict[str, dict[str, Any]]:
    """Return the lock of the whole catalogue, which points to the registry of the node."""
    lock = {
        item["image"]: entry(_repository(item["id"]), served[_repository(item["id"])])
        for item in catalog.load().services["services"]
    }
    return {**lock, ENGINE_TAG: entry("llama-server", served["llama-server"])}


def images() -> dict[str, archive.Image]:
    """Return the images that stand for those of the catalogue, by repository.

    llama.cpp is real, and the services behind the features answer like their products; the others
    say 200 on the ports of the engine and of the chat.
    """
    return {
        "llama-server": containers.llama_server(),
        **{name: containers.stand_in(name) for name in standins.PROGRAMS},
        "stub": containers.web_stub((3000, 8080)),
        "broken": containers.broken(),
    }


def tag(repository: str) -> str:
    """Return the tag of the service's image in the catalogue, so that ``lock`` finds it again."""
    services = catalog.load().services["services"]
    found = [item["image"] for item in services if item["id"] == repository]
    return found[0].rpartition(":")[2] if found else "1"


def _repository(service: str) -> str:
    return service if service in ("llama-server", *standins.PROGRAMS) else "stub"


def entry(name: str, image: archive.Image) -> dict[str, Any]:
    place = f"127.0.0.1:{REGISTRY_PORT}/{name}"
    return {"digest": image.digest, "from": place, "platforms": ["linux/amd64", "linux/arm64"]}


def write_lock(machine: Node, images: dict[str, dict[str, Any]]) -> None:
    """Write the machine's own lock of the images."""
    script = f"mkdir -p -m 700 {STATE} && cat > {STATE}/{catalog.LOCK}"
    machine.must("sh", "-c", script, input=lock_document(images), cwd=machine.home)


def lock_document(images: dict[str, dict[str, Any]]) -> str:
    """Return the text of a lock with these entries."""
    return json.dumps({"schema": catalog.LOCK_SCHEMA, "images": images})


def _serve_images(machine: Node, images: dict[str, archive.Image], busy: int) -> None:
    machine.copy_in(registry.__file__, "/root/served/registry.py")
    layouts = []
    for name, image in images.items():
        packed = machine.copy_in(image.tar, f"/root/served/{name}.tar")
        unpack = f"mkdir -p /root/served/{name} && tar -x -C /root/served/{name} -f {packed}"
        machine.must("sh", "-c", f"{unpack} && rm {packed}")
        layouts.append(f"{name}=/root/served/{name}")
    program = [
        "env",
        f"REGISTRY_BUSY={busy}",
        "python3",
        "-B",
        "/root/served/registry.py",
        str(REGISTRY_PORT),
        *layouts,
    ]
    unit(machine, "test-registry", program)


def serve_files(machine: Node, models: dict[str, Path]) -> None:
    for name, path in models.items():
        machine.copy_in(path, f"/root/served/models/{name}.gguf")
    server = ["python3", "-B", "-m", "http.server", str(FILES_PORT), "--directory"]
    unit(machine, "test-files", [*server, "/root/served/models"])


def unit(machine: Node, name: str, program: list[str], restart: str = "always") -> None:
    """Keep ``program`` running, whatever becomes of the command that started it."""
    kept = f"--property=Restart={restart}"
    machine.must("systemd-run", "--quiet", f"--unit={name}", kept, *program)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


#: In an install directory: the services' own, and logs.
_THEIRS = ("data", "logs", "run")
#: In a receipt: when, by which run and in which words, what a container or a file is called now.
_PASSING = ("run_id", "started_at", "finished_at", "inputs", "seen")


def state_of(stacked: Stacked) -> dict[str, Any]:
    """Return what an install left, less times, identities and secrets: to compare two of them."""
    node, root = stacked.node, f"{stacked.node.home}/ai-server"
    digests = f"find {root} -type f -exec sha256sum {{}} +"
    texts = dict(
        line.split("  ", 1)[::-1] for line in node.must("sh", "-c", digests).out.splitlines()
    )
    env = node.must("cat", f"{root}/.env").out
    settings = dict(line.split("=", 1) for line in env.splitlines() if "=" in line)
    receipts = node.must("sh", "-c", f"cat {node.home}/{STATE}/receipts/*.json").out
    return {
        "containers": {
            name: (item["Image"], item["Ports"], item["State"])
            for name, item in stacked.containers().items()
        },
        "files": {
            path: (" ".join(meta.split()[:3]), "" if _is_secret(path) else texts.get(path))
            for path, meta in node.listing(root).items()
            if not path.startswith(tuple(f"{root}/{name}/" for name in _THEIRS))
        },
        "models": {path: texts[path] for path in texts if path.endswith(".gguf")},
        "env": {key: "" if is_random(value) else value for key, value in settings.items()},
        "daemon": json.loads(node.must("cat", "/etc/docker/daemon.json").out),
        "packages": node.must("dpkg-query", "-W").out.split("\n"),
        "units": node.must("systemctl", "list-unit-files", "--state=enabled").out.split("\n"),
        "receipts": {item["phase"]: _lasting(item) for item in _documents(receipts)},
    }


def differences(left: Any, right: Any, place: str = "") -> list[str]:
    """Return where two states differ, leaf by leaf."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted({*left, *right}, key=str)
        return [
            line
            for name in names
            for line in differences(left.get(name), right.get(name), f"{place}/{name}")
        ]
    return [] if left == right else [f"{place}: {left} != {right}"]


def _is_secret(path: str) -> bool:
    """Tell whether a file holds secrets, which differ, or the time at which it was written."""
    return path.endswith((".env", "summary.json", ".dream-runner.json", "settings.yml"))


def is_random(value: str) -> bool:
    return re.search(r"[0-9a-f]{16}|[A-Za-z0-9+/]{20}", value) is not None


def _documents(text: str) -> list[dict[str, Any]]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in _PASSING}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def wait_for(condition: Any, seconds: float = 120, pause: float = 0.2) -> None:
    """Wait until ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(pause)
