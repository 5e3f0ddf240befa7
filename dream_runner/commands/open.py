"""``dream-runner open``: the chat page in the browser, or its address where there is no desktop."""

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

#: Any of them means that a page can be shown here.
_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@dataclass(frozen=True)
class Opened:
    """The address of the page, whether a browser shows it, and how to get there from afar."""

    url: str
    is_shown: bool
    tunnel: str = ""


def run(
    state_dir: str,
    environment: Mapping[str, str],
    show: Callable[[str], bool] = webbrowser.open,
) -> Opened:
    """Open the page where there is a desktop. Raises RequirementError NO_PAGE."""
    receipts, _ = read_all(state_dir)
    found = access.of((receipts.get("summary") or {}).get("facts") or {})
    if not found:
        raise RequirementError(
            "no finished install was found, so there is no page to open",
            code="NO_PAGE",
            hint="run 'dream-runner install'",
        )
    url = str(found["chat"])
    # Over ssh a display may be forwarded, but the browser is on the other side.
    is_remote = bool(environment.get("SSH_CONNECTION"))
    has_desktop = not is_remote and any(environment.get(name) for name in _DESKTOP)
    if has_desktop and show(url):
        return Opened(url, True)
    if is_remote and found["lan"]:
        return Opened(str(found["lan"][0]), False)
    return Opened(url, False, _tunnel(url) if is_remote else "")


def _tunnel(url: str) -> str:
    """Return what to type on the computer with the browser."""
    parts = urlsplit(url)
    port = parts.port or 80
    place = ip_addresses.authority(str(parts.hostname), port)
    return f"ssh -N -L {port}:{place} {getpass.getuser()}@{platform.node()}"


def as_json(opened: Opened) -> dict[str, Any]:
    """Return what was done as the data that ``--json`` prints."""
    return {"url": opened.url, "shown": opened.is_shown, "tunnel": opened.tunnel}


def as_text(opened: Opened) -> str:
    """Return the address, alone on its line, and how to reach it."""
    lines = [opened.url]
    if opened.tunnel:
        lines += ["To reach it from your computer, keep this running there:", f"  {opened.tunnel}"]
    return "\n".join(lines)
