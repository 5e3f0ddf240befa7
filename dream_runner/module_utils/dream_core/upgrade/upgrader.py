"""Fetch a host's own model while a small one answers, test it, and switch to it.

This is the background program of a fast start. systemd keeps it running, or background.py on a host
without systemd. It can be killed at any time and started again: the remaining steps follow from the
host. The steps: the file is fetched and verified; a second engine loads it and answers on another
port; the configuration is switched; the engine answers at its real address; only then the small
model is removed, the receipts are updated, and the program removes itself. If anything fails after
the switch, the small model is restored and the program ends as failed.

The differences between the kinds of engines are in switch_containers.py and switch_native.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import sys
import time
from typing import (
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Union,
    cast,
)

from ..errors import DreamError, IntegrityError, UsageError
from ..fetch.fetcher import fetch, remove
from ..fetch.request import FetchRequest, Network, Patience, Progress
from ..files import env_file, json_file
from ..layout import SYSTEM_UNITS
from ..native import background
from ..records import bounds, locks
from ..resources.kind import name_of
from ..system import streams, systemd
from ..types.choice import ModelFile
from ..types.resource import Resource
from ..types.upgrade import Refusal, UpgradeDocument
from . import progress
from .receipt_changes import Receipts
from .switch_containers import Containers
from .switch_native import Native

#: The exit status without a restart: only a person can continue.
FINAL = 4

#: The fetch gives up early with a reason; this program retries without a limit.
_PATIENCE = Patience(connect_seconds=10.0, attempts=3)


class Refused(Exception):
    """The host's own model was refused; only a person can change that."""


class Pauses(NamedTuple):
    """Seconds to wait: after the first failed fetch, after many, and for the end of an install."""

    first: float = 15.0
    most: float = 900.0
    poll: float = 2.0


PAUSES = Pauses()

Engine = Union[Containers, Native]
#: Make the engine of a document; the last argument prints a line.
MakeEngine = Callable[[UpgradeDocument, progress.Paths, Callable[[str], None]], Engine]


def engine_of(
    document: UpgradeDocument, paths: progress.Paths, say: Callable[[str], None]
) -> Engine:
    """Return the engine whose model an upgrade changes."""
    kind = Native if document.get("engine") == "native" else Containers
    return kind(document, paths, say)


