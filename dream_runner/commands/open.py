"""``dream-runner open``: open the chat page, or print its address if there is no desktop."""

from __future__ import annotations

import getpass
import platform
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..module_utils.dream_core.errors import RequirementError
from ..module_utils.dream_core.health import access
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.system import ip_addresses

#: If one of them is set, there is a desktop.
_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@dataclass(frozen=True)
class Opened:
    """The address of the page, whether a browser was opened, and the SSH tunnel that reaches it."""

    url: str
    is_shown: bool
    tunnel: str = ""


def run(
    state_dir: str,
    environment: Mapping[str, str],
    show: Callable[[str], bool] = webbrowser.open,
) -> Opened:
    """Open the page if there is a desktop. Raises RequirementError NO_PAGE."""
    receipts, _ = read_all(state_dir)
    found = access.of((receipts.get("summary") or {}).get("facts") or {})
    if not found:
        raise RequirementError(
            "there is no chat page: no finished install was found",
            code="NO_PAGE",
            hint="run 'dream-runner install'",
        )
    url = str(found["chat"])
    # Over SSH a display may be forwarded, but the user's browser is on the other machine.
    is_remote = bool(environment.get("SSH_CONNECTION"))
    has_desktop = not is_remote and any(environment.get(name) for name in _DESKTOP)
    if has_desktop and show(url):
        return Opened(url, True)
    if is_remote and found["lan"]:
        return Opened(str(found["lan"][0]), False)
    return Opened(url, False, _tunnel(url) if is_remote else "")


def _tunnel(url: str) -> str:
    """Return the command that opens a tunnel from the computer with the browser."""
    parts = urlsplit(url)
    port = parts.port or 80
    place = ip_addresses.authority(str(parts.hostname), port)
    return f"ssh -N -L {port}:{place} {getpass.getuser()}@{platform.node()}"


def as_json(opened: Opened) -> dict[str, Any]:
    """Return what was done as the data that ``--json`` prints."""
    return {"url": opened.url, "shown": opened.is_shown, "tunnel": opened.tunnel}


def as_text(opened: Opened) -> str:
    """Return the address on its own line, and how to reach it."""
    lines = [opened.url]
    if opened.tunnel:
        lines += ["To reach it, keep this running on your own computer:", f"  {opened.tunnel}"]
    return "\n".join(lines)
