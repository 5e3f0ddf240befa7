"""Build the images the tests need, or serve them: ``python -m tests.images --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

# The packages below are called as pytest calls them, by their place in tests/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import standins
from nodes.podman import Podman, missing_tools

from images import apt_repository, archive, containers, nodes
from images.registry import Registry

NODES = {
    f"debian{release}{'' if kind == 'bare' else '-' + kind}": (release, kind)
    for kind, releases in {"bare": nodes.RELEASES, **nodes.KINDS}.items()
    for release in releases
}
#: Made by the first test that needs it: fleets of 20 nodes and more.
RARE = "debian13-fleet-docker"
CONTAINERS: dict[str, Callable[[], archive.Image]] = {
    "llama-server": containers.llama_server,
    "web-stub": containers.web_stub,
    **{name: partial(containers.stand_in, name) for name in standins.PROGRAMS},
}
#: Docker's packages as Docker offers them: a signed repository for apt.
REPOSITORY = "docker-repository"


def main() -> None:
    options = parser().parse_args()
    if options.verb == "serve":
        serve(options.port)
        return
    every = [name for name in (*NODES, *CONTAINERS, REPOSITORY) if name != RARE]
    names = every if options.name == "all" else [options.name]
    if set(names) & set(NODES) and missing_tools():
        sys.exit(f"error: nodes need more here. apt-get install {' '.join(missing_tools())}")
    podman = Podman() if set(names) & set(NODES) else None
    try:
        for name in names:
            if name == REPOSITORY:
                print(f"{name}: {apt_repository.docker()}")
            elif name in CONTAINERS:
                image = CONTAINERS[name]()
                print(f"{name}: {image.tar} {image.reference}@{image.digest}")
            elif podman:
                release, kind = NODES[name]
                print(f"{name}: {nodes.image(release, podman, kind, options.base)}")
    finally:
        if podman:
            podman.close()


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    verbs = whole.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="make an image, unless it was made already")
    build.add_argument("name", choices=["all", *NODES, *CONTAINERS, REPOSITORY])
    build.add_argument(
        "--base", default="", help="for nodes: start from this image instead of debootstrap"
    )
    give = verbs.add_parser("serve", help="serve the service images as a registry")
    give.add_argument("--port", type=int, default=5000)
    return whole


def serve(port: int) -> None:
    """Serve every service image under its short name until Ctrl-C."""
    layouts = {name: make().layout for name, make in CONTAINERS.items()}
    print(f"docker pull 127.0.0.1:{port}/{{{','.join(layouts)}}}")
    Registry(("127.0.0.1", port), layouts).serve_forever()


if __name__ == "__main__":
    main()
