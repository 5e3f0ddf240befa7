"""Test each feature of the stack once, as a user would use it.

``wanted`` chooses the probes for a stack and is pure; ``run`` runs them. Documents, search, speech
and the agent are tested through the chat, which tests the wiring of the chat too; workflows are
tested through n8n. A probe removes everything that it creates.

The paths are those of Open WebUI 0.11 and n8n 2.41.
"""

from __future__ import annotations

from typing import Callable, Collection, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..files import env_file, text_file
from ..types.health import FeatureTests
from ..types.service import ServiceSummary
from .chat_probes import Chat
from .local_page import Failed, Unproven
from .workflow_probe import Workflows

#: A model on a CPU needs a minute or two for a document of a few hundred tokens.
ANSWER_SECONDS = 300.0

_CHAT, _FLOWS = "open-webui", "n8n"

#: A small model cannot pass this probe; the reason until the host's own model answers.
_AGENT = "agent"
_WAITS = "it waits for the model that is still being downloaded"
_UNUSED = "it was not tested with the present model; 'dream-runner doctor --deep' tests it"


class Probe(NamedTuple):
    """A test of a feature: its name in ``ready: ...``, its page, and further services."""

    name: str
    page: str
    needs: Tuple[str, ...] = ()


#: In the order of ``ready: ...``.
PROBES = (
    Probe("chat", _CHAT),
    Probe("documents", _CHAT, ("qdrant",)),
    Probe("documents", _CHAT, ("webui-documents",)),
    Probe("search", _CHAT, ("searxng",)),
    Probe("voice", _CHAT, ("whisper", "tts")),
    Probe("dictation", _CHAT, ("webui-speech",)),
    Probe(_AGENT, _CHAT, ("hermes",)),
    Probe("workflows", _FLOWS, ("n8n",)),
)


def wanted(services: Sequence[ServiceSummary]) -> List[str]:
    """Return the names of the probes that a stack with these services can run."""
    running = {str(item["id"]) for item in services}
    return [item.name for item in PROBES if {item.page, *item.needs} <= running]


def run(
    services: Sequence[ServiceSummary],
    model: str,
    env: Mapping[str, str],
    *,
    offline: bool = False,
    upgrading: bool = False,
    down: Collection[str] = (),
    answer_seconds: float = ANSWER_SECONDS,
) -> FeatureTests:
    """Return ``{passed: [name], failed: {name: why}, unproven: {name: why}}``.

    ``env`` is the content of ``.env``, which has the accounts. ``upgrading`` means that a small
    model answers until the host's own is downloaded; ``down`` lists the services that are not
    running.
    """
    urls = {str(item["id"]): str(item.get("url") or "") for item in services}
    probes = _probes(urls, model, env, answer_seconds)
    found: FeatureTests = {"passed": [], "failed": {}, "unproven": {}}
    reasons = _of_down(down)
    if upgrading:
        reasons[_AGENT] = _WAITS
    if offline:
        reasons.setdefault("search", "offline, so web search cannot be tested")
    for name in wanted(services):
        if name in reasons:
            found["unproven"][name] = reasons[name]
            continue
        try:
            probes[name]()
        except Unproven as error:
            found["unproven"][name] = str(error)
        except Failed as error:
            found["failed"][name] = str(error)
        else:
            found["passed"].append(name)
    return found


def _probes(
    urls: Mapping[str, str], model: str, env: Mapping[str, str], answer_seconds: float
) -> Dict[str, Callable[[], None]]:
    """Return the tests by the name of the probe; each raises Failed or Unproven."""
    chat = Chat(urls.get(_CHAT, ""), urls.get("qdrant", ""), model, env, answer_seconds)
    return {
        "chat": chat.chat,
        "documents": chat.documents,
        "search": chat.search,
        "voice": chat.voice,
        "dictation": chat.dictation,
        _AGENT: chat.agent,
        "workflows": Workflows(urls.get(_FLOWS, ""), env).workflows,
    }


def since(found: FeatureTests) -> FeatureTests:
    """Adapt the result of a ``run`` with ``upgrading`` to the time after the upgrade."""
    told = {_WAITS: _UNUSED}
    unproven = found.get("unproven") or {}
    return {**found, "unproven": {name: told.get(why, why) for name, why in unproven.items()}}


def _of_down(down: Collection[str]) -> Dict[str, str]:
    """Return the probes that need one of these services, with the reason to skip them."""
    found = {}
    for item in PROBES:
        missing = sorted({item.page, *item.needs} & set(down))
        if missing:
            found[item.name] = "%s is not running" % " and ".join(missing)
    return found


def read_env(path: str) -> Dict[str, str]:
    """Return the content of an ``.env`` file; empty if it cannot be read."""
    try:
        return env_file.parse(text_file.read(path, errors="surrogateescape"))
    except text_file.Unreadable:
        return {}


def sentence(found: FeatureTests) -> str:
    """Describe what passed, what failed and what was not tested."""
    parts = ["ready: " + " ".join(found["passed"])] if found.get("passed") else []
    parts += ["%s failed: %s" % item for item in sorted((found.get("failed") or {}).items())]
    parts += ["%s not tested: %s" % item for item in sorted((found.get("unproven") or {}).items())]
    return "; ".join(parts)
