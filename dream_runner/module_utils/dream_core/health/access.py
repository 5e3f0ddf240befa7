"""Describe how to reach the installed AI: in a browser, from programs, from other computers.

There is one document, created at the end of an install, and one function that formats it as lines.
The end of an install, ``status``, summary.json and the report show the same lines.
"""

from __future__ import annotations

from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple, cast

from .. import arguments
from ..system import ip_addresses
from ..types.access import Access, Reach
from ..types.health import FeatureTests
from ..types.receipt import PhaseFacts
from .engine_key import KEY_NAME, api_key

#: The sign-in that protects what is open to other computers.
NO_PASSWORD, KEY, ACCOUNT = "none", "key", "account"
#: The service with the chat page.
_CHAT = "open-webui"
#: Maximum number of addresses to show.
_MOST = 3

#: The options of the module dream_access_info.
SPEC = {
    "bind_address": {"type": "str", "required": True},
    # Only needed if the engine listens on another address than the pages.
    "engine_address": {"type": "str", "default": ""},
    "ports": {"type": "list", "elements": "dict", "default": []},
    "account": {"type": "dict"},
    "features": {"type": "dict", "default": {}},
    "port": {"type": "int", "required": True},
    "model": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "dict", "default": []},
    # A path, not the key itself.
    "key_file": {"type": arguments.path, "no_log": False},
    "port_notes": {"type": "list", "elements": "str", "default": []},
    # The engine's own page is open to whoever can reach the pages (native profile).
    "engine_page": {"type": "bool", "default": False},
}


def carry_out(params: Mapping[str, Any], *, write: bool) -> Dict[str, Any]:
    """Run a dream_access_info task, in this process or in the module; it changes nothing."""
    key_file = str(params["key_file"] or "")
    known = dict(
        params, has_key=bool(key_file and api_key(key_file)), loopbacks=ip_addresses.loopbacks()
    )
    document = build(known, ip_addresses.addresses())
    return {"changed": False, "access": document, "lines": lines(document)}


def build(params: Mapping[str, Any], addresses: Sequence[str]) -> Access:
    """Return the document; ``addresses`` are those at which other computers reach this one."""
    bind, port = str(params["bind_address"]), int(params["port"])
    here = params.get("loopbacks") or ip_addresses.LOOPBACKS
    engine = str(params.get("engine_address") or bind)
    root = ip_addresses.base_url(ip_addresses.reachable(engine, here), port)
    pages = {item["id"]: item["url"] for item in params["services"] if item.get("url")}
    chat = pages.get(_CHAT, root).rstrip("/") + "/"
    features = cast("FeatureTests", params.get("features") or {})
    # The chat test is unproven if the chat does not know the account: a chat with earlier accounts
    # never created it.
    account = None if "chat" in (features.get("unproven") or {}) else params.get("account")
    return {
        "chat": chat,
        "api": root + "/v1",
        "model": params["model"],
        "bind_address": bind,
        "lan": remote(chat, bind, addresses),
        "guard": guard_of(
            pages, has_key=params["has_key"], engine_page=bool(params.get("engine_page"))
        ),
        "engine_page": root + "/" if params.get("engine_page") and chat != root + "/" else "",
        "reach": _published(params),
        "account": account,
        "features": features,
        "key": {"name": KEY_NAME, "file": params["key_file"]} if params["has_key"] else None,
        "port_notes": list(params["port_notes"]),
    }


def _published(params: Mapping[str, Any]) -> List[Reach]:
    """Return ``{what, port, address, guard}`` for every port of the stack."""
    titles = {item["id"]: item.get("title") or item["id"] for item in params["services"]}
    return [
        {
            "what": titles.get(item["service"], item["service"]),
            "port": item["port"],
            "address": item["address"],
            "guard": item["guard"],
        }
        for item in params.get("ports") or ()
    ]


def guard_of(services: Collection[str], *, has_key: bool, engine_page: bool = False) -> str:
    """Return the weakest sign-in between the network and the AI."""
    if engine_page and not has_key:
        return NO_PASSWORD
    return ACCOUNT if _CHAT in services else KEY if has_key else NO_PASSWORD


