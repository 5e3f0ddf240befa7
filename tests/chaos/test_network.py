"""A model that comes over a network that breaks, from a server that counts."""

from __future__ import annotations

import hashlib
import signal
import socket
import time
from pathlib import Path

import pytest
from fixtures.villain import Villain

from . import victims
from .cases import TWICE, Case, chosen
from .origin import SIZE, Origin
from .places import Network

MEGABYTE = 1024 * 1024
pytestmark = pytest.mark.timeout(900)


def fetched(case: Case, origin: Origin, aside: Origin | None = None) -> Path:
    """Check that the model is there, whole, and that nothing of the fetch is left beside it.

    What was fetched of the model ``aside`` is kept under its digest, for whoever wants it again.
    """
    path = case.box.install_dir / "data" / "models" / "model.gguf"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == origin.sha256
    kept = f"model.gguf.{aside.sha256[:12]}" if aside else "none"
    assert [name for name in case.box.leftovers() if kept not in name] == []
    assert case.box.answer()
    return path


def finish_and_rest(case: Case, origin: Origin, aside: Origin | None = None) -> None:
    box = case.box
    secrets = box.secrets()
    done = box.install(*origin.flags, "--resume")
    assert done.code == 0, str(done)
    fetched(case, origin, aside)
    assert box.secrets() == secrets
    assert box.strangers() == []
    again = box.install()
    assert (again.code, again.tasks) == (0, 0), str(again)


def test_fetch_killed_again_and_again(case: Case, origin: Origin) -> None:
    """kill -9 of the run at random bytes: at most 8 MiB a kill come twice."""
    box = case.box
    box.put_back("finished")
    kills = 3
    for at in sorted(case.dice.uniform(0.1, 0.9) for _ in range(kills)):
        run = box.start(*origin.flags, "--resume")
        origin.wait(int(at * SIZE))
        part = case.dice.choice(["tree", "wrapper", "playbook", "module"])
        case.tell(f"kill -9 of {part} at {at:.0%}, {origin.server.sent()} bytes sent")
        victims.hit(run, part, signal.SIGKILL)
        box.finish(run, 60)
        victims.wait_until_gone(box)
    finish_and_rest(case, origin)
    twice = origin.server.sent() - SIZE
    case.tell(f"{twice} bytes came twice")
    assert twice <= kills * TWICE
    box.put_back("finished")


@pytest.mark.occasional
@pytest.mark.parametrize("name", chosen(["INT", "TERM", "HUP"], 1))
def test_fetch_stopped_politely(case: Case, origin: Origin, name: str) -> None:
    """A polite end of the wrapper keeps what was fetched, like a kill does."""
    box = case.box
    box.put_back("finished")
    run = box.start(*origin.flags)
    origin.wait(SIZE // 2)
    victims.hit(run, "wrapper", signal.Signals[f"SIG{name}"])
    assert box.finish(run, 60).code == 130, str(run)
    finish_and_rest(case, origin)
    assert origin.server.sent() - SIZE <= TWICE
    box.put_back("finished")


class _Far(Villain):
    """The server at the far end of a cable."""

    def __init__(self, network: Network, content: bytes) -> None:
        self._socket = network.listen()
        super().__init__(content, b"", host=network.host, rate=8 * MEGABYTE)

    def _listen(self, scheme: str):  # type: ignore[no-untyped-def]
        wanted, self.host = self.host, "127.0.0.1"
        server = super()._listen(scheme)
        self.host = wanted
        server.socket.close()
        server.socket = self._socket
        server.server_address = self._socket.getsockname()
        return server


@pytest.mark.parametrize("seconds", chosen([2.0, 8.0, 40.0], 1))
def test_network_cut_and_restored(case: Case, content: bytes, seconds: float) -> None:
    """The cable is pulled in the middle of a fetch and put back: one run, one model."""
    box = case.box
    box.put_back("finished")
    with Network() as network, _Far(network, content) as server:
        origin = Origin.of(server)
        run = box.start(*origin.flags)
        origin.wait(int(case.dice.uniform(0.1, 0.8) * SIZE))
        network.cut()
        time.sleep(seconds)
        network.restore()
        done = box.finish(run)
        case.tell(f"cut for {seconds} s; {server.sent() - SIZE} bytes came twice")
        assert done.code == 0, str(done)
        fetched(case, origin)
        # Bytes that were on their way when the cable went count as sent, once for each stream.
        assert server.sent() - SIZE <= 2 * TWICE
        box.end_services()
    box.put_back("finished")


@pytest.mark.occasional
def test_network_stays_cut(case: Case, content: bytes) -> None:
    """The run gives up and says so (5); when the network is back, the next one continues."""
    box = case.box
    box.put_back("finished")
    with Network() as network, _Far(network, content) as server:
        origin = Origin.of(server)
        run = box.start(*origin.flags)
        origin.wait(SIZE // 2)
        network.cut()
        # A reset tells what a cut cable would after minutes of retries.
        done = box.finish(run, 800)
        assert done.code == 5, str(done)
        network.restore()
        finish_and_rest(case, origin)
        box.end_services()
    box.put_back("finished")


def test_network_listens() -> None:
    """The far end answers while the cable is in, and does not while it is out."""
    with Network() as network, network.listen() as server:
        place = server.getsockname()
        socket.create_connection(place, timeout=5).close()
        network.cut()
        # Which error depends on where the machine's default route leads.
        with pytest.raises(OSError, match=r"refused|unreachable|timed out|No route"):
            socket.create_connection(place, timeout=0.5)
