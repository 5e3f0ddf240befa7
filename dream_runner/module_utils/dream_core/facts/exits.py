"""The exit codes of vendor tools. Rows that parse are facts; an exit code is a finding."""

from __future__ import annotations

import signal
from typing import Dict, Mapping, Optional

from . import parse

#: nvidia-smi documents these as its return values; they are the codes of NVML,
#: which adds the ones above 15 (nvml.h, nvmlReturn_t).
NVIDIA: Dict[int, str] = {
    2: "an argument is invalid",
    3: "the operation is not supported by this GPU",
    4: "this user lacks the permission",
    6: "the GPU was not found",
    8: "a GPU lacks its external power cable",
    9: "the NVIDIA driver is not loaded",
    10: "the kernel reported an interrupt problem of a GPU",
    12: "the NVML library was not found",
    13: "the NVML library is older than the tool",
    14: "the infoROM of a GPU is corrupted; it can still compute",
    15: "a GPU has fallen off the bus",
    16: "the GPU needs a reset",
    17: "GPU access blocked by the operating system",
    18: "driver/library version mismatch",
    19: "the GPU is in use",
    20: "the driver is out of memory",
    255: "an internal driver error",
}


def meaning(answer: Mapping[str, object], table: Optional[Dict[int, str]] = None) -> Optional[str]:
    """Return the meaning of a tool's exit code; None for 0 or if it did not exit by itself."""
    code = answer.get("rc")
    if not isinstance(code, int) or isinstance(code, bool) or code == 0:
        return None
    if code < 0:
        return "ended by %s" % _signal(-code)
    known = (table or {}).get(code)
    return "exit %d: %s" % (code, known) if known else "exit %d" % code


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


def complaint(
    tool: str, answer: Mapping[str, object], table: Optional[Dict[int, str]] = None
) -> str:
    """Return the problem that a tool reported beside its rows, as one line; empty on success."""
    code = meaning(answer, table)
    if code is None:
        return ""
    said = parse.excerpt({"stderr": answer.get("stderr")})
    return "%s, %s%s" % (tool, code, "; " + said if said else "")