def remote(chat: str, bind_address: str, addresses: Sequence[str]) -> List[str]:
    """Return the addresses of the chat page for other computers; none if it is not open."""
    if not is_open(bind_address):
        return []
    port = int(chat.rstrip("/").rpartition(":")[2])
    hosts = addresses if ip_addresses.is_everywhere(bind_address) else [bind_address]
    if bind_address == "0.0.0.0":
        hosts = [item for item in hosts if ":" not in item]
    return [ip_addresses.base_url(item, port) + "/" for item in hosts[:_MOST]]


def is_open(bind_address: str) -> bool:
    """Return whether other computers can reach a server on ``address``."""
    return not ip_addresses.is_loopback(bind_address)


def of(summary: PhaseFacts) -> Access:
    """Return the document from the summary's facts, with the current addresses of this host.

    It is empty if an older version wrote the facts, or if nothing is installed.
    """
    document = summary.get("access")
    if not isinstance(document, dict) or not document.get("chat"):
        return {}
    bind = str(document.get("bind_address") or "127.0.0.1")
    known = cast("Access", document)
    return {**known, "lan": remote(str(document["chat"]), bind, ip_addresses.addresses())}


# --- in words -----------------------------------------------------------------------


def lines(document: Access, pending: str = "") -> List[str]:
    """Return the lines to show; ``pending`` describes a download in the background."""
    found = rows(document, pending)
    width = max(len(label) for label, _ in found)
    return ["  %-*s  %s" % (width, label, value) for label, value in found]


def rows(document: Access, pending: str = "") -> List[Tuple[str, str]]:
    """Return label and value of each line; an empty label continues the line before."""
    page = document.get("engine_page")
    found = [
        ("Chat in your browser", str(document["chat"])),
        *([("Engine's own page", str(page))] if page else []),
        ("OpenAI-compatible API", "%s   (model: %s)" % (document["api"], document["model"])),
        *_remote_rows(document),
    ]
    found += _feature_rows(document.get("features") or {})
    account, key = document.get("account"), document.get("key")
    if account:
        words = (account["name"], account["key"], account["file"])
        found.append(("First account", "%s; password: %s in %s" % words))
    if key:
        found.append(("API key", "%s in %s" % (key["name"], key["file"])))
    if pending:
        found.append(("In the background", pending))
    return [*found, *(("Note", str(note)) for note in document.get("port_notes") or ())]


def _remote_rows(document: Access) -> List[Tuple[str, str]]:
    label = "From another computer"
    if not is_open(str(document["bind_address"])):
        return [(label, "closed; open it with 'dream-runner install --lan'")]
    urls = list(document["lan"]) or ["open, but this machine has no network address now"]
    rows = [(label, urls[0])] + [("", url) for url in urls[1:]]
    return [*rows, ("Open to", audience(str(document["guard"]))), *_port_rows(document)]


def _feature_rows(features: FeatureTests) -> List[Tuple[str, str]]:
    """Return the features by test result: working, failed, not tested."""
    words = " ".join(features.get("passed") or ())
    rows = [("Ready", words)] if words else []
    rows += [("Not working", "%s: %s" % item) for item in _sorted(features.get("failed"))]
    return rows + [("Not tested", "%s: %s" % item) for item in _sorted(features.get("unproven"))]


def _sorted(reasons: Optional[Mapping[str, str]]) -> List[Tuple[str, str]]:
    return sorted((reasons or {}).items())


def _port_rows(document: Access) -> List[Tuple[str, str]]:
    """Return the ports that are open to the network, with their sign-in, and the local ones."""
    found = [
        ("", "%s, port %d: %s" % (item["what"], item["port"], sign_in(str(item["guard"]))))
        for item in document.get("reach") or ()
        if is_open(str(item["address"]))
    ]
    if found:
        found[0] = ("Open to the network", found[0][1])
    inner = [
        "%s %d" % (item["what"], item["port"])
        for item in document.get("reach") or ()
        if not is_open(str(item["address"]))
    ]
    return [*found, *([("Only on this machine", ", ".join(inner))] if inner else [])]


def sign_in(guard: str) -> str:
    """Describe the sign-in of a port."""
    words = {ACCOUNT: "sign-in required", KEY: "API key required"}
    return words.get(guard, "WITHOUT A PASSWORD")


def audience(guard: str) -> str:
    """Describe who can use what is open to other computers."""
    if guard == KEY:
        return "everyone who can reach this machine and has the API key"
    if guard == ACCOUNT:
        return "everyone who can reach this machine and has an account or a key"
    return "everyone who can reach this machine, WITHOUT A PASSWORD"
