"""Give a node of molecule what it has to find: ``python -m tests.molecule.supply --help``.

The words after the options, from ``supplies`` of a host in molecule.yml:

``smoke``           the model as /srv/smoke.gguf
``stack [BUSY]``    a registry and a web server in the node, and the lock that names them here;
                    the registry refuses the first BUSY requests for an image
``repository``      Docker's and NVIDIA's repositories, served by the node at port 8099
``hub``             a model hub that wants a token (5081), a peer that has nothing (5082), tokens
``recorded NAME``   the hardware facts of a capture, in the place of the node's own
``recorder NAMES``  programs that do nothing and write down how they were called; sysctl also works
``kernel NAMES``    settings of the kernel that are this node's own: the machine's stay as they are
``python``          another way to the system's Python: /opt/python/bin/python3
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

# The packages below are called as pytest calls them, by their place in tests/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from e2e import stack
from images import apt_repository
from nodes import lasting
from nodes.node import CHECKOUT, Node

from dream_runner import __version__, catalog
from dream_runner.commands.facts import read_capture
from dream_runner.module_utils.dream_core.containers import engine_choice
from dream_runner.module_utils.dream_core.facts.interpret import interpret

HERE = Path(__file__).resolve().parent

#: By the node's own Python: the hardware is the recorded one, on the node's own system; the mark of
#: this very node makes these facts its own.
KEEP_FACTS = """
import json, os, sys, time
sys.path.insert(0, "/srv/core")
from dream_core.facts import cache, fingerprint, interpret, probe_system
document = json.load(sys.stdin)
own = interpret.interpret(probe_system.gather())
for name in ("arch", "init", "mounts"):
    document[name] = own[name]
document["os"] = dict(own["os"], container=document["os"]["container"])
document["gathered_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
document["fingerprint"] = fingerprint.fingerprint()
trouble = cache._save(os.path.expanduser("~/.local/state/dream-runner"), cache.seal(document))
sys.exit(trouble or None)
"""

#: What was last set is what is active, as with tuned-adm. Real is only what ``kernel`` confines.
RECORDER = """\
#!/bin/sh
echo "${0##*/} $*" >>/var/log/told
case "${0##*/} ${1:-}" in
    "sysctl "*) exec /usr/sbin/sysctl "$@" ;;
    "tuned-adm active") cat /run/profile 2>/dev/null || exit 1 ;;
    "tuned-adm profile") echo "Current active profile: $2" >/run/profile ;;
esac
"""


def smoke(node: Node, *_: str) -> None:
    node.copy_in(catalog.HERE / "smoke.gguf", "/srv/smoke.gguf")


def serve_stack(node: Node, scenario: Path, busy: str = "0") -> None:
    models = scenario / "models"
    models.mkdir(exist_ok=True)
    lock = scenario / "state" / "dream-runner" / catalog.LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    stack.serve_files(node, stack.models(models))
    lock.write_text(stack.lock_document(stack.serve_images(node, int(busy))))


def repository(node: Node, scenario: Path) -> None:
    source = apt_repository.docker()
    shutil.copy(source / "fingerprint", scenario / "fingerprint")
    node.copy_tree(source, "/srv/repository")
    server = ["python3", "-B", "-m", "http.server", "8099", "--bind", "127.0.0.1"]
    stack.unit(node, "test-repository", [*server, "--directory", "/srv/repository"])


def hub(node: Node, *_: str) -> None:
    program = node.copy_in(HERE / "hub.py", "/srv/hub.py")
    smoke(node)
    for user in ("root", "sudoer"):
        script = 'umask 077; echo hub-token > "$0" && chown "$1" "$0"'
        node.must("sh", "-c", script, f"/srv/token-of-{user}", user)
    for port in ("5081", "5082"):
        stack.unit(node, f"test-hub-{port}", ["python3", "-B", program, port])


def recorded(node: Node, user: str, install_dir: str, name: str) -> None:
    capture = read_capture(str(CHECKOUT / "tests" / "fixtures" / "captures" / f"{name}.yml"))
    core = CHECKOUT / "dream_runner/module_utils/dream_core"
    node.copy_tree(core, "/srv/core/dream_core", exclude="__pycache__")
    document = dict(interpret(capture), version=__version__, install_dir=install_dir)
    text = json.dumps(document)
    node.must("python3", "-B", "-c", KEEP_FACTS, input=text, user=user)
    # For the stand-in of NVIDIA's toolkit.
    driver = engine_choice.driver_version(document)
    node.must("sh", "-c", "cat > /run/driver-version", input=driver + "\n")


def recorder(node: Node, *names: str) -> None:
    for name in names:
        script = 'cat > "$0" && chmod 0755 "$0"'
        node.must("sh", "-c", script, f"/usr/local/sbin/{name}", input=RECORDER)


def kernel(node: Node, *names: str) -> None:
    """Lay a file of the node over each setting; a node of its own may not mount anything."""
    said = node.podman.run("inspect", "--format", "{{.State.Pid}}", node.name)
    enter = ["nsenter", "--target", said.stdout.decode().strip(), "--mount"]
    node.must("mkdir", "-p", "/srv/kernel")
    for name in names:
        setting, own = f"/proc/sys/{name.replace('.', '/')}", f"/srv/kernel/{name}"
        node.must("sh", "-c", 'cat "$0" > "$1"', setting, own)
        subprocess.run([*enter, "mount", "--bind", own, setting], check=True)


def python(node: Node, *_: str) -> None:
    node.must("mkdir", "-p", "/opt/python/bin")
    node.must("ln", "-sfn", "/usr/bin/python3", "/opt/python/bin/python3")


def main() -> None:
    options = parser().parse_args()
    what, *words = options.what
    with lasting.lasting() as podman:
        node = Node(lasting.PREFIX + options.node, podman, "root")
        if what == "recorded":
            recorded(node, options.user, words[1], words[0])
        elif what in ("stack", "repository"):
            {"stack": serve_stack, "repository": repository}[what](node, options.scenario, *words)
        else:
            simple = {"smoke": smoke, "hub": hub, "recorder": recorder, "kernel": kernel}
            {**simple, "python": python}[what](node, *words)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="python -m tests.molecule.supply",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("node")
    whole.add_argument("--user", default="root", help="whose install it will be")
    whole.add_argument("--scenario", type=Path, required=True, help="directory of the scenario")
    whole.add_argument("what", nargs="+", help="one of the words above, with its own")
    return whole


if __name__ == "__main__":
    main()
