"""The inputs of a phase, as one short digest per value.

A receipt keeps the digests of the inputs of its phase. If they are equal in a later run, and the
host is unchanged since the receipt, the role would find nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Tuple

from ..phases import PHASES
from ..types.choice import Choice
from ..types.facts import Facts
from ..types.host import Session
from ..types.settings import SettingValues

#: Variables that consist of several values, each with its own digest.
_COMPOSED = ("dream_choice", "dream_host", "dream_session")

#: Parts of the facts document that do not describe the host: its times, and its digest, which
#: covers the times. Mounts change with every container and USB stick and decide nothing.
_VOLATILE = frozenset(
    "dream_host." + part for part in ("gathered_at", "fingerprint", "digest", "mounts")
) | {
    # Texts for people; the model and the upgrade have the actual decision.
    "dream_choice.data_changes",
    "dream_choice.fast_start",
    "dream_choice.port_notes",
    "dream_choice.profile_why",
}

_NAME = re.compile(
    r"\b(dream_[a-z0-9_]+|(?:%s)_facts)\b(?:\.([a-z][a-z0-9_]*))?" % "|".join(PHASES)
)


def names_in(text: str) -> FrozenSet[str]:
    """Return the variables that the text of a role uses.

    A composed variable is split one level: ``dream_choice.model``.
    """
    return frozenset(
        "%s.%s" % (name, field) if field and name in _COMPOSED else name
        for name, field in _NAME.findall(text)
    )


def consumed(names: Iterable[str]) -> List[str]:
    """Return the phases whose recorded facts are among ``names``, in run order."""
    wanted = {name[: -len("_facts")] for name in names if name.endswith("_facts")}
    return [phase for phase in PHASES if phase in wanted]


def values(
    settings: SettingValues,
    choice: Choice,
    facts: Facts,
    session: Session,
) -> Dict[str, Any]:
    """Return every value that a role can use, flat, as input of ``digests``."""
    flat = {"dream_" + name: value for name, value in settings.items()}
    if "accept" in settings:
        # Valid for one run only.
        flat["dream_accept"] = [word for word in settings["accept"] if word != ACCEPT]
    for prefix, document in zip(_COMPOSED, (choice, facts, session)):
        flat.update({"%s.%s" % (prefix, key): value for key, value in document.items()})
    return {name: value for name, value in flat.items() if name not in _VOLATILE}


def digests(names: Iterable[str], known: Mapping[str, Any]) -> Dict[str, str]:
    """Return ``{name: digest}`` for the values of ``known`` that ``names`` contains.

    A composed variable as a whole stands for all its values: ``dream_settings`` for every setting.
    """
    names = set(names)
    return {name: digest(value) for name, value in known.items() if _is_mentioned(name, names)}


def _is_mentioned(name: str, names: Iterable[str]) -> bool:
    whole = name.split(".")[0] if "." in name else "dream_settings"
    return name in names or whole in names


def digest(value: Any) -> str:
    """Return the first 64 bits of the sha256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> Tuple[str, ...]:
    """Return the changed inputs, described for a person."""
    return tuple(
        _in_words(name) for name in sorted({*before, *now}) if before.get(name) != now.get(name)
    )


def _in_words(name: str) -> str:
    if name == "content":
        return "the role itself"
    if name.endswith("_facts"):
        return "the result of %s" % name[: -len("_facts")]
    return name.split(".")[-1].replace("dream_", "", 1)


#: The id to accept a migration, for one run (inputs.py, commands/install).
ACCEPT = "migration"
