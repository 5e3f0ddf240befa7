"""More than one at a time: two installs, an uninstall, another user."""

from __future__ import annotations

import os
import signal
import time

import pytest

from . import places, victims
from .cases import Case

pytestmark = pytest.mark.timeout(900)

#: Debian's nobody: a user without rights, without a HOME of its own.
NOBODY = 65534
#: The phase in which nothing holds a lock of its own.
BUSY = 12


def _begun(event: dict[str, object]) -> bool:
    return event["type"] == "task_started"


def test_two_installs(case: Case) -> None:
    """The second one says who is at work and ends with 12; the first one never notices."""
    case.at_rest()
    box = case.box
    first = box.start("--full")
    assert victims.wait_for_event(box, first, _begun), str(first)
    second = box.finish(box.start(name="second"))
    assert second.code == BUSY, str(second)
    assert str(victims.wrapper(first).pid) in second.err, str(second)  # type: ignore[union-attr]
    done = box.finish(first)
    assert done.code == 0, str(done)
    case.check(box.secrets())
    case.check_rests()


@pytest.mark.occasional
def test_two_installs_at_the_same_instant(case: Case) -> None:
    """Exactly one of them gets to work."""
    case.at_rest()
    box = case.box
    runs = [box.start("--full", name=name) for name in ("one", "two")]
    codes = sorted(box.finish(run).code for run in runs)
    assert codes in ([0, BUSY], [0, 0]), "\n".join(map(str, runs))
    case.check(box.secrets())
    case.check_rests()


def test_uninstall_during_an_install(case: Case) -> None:
    """An uninstall waits for nobody and removes nothing while an install is at work."""
    case.at_rest()
    box = case.box
    first = box.start("--full")
    assert victims.wait_for_event(box, first, _begun), str(first)
    second = box.finish(box.uninstall())
    assert second.code == BUSY, str(second)
    assert box.finish(first).code == 0, str(first)
    case.check(box.secrets())
    case.check_rests()


@pytest.mark.occasional
def test_install_during_an_uninstall(case: Case) -> None:
    """An install that meets an uninstall ends with 12; one more brings everything back."""
    case.at_rest()
    box = case.box
    first = box.uninstall()
    assert victims.wait_for_event(box, first, _begun), str(first)
    second = box.finish(box.start(name="second"))
    assert second.code == BUSY, str(second)
    assert box.finish(first).code == 0, str(first)
    case.recover(secrets=box.secrets())


@pytest.mark.occasional
def test_uninstall_killed(case: Case) -> None:
    """An uninstall dies half-way: the next install brings back what is missing."""
    case.at_rest()
    box = case.box
    run = box.uninstall("--purge") if case.dice.random() < 0.5 else box.uninstall()
    victims.wait_for_event(box, run, _begun)
    time.sleep(case.dice.uniform(0, 3))
    victims.kill(run)
    case.tell(f"kept: {sorted(path.name for path in box.install_dir.glob('*'))}")
    case.recover_somehow()


@pytest.mark.occasional
def test_root_after_a_user(case: Case) -> None:
    """A user's install dies, root runs the same command in the user's HOME, then the user again.

    Root may refuse or finish the work, but leaves nothing that the user cannot replace.
    """
    places.need("setpriv", root=True)
    box = case.box
    box.wipe()
    for path in (box.home, box.home / "tmp"):
        os.chown(path, NOBODY, NOBODY)
    as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    run = box.start(before=as_user)
    time.sleep(case.dice.uniform(0.2, 0.9) * case.reference.seconds)
    victims.signal_all(run, signal.SIGKILL)
    box.finish(run)
    victims.wait_until_gone(box)
    secrets = box.secrets()
    root = box.install()
    case.tell(f"root: {root.code} {root.err[-300:]}")
    owned = [str(path) for path in box.home.rglob("*") if path.lstat().st_uid != NOBODY]
    box.end_services()
    done = box.finish(box.start(before=as_user))
    assert done.code == 0, f"{owned[:20]}\n{done}"
    assert {name: box.secrets().get(name) for name in secrets} == secrets
    assert box.answer()
    assert box.leftovers() == []
    again = box.finish(box.start(before=as_user))
    assert (again.code, again.tasks) == (0, 0), str(again)
    assert root.code in (0, 2, 3, 4), str(root)
    box.wipe()