class Upgrader:
    """One upgrade, as its document describes it."""

    def __init__(
        self,
        document: UpgradeDocument,
        *,
        make_engine: MakeEngine = engine_of,
        systemctl: Callable[..., None] = systemd.systemctl,
        units: str = SYSTEM_UNITS,
        pauses: Pauses = PAUSES,
    ) -> None:
        self._document = document
        self._paths = progress.Paths(str(document["install_dir"]))
        self._state_dir = str(document["state_dir"])
        self._digest = digest_of(document)
        self._engine = make_engine(document, self._paths, _print)
        self._receipts = Receipts(document, self._paths, self._engine, _print)
        home = os.path.expanduser("~")
        self._bounds = bounds.Bounds(str(document["install_dir"]), home, units)
        self._call_systemctl = systemctl
        self._pauses = pauses
        self._why = ""

    def run(self) -> int:
        """Do the remaining steps; return the program's exit status."""
        try:
            if not self._receipts.are_upgraded():
                self._fetch()
            with self._turn():
                if not self._receipts.are_upgraded():
                    self._refuse_again()
                    self._try()
                    self._receipts.record(self._switch())
                self._say(progress.RETIRING)
                self._retire_small()
                self._leave()
        except Refused as error:
            self._say(progress.FAILED, str(error), {"digest": self._digest, "why": str(error)})
            return FINAL
        except DreamError as error:
            self._say(progress.FAILED, error.what)
            return FINAL
        return 0

    # --- fetch

    def _fetch(self) -> None:
        """Fetch and verify every file; retry after failures of a server or disk."""
        self._say(progress.FETCHING)
        tries = 0
        while True:
            before = self._here()
            try:
                for item in self._document["model"]["files"]:
                    fetch(self._request(item), self._note_progress)
                return
            except IntegrityError as error:
                raise Refused(error.what) from error
            except UsageError:
                raise
            except DreamError as error:
                # After new bytes, try again soon.
                tries = 0 if self._here() > before else tries + 1
                self._say(progress.FETCHING, plain(error))
                time.sleep(pause(tries, self._pauses))

    def _here(self) -> int:
        return progress.progress(self._paths.models, self._document["model"]["files"])[0]

    def _note_progress(self, seen: Progress) -> None:
        """Clear the reason for the pending download when bytes arrive again."""
        if self._why and seen.rate > 0:
            self._say(progress.FETCHING)

    def _request(self, item: ModelFile) -> FetchRequest:
        known = self._document["fetch"]
        return FetchRequest(
            path=os.path.join(self._paths.models, str(item["file"])),
            sha256=str(item["sha256"]),
            sources=tuple(item["urls"]),
            size_bytes=int(item.get("size_bytes") or 0),
            reserve_bytes=int(known["reserve_bytes"]),
            network=Network.from_environment(self._environment(), token=self._token()),
            patience=_PATIENCE,
        )

    def _environment(self) -> Dict[str, str]:
        """Return the network variables of the install."""
        try:
            with open(self._paths.network, encoding="utf-8") as stream:
                return {**os.environ, **env_file.parse(stream.read())}
        except FileNotFoundError:
            return dict(os.environ)

    def _token(self) -> str:
        path = str(self._document["fetch"]["token_file"])
        if not path:
            return ""
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read().strip()
        except OSError as error:
            raise UsageError(
                "the token file %s cannot be read: %s" % (path, error.strerror),
                code="BAD_TOKEN_FILE",
            ) from error

    # --- wait

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the end of the install and for exclusive access to this host; hold it."""
        while True:
            with locks.turn(self._state_dir) as mine:
                why = self._why_wait() if mine else "an install is in progress"
                if not why:
                    yield
                    return
            self._say(progress.WAITING, why)
            time.sleep(self._pauses.poll)

    def _why_wait(self) -> str:
        """Return why it is not yet time to switch, or an empty string."""
        now, _ = json_file.read_json(self._paths.document)
        if not isinstance(now, dict) or digest_of(now) != self._digest:
            # Another model was chosen in the meantime; the next start reads the new document.
            raise SystemExit(1)
        why = self._receipts.reason_to_wait()
        if why or self._receipts.are_upgraded():
            return why
        return self._engine.reason_to_wait()

    def _refuse_again(self) -> None:
        """Stop if this model was refused before, because each attempt interrupts the engine."""
        refused = self._refused()
        if refused.get("digest") == self._digest:
            raise Refused(str(refused.get("why", "")))

    def _refused(self) -> Refusal:
        said, _ = json_file.read_json(self._paths.state)
        refused = said.get("refused") if isinstance(said, dict) else None
        return cast("Refusal", refused) if isinstance(refused, dict) else {}

    # --- try and switch

    def _try(self) -> None:
        """Test the model beside the running engine with one question. Raises Refused."""
        self._say(progress.TESTING)
        why = self._engine.trial("after")
        # If the small model fails too, the trial does not show a problem of this model.
        if why and not self._engine.trial("before"):
            raise Refused("it was loaded beside the running engine and failed: %s" % why)
        if why:
            _print("the trial is inconclusive: the small model fails in it too (%s)" % why)

    def _switch(self) -> Dict[str, str]:
        """Switch to the model and test it; switch back to the small one if that fails."""
        self._say(progress.SWITCHING)
        try:
            return self._engine.apply("after")
        except DreamError as error:
            why = error.what
        try:
            self._engine.apply("before")
        except DreamError as error:
            both = (why, error.what)
            raise Refused("%s; the small model does not answer either: %s" % both) from None
        raise Refused(
            "it did not answer after the switch, so the small model was restored: %s" % why
        )

    # --- clean up

    def _retire_small(self) -> None:
        """Remove the small model's files if an install made them."""
        made = [item["path"] for item in self._receipts.made_models() if self._may_go(item)]
        for path in self._small_files():
            if path in made:
                remove(path)

    def _may_go(self, resource: Resource) -> bool:
        """Return whether the host confirms that a resource is this install's; print why not."""
        why = self._bounds.refusal(resource, "running")
        if why:
            _print("%s is kept: %s" % (name_of(resource), why))
        return not why

    def _small_files(self) -> List[str]:
        names = {item["file"] for item in self._document["before"]["model"]["files"]}
        names -= {item["file"] for item in self._document["model"]["files"]}
        return [os.path.join(self._paths.models, name) for name in sorted(names)]

    def _leave(self) -> None:
        """Remove the unit and its files, and then their resources in the receipts.

        The document is removed after the other files, and the program last: until then another
        start can finish this.
        """
        unit = self._document["unit"]
        is_ours = self._has_unit()
        if is_ours:
            self._systemctl("disable", str(unit["name"]))
        last = [self._paths.document, self._paths.program]
        gone = [path for path in self._files() if path not in last] + last
        gone += [str(unit["path"])] if is_ours else []
        for path in gone:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(self._paths.folder)
        if is_ours:
            self._systemctl("daemon-reload")
        small = [path for path in self._small_files() if not os.path.exists(path)]
        self._receipts.forget([*gone, self._paths.folder, *small])

    def _systemctl(self, *words: str) -> None:
        """Run systemctl; log a failure."""
        try:
            self._call_systemctl(str(self._document["unit"]["scope"]), *words)
        except DreamError as error:
            _print(error.what)

    def _has_unit(self) -> bool:
        """Return whether a unit of this install keeps the program running."""
        unit = self._document["unit"]
        if not unit["path"]:
            return False
        known: Resource = {"kind": "unit", "name": unit["name"], "scope": unit["scope"]}
        return self._may_go({**known, "path": unit["path"]}) and self._may_go(
            {**known, "kind": "file", "path": unit["path"]}
        )

    def _files(self) -> List[str]:
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(self._paths.folder))
            return [os.path.join(self._paths.folder, name) for name in names]
        return []

    def _say(self, stage: str, why: str = "", refused: Optional[Dict[str, str]] = None) -> None:
        """Write the stage for ``status``, with the id of this start of the program.

        A refusal is kept for the next start, which would fail again.
        """
        _print("%s%s" % (stage, ": " + why if why else ""))
        self._why = why
        said = {
            "schema": progress.SCHEMA,
            "stage": stage,
            "why": why,
            "invocation": os.environ.get("INVOCATION_ID") or background.invocation_of(os.getpid()),
            "model": self._document["model"]["id"],
            "refused": refused or self._refused(),
        }
        with contextlib.suppress(DreamError):
            json_file.write_json(self._paths.state, said)


