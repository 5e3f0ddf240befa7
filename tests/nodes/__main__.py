"""Nodes by hand: ``python -m tests.nodes --help``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

# The packages below are called as pytest calls them, by their place in tests/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nodes import lasting
from nodes.node import HOMES
from nodes.podman import missing_tools


def main() -> None:
    options = parser().parse_args()
    if missing_tools():
        sys.exit(f"error: nodes need more here. apt-get install {' '.join(missing_tools())}")
    if options.verb == "create":
        address = lasting.create(
            options.name,
            options.release,
            kind=options.kind,
            engine=options.engine,
            key=Path(options.key).read_text(),
            user=options.user,
            owner=lasting.owner_from_environment(),
        )
        print(json.dumps({"name": options.name, "address": address, "user": options.user}))
    elif options.verb == "copy":
        lasting.copy(options.name, options.source, options.target)
    elif options.verb == "remove":
        lasting.remove(options.name)
    elif options.verb == "remove-all":
        lasting.remove_all()
    else:
        print("\n".join(f"{name} {owner or ''}" for name, owner in lasting.nodes()))


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m tests.nodes", description=__doc__)
    verbs = whole.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="start a node with sshd, and say its address")
    create.add_argument("name")
    create.add_argument("--release", default="13")
    create.add_argument("--kind", default="ssh")
    create.add_argument("--engine", action="store_true", help="with what a container engine needs")
    create.add_argument("--user", default="root", choices=sorted(HOMES))
    create.add_argument("--key", required=True, help="file with the public key that may log in")
    copy = verbs.add_parser("copy", help="copy a directory into a node")
    copy.add_argument("name")
    copy.add_argument("source", type=Path)
    copy.add_argument("target")
    verbs.add_parser("remove", help="remove a node").add_argument("name")
    verbs.add_parser("remove-all", help="remove every node made by this command")
    verbs.add_parser("list", help="list them")
    return whole


if __name__ == "__main__":
    main()
