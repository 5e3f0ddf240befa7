"""A list of wheels, pinned by digest and size for each Python and processor.

``scripts/lock_webui.py`` writes it. It has no addresses: the package index is asked for them.
"""

from __future__ import annotations

import json
import re
from typing import Any, List, NamedTuple, Sequence

from ..errors import RequirementError, UsageError
from ..files import text_file

SCHEMA = "dream-runner.wheels/1"
_FILE = re.compile(
    r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TARGET = re.compile(r"3\.[0-9]{1,2}-(amd64|arm64)")


class Wheel(NamedTuple):
    """A wheel, by the name of its file."""

    file: str
    sha256: str
    size_bytes: int
    targets: Sequence[str]

    @property
    def name(self) -> str:
        """Return the project in the form that indexes use."""
        return re.sub(r"[-_.]+", "-", self.file.split("-")[0]).lower()

    @property
    def version(self) -> str:
        """Return the release."""
        return self.file.split("-")[1]


class Lock(NamedTuple):
    """The wheels of one project and of everything that it needs."""

    project: str
    version: str
    targets: Sequence[str]
    wheels: Sequence[Wheel]

    def of(self, target: str) -> List[Wheel]:
        """Return the wheels of one target, such as ``3.11-amd64``."""
        return [wheel for wheel in self.wheels if target in wheel.targets]

    def size_bytes(self, target: str) -> int:
        """Return the bytes of all wheels of one target."""
        return sum(wheel.size_bytes for wheel in self.of(target))

    def pythons(self, arch: str) -> List[str]:
        """Return the Pythons that there are wheels for on a processor, such as ``3.11``."""
        known = (target.split("-") for target in self.targets)
        return [python for python, processor in known if processor == arch]

    def requirements(self, target: str) -> str:
        """Return the list as pip takes it."""
        lines = [
            "%s==%s --hash=sha256:%s" % (wheel.name, wheel.version, wheel.sha256)
            for wheel in self.of(target)
        ]
        return "\n".join(
            ["# Written by dream-runner: %s for %s." % (self.project, target), *lines, ""]
        )


def target_of(lock: Lock, python: str, arch: str) -> str:
    """Return the target of a Python (``3.11``) on a processor. Raises RequirementError NO_WHEEL."""
    target = "%s-%s" % (python, arch)
    if target not in lock.targets:
        raise RequirementError(
            "there are no packages of %s for Python %s on %s" % (lock.project, python, arch),
            code="NO_WHEEL",
            hint="it needs one of Python %s" % ", ".join(lock.pythons(arch) or ["(none)"]),
        )
    return target


def read(path: str) -> Lock:
    """Return the lock in a file. Raises UsageError WHEEL_LOCK_BROKEN."""
    try:
        return parse(text_file.read(path))
    except text_file.Unreadable as error:
        raise _broken(error.reason) from error


def parse(text: str) -> Lock:
    """Return a lock from its file's text. Raises UsageError WHEEL_LOCK_BROKEN."""
    try:
        document = json.loads(text)
        return _lock(document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _broken(str(error)) from error


def _broken(why: str) -> UsageError:
    return UsageError(
        "the list of wheels cannot be used: %s" % why,
        code="WHEEL_LOCK_BROKEN",
        hint="install dream-runner again",
    )


def _lock(document: Any) -> Lock:
    if document["schema"] != SCHEMA:
        raise ValueError("its schema is %r" % document["schema"])
    targets = [_matched(_TARGET, item) for item in document["targets"]]
    wheels = [
        Wheel(
            _matched(_FILE, item["file"]),
            _matched(_DIGEST, item["sha256"]),
            int(item["size_bytes"]),
            [_matched(_TARGET, target) for target in item.get("targets", targets)],
        )
        for item in document["wheels"]
    ]
    return Lock(str(document["project"]), str(document["version"]), targets, wheels)


def _matched(pattern: "re.Pattern[str]", text: Any) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ValueError("%.80r is not allowed there" % (text,))
    return text