# --- decisions --------------------------------------------------------------------------


def pause(tries: int, pauses: Pauses = PAUSES) -> float:
    """Return the seconds to wait after ``tries`` failures without a new byte."""
    return float(min(pauses.most, pauses.first * 2**tries) * random.uniform(0.8, 1.2))


def plain(error: DreamError) -> str:
    """Return why a download failed, without paths: ``huggingface.co: connection refused``."""
    found = re.search(r"could not be fetched \((.*)\)$", error.what, re.DOTALL)
    reason = found.group(1) if found else error.what
    return re.sub(r"https?://([^/\s]+)[^\s]*?(?=:? )", r"\1", reason)


def digest_of(document: Mapping[str, object]) -> str:
    """Return a digest that identifies an upgrade."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- effects ----------------------------------------------------------------------------


def _print(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text, flush=True)


def load(path: str) -> UpgradeDocument:
    """Read the document of an upgrade. Raises UsageError UPGRADE_UNREADABLE."""
    document, why = json_file.read_json(path)
    if not isinstance(document, dict) or document.get("schema") != progress.SCHEMA:
        raise UsageError(
            "%s is not a valid upgrade document: %s" % (path, why or "its schema is different"),
            code="UPGRADE_UNREADABLE",
            where=path,
            hint="run 'dream-runner install' again to rewrite the file",
        )
    return cast("UpgradeDocument", document)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the upgrade of the given document.

    ``--check`` only tests that the program starts; ``--keep`` restarts it whenever it fails.
    """
    streams.keep()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if background.KEEP in words:
        return background.keep(background.Program(sys.executable, sys.argv[0], words[-1]), [FINAL])
    try:
        document = load(words[-1])
        return 0 if "--check" in words else Upgrader(document).run()
    except DreamError as error:
        print(error.what, file=sys.stderr, flush=True)
        return FINAL
