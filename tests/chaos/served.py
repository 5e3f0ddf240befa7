"""The server of a model inside a node: ``served.py CONTENT RATE PORTFILE``, beside villain.py.

It is paced like the one of the cases on this machine; ``/sent/`` says how many bytes of
the model have left it.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

# Copied into the node, it has villain.py beside it; on this machine that is in the fixtures.
try:
    from villain import Exchange, Villain, trick
except ImportError:
    from fixtures.villain import Exchange, Villain, trick


@trick
def sent(x: Exchange) -> None:
    """Say what was sent of the model."""
    total = sum(item.sent for item in x.server.log if item.trick != "sent")
    said = str(total).encode()
    x.note.ranged = False
    x.head(200, {"Content_Length": len(said)})
    x.send(said)


def main() -> None:
    content, rate, port_file = sys.argv[1:]
    with Villain(Path(content).read_bytes(), b"", rate=int(rate)) as server:
        Path(port_file).write_text(server.url("paced"), encoding="utf-8")
        threading.Event().wait()


if __name__ == "__main__":
    main()
