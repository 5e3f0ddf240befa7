"""The order of hosts and when to stop: canary, waves and allowed failures. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..module_utils.dream_core.errors import UsageError

_NUMBER = re.compile(r"(\d{1,6})(%?)", re.ASCII)


@dataclass(frozen=True)
class Amount:
    """A number of hosts, or a percentage of them."""

    number: int
    is_percent: bool = False

    def of(self, total: int, *, up: bool) -> int:
        """Return the number of hosts out of ``total``, rounded ``up`` or down."""
        if not self.is_percent:
            return min(self.number, total)
        share = total * self.number / 100
        return min(math.ceil(share) if up else math.floor(share), total)

    def __str__(self) -> str:
        return f"{self.number}%" if self.is_percent else str(self.number)


@dataclass(frozen=True)
class Order:
    """The order of a rollout.

    ``canary`` hosts come first. ``waves`` are cumulative: 10%, 50%, 100% of the hosts have
    been started at the end of the first, second and third wave.
    """

    canary: Amount
    waves: tuple[Amount, ...]
    max_fail: Amount

    def stages(self, hosts: Sequence[str]) -> list[list[str]]:
        """Return the hosts by stage, canary first. Every host is in exactly one stage."""
        total = len(hosts)
        ends = [self.canary.of(total, up=True)]
        ends += [wave.of(total, up=True) for wave in self.waves]
        ends.append(total)
        stages, begun = [], 0
        for end in ends:
            if end > begun:
                stages.append(list(hosts[begun:end]))
                begun = end
        return stages

    def has_canary(self) -> bool:
        """Tell whether the first stage is a canary."""
        return self.canary.number > 0

    def allows(self, failed: int, total: int) -> bool:
        """Tell whether the run continues after ``failed`` of ``total`` hosts have failed."""
        return failed <= self.max_fail.of(total, up=False)


def parse(canary: str, waves: str, max_fail: str) -> Order:
    """Return the order that the options describe. Raises UsageError."""
    parts = [part for part in waves.replace(" ", "").split(",") if part]
    steps = tuple(_amount(part, "--waves") for part in parts)
    if len({step.is_percent for step in steps}) > 1 or _numbers(steps) != sorted(_numbers(steps)):
        raise _wrong(
            "--waves",
            waves,
            "use increasing values of one kind, for example 10%,50%,100% or 5,20,100",
        )
    return Order(_amount(canary, "--canary"), steps, _amount(max_fail, "--max-fail"))


def _numbers(steps: Sequence[Amount]) -> list[int]:
    return [step.number for step in steps]


def _amount(text: str, flag: str) -> Amount:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or (match[2] and int(match[1]) > 100):
        raise _wrong(flag, text, "use a number of hosts or a percentage, for example 2 or 5%")
    return Amount(int(match[1]), bool(match[2]))


def _wrong(flag: str, text: str, hint: str) -> UsageError:
    return UsageError(f"{text!r} is not a valid value", code="USAGE", where=flag, hint=hint)
