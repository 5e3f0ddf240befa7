"""Features of the kernel and the system libraries of this host."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import ssl
import sys
from typing import Dict, Iterable, Optional

from .filesystems import lines, names_in
from .tools import prints


def available_memory_mb(meminfo: str = "/proc/meminfo") -> Optional[int]:
    """Return the memory in MB that is available without swapping, or None."""
    for line in lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None


def can_load(library: str) -> bool:
    """Return whether the dynamic linker finds ``library`` (``libgomp.so.1``)."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def module_parameters(
    names: Iterable[str], sys_module: str = "/sys/module"
) -> Dict[str, Dict[str, str]]:
    """Return the parameters in force of the loaded kernel modules among ``names``."""
    found: Dict[str, Dict[str, str]] = {}
    for name in names:
        folder = os.path.join(sys_module, name, "parameters")
        if os.path.isdir(folder):
            found[name] = {
                parameter: "".join(lines(os.path.join(folder, parameter))[:1])
                for parameter in names_in(folder)
            }
    return found


def sysctl(name: str, proc: str = "/proc") -> Optional[str]:
    """Return the current value of a kernel setting, or None if there is no such setting."""
    path = os.path.join(proc, "sys", *name.split("."))
    return " ".join("\n".join(lines(path)).split()) if os.path.exists(path) else None


def can_make_environments(python: str = "") -> bool:
    """Return whether ``python`` (empty: this one) can create virtual environments.

    Debian has ensurepip in a separate package.
    """
    if not python or python == sys.executable:
        return importlib.util.find_spec("ensurepip") is not None
    return prints([python, "-c", "import ensurepip, venv"], "")


def has_certificates() -> bool:
    """Return whether OpenSSL finds certificate authorities, which https needs."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or bool(paths.capath and names_in(paths.capath))
