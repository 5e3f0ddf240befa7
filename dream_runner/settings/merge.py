"""What the user chose: one table, merged from every place it can be said, checked as a whole.

A setting ``engine_port`` is ``--engine-port``, ``DREAM_ENGINE_PORT``, the key
``engine_port`` (or ``dream_engine_port``) of an answers file and the Ansible
variable ``dream_engine_port``. Whoever is wrong is told so in the word that
was typed, and everything that is wrong is told at once.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.redact import clean, shortened
from ..module_utils.dream_core.system.ip_addresses import is_loopback
from . import parsers as values
from .parsers import Invalid, Known

ENVIRONMENT_PREFIX = "DREAM_"
VARIABLE_PREFIX = "dream_"


@dataclass(frozen=True)
class Setting:
    """One row of the table: how it is called, read, shown and what it is when unsaid.

    ``flags`` are further spellings on the command line.
    """

    name: str
    parse: values.Parser
    default: Any
    help: str
    group: str
    metavar: str = "TEXT"
    form: str = "text"
    flags: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Return the spelling on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the spelling in the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the only words it takes; nothing where others will do (``ID|URL`` are kinds)."""
        is_closed = "|" in self.metavar and self.metavar.islower()
        return tuple(self.metavar.split("|")) if is_closed else ()


_FEATURE_HELP = {
    "voice": "Speech to text and text to speech.",
    "workflows": "Workflow automation.",
    "rag": "Answers from your own documents.",
    "agents": "Agents that use tools.",
    "images": "Image generation (not offered yet).",
    "observability": "Traces of what the models did.",
    "search": "Web search through a private search engine.",
}


def _feature(name: str) -> Setting:
    return Setting(
        name,
        values.feature(name),
        "auto",
        f"{_FEATURE_HELP[name]} auto: on where the profile and the hardware allow it.",
        "Features",
        "yes|no|auto",
    )


FEATURES = tuple(_FEATURE_HELP)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "profile",
        values.profile,
        "auto",
        "native: chat page and API without containers. full: the whole stack in containers. "
        "auto: full if the GPU can only be used through containers, else native.",
        "What to install",
        "auto|native|full",
    ),
    Setting(
        "install_dir",
        values.install_dir,
        "~/ai-server",
        "Directory to install into.",
        "What to install",
        "DIR",
    ),
    Setting(
        "tier",
        values.tier,
        "auto",
        "Hardware class (auto: from the hardware found). See 'dream-runner explain'.",
        "What to install",
        "ID",
    ),
    Setting(
        "gpu",
        values.one_of("auto", "none", "nvidia", "amd", "intel"),
        "auto",
        "Kind of GPU to use (auto: the one that was found).",
        "What to install",
        "auto|none|nvidia|amd|intel",
    ),
    Setting(
        "amd_engine",
        values.one_of("auto", "vulkan", "rocm"),
        "auto",
        "How llama.cpp uses an AMD GPU in the full profile (auto: vulkan).",
        "What to install",
        "auto|vulkan|rocm",
    ),
    Setting(
        "model",
        values.model,
        "auto",
        "auto: the best model that fits this machine. small: a 98 MB model that answers at once. "
        "Or an id from 'dream-runner explain', the path of a GGUF file, or its URL with --sha256.",
        "What to install",
        "auto|small|ID|PATH|URL",
    ),
    Setting(
        "model_sha256",
        values.sha256,
        "",
        "SHA-256 of the file that --model URL names.",
        "What to install",
        "HEX",
        flags=("--sha256",),
    ),
    Setting(
        "model_size_bytes",
        values.integer(0),
        0,
        "Size of that file in bytes, if known; free disk space is then checked first.",
        "What to install",
        "BYTES",
    ),
    Setting(
        "context_tokens",
        values.integer(0),
        0,
        "Length of the model's context in tokens (0: chosen for this machine).",
        "What to install",
        "N",
    ),
    Setting(
        "fast_start",
        values.fast_start,
        "auto",
        "Answer with a small model until this machine's own is downloaded. auto: if the download "
        "is large. An id of the catalogue: answer with that model.",
        "What to install",
        "auto|yes|no|ID",
    ),
    Setting(
        "engine_port",
        values.integer(0, 65535, "a port"),
        0,
        "Port of the API (0: 11434 or the next free port, kept on later runs).",
        "Network",
        "PORT",
    ),
    Setting(
        "ports",
        values.ports,
        [],
        "Port of a service, for example open-webui=8080, or by its key in .env; may be repeated.",
        "Network",
        "NAME=PORT",
        "list",
    ),
    Setting(
        "bind_address",
        values.address,
        "127.0.0.1",
        "Address to listen on. --lan is short for 0.0.0.0, which the whole network can reach. "
        "In the full profile, only pages with a sign-in listen there.",
        "Network",
        "IP",
    ),
    Setting(
        "expose",
        values.exposed,
        [],
        "Also open this service, which --lan leaves closed (its name, or the key of its port in "
        ".env); may be repeated.",
        "Network",
        "NAME",
        "list",
    ),
    Setting(
        "api_key",
        values.wants_key,
        False,
        "Require an API key (native engine). yes: create a key and keep it in .env.",
        "Network",
        "yes|no",
    ),
    *(_feature(name) for name in FEATURES),
    Setting(
        "devtools",
        values.names,
        [],
        "Additional developer tool to install; may be repeated.",
        "Features",
        "NAME",
        "list",
    ),
    Setting(
        "offline",
        values.boolean,
        False,
        "Use no network (see --bundle).",
        "Network",
        form="boolean",
    ),
    Setting(
        "bundle",
        values.path,
        "",
        "File or directory with everything that would be downloaded.",
        "Network",
        "PATH",
    ),
    Setting(
        "docker_source",
        values.one_of("auto", "distro", "upstream", "skip"),
        "auto",
        "Source of the container engine (skip: do not install or change it).",
        "What to install",
        "auto|distro|upstream|skip",
    ),
    Setting(
        "memory_limit_mb",
        values.integer(0),
        0,
        "Most memory to use, in MB (0: all of it).",
        "Limits",
        "MB",
    ),
    Setting(
        "disk_reserve_mb",
        values.integer(0),
        512,
        "Space to keep free on every filesystem used, in MB.",
        "Limits",
        "MB",
    ),
    Setting(
        "accept",
        values.names,
        [],
        "Ignore this unmet requirement (its id is in the message); may be repeated.",
        "Limits",
        "CHECK",
        "list",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Given:
    """A raw value and the word it was given by: ``--tier``, ``DREAM_TIER``, ``a.yml: tier``."""

    raw: Any
    where: str
    origin: str


@dataclass(frozen=True)
class Chosen:
    """A checked value with its origin; ``source`` is flag, environment or answers if saved."""

    value: Any
    origin: str
    where: str
    source: str = ""


@dataclass(frozen=True)
class Settings:
    """Every setting, checked, each with its origin; ``notes`` are lines for the user."""

    chosen: Mapping[str, Chosen]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.chosen[name].value

    def values(self) -> dict[str, Any]:
        """Return the plain values by name."""
        return {name: chosen.value for name, chosen in self.chosen.items()}

    def without(self, name: str, word: str) -> Settings:
        """Return the settings without ``word`` in a list; an empty list becomes the default."""
        before = self.chosen[name]
        left = [item for item in before.value if item != word]
        after = replace(before, value=left) if left else Chosen([], "default", "default")
        return replace(self, chosen={**self.chosen, name: after})

    def said(self) -> dict[str, Chosen]:
        """Return what somebody chose, now or earlier: all but the defaults."""
        return {name: item for name, item in self.chosen.items() if item.origin != "default"}


#: Of what is shown of a value or a key.
_LONGEST = 400


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what the user gave."""

    where: str
    what: str
    hint: str = ""

    def __post_init__(self) -> None:
        # A key may be as long as a file. It is a name and not a secret: a host called "password"
        # must not hide the variable after it.
        object.__setattr__(self, "where", shortened(self.where, _LONGEST))
        object.__setattr__(self, "what", clean(self.what, _LONGEST))

    def to_dict(self) -> dict[str, str]:
        """Return the problem as plain data."""
        return {"where": self.where, "what": self.what, "hint": self.hint}


class SettingsError(UsageError):
    """Every problem with the settings, in the words that the user typed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        what = "a setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__(what + "; nothing was changed", code="SETTINGS_INVALID")

    def to_dict(self) -> dict[str, Any]:
        """Return the error and its list of problems as plain data."""
        return {**super().to_dict(), "problems": [item.to_dict() for item in self.problems]}


@dataclass(frozen=True)
class Saved:
    """The choices of earlier runs; ``sources`` tells which of them came from an answers file."""

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """Return the settings among the environment's ``DREAM_*``; an empty one is unsaid."""
    return {
        setting.name: Given(environment[setting.variable], setting.variable, "environment")
        for setting in SETTINGS
        if environment.get(setting.variable, "") != ""
    }


def merge(
    flags: Mapping[str, Given],
    environment: Mapping[str, Given],
    saved: Saved,
    answers: Mapping[str, Given],
    known: Known,
    problems: Iterable[Problem] = (),
) -> Settings:
    """Return all settings, or raise SettingsError with every problem.

    Precedence: flags, environment, saved, answers file, default. A value that
    was saved *from* an answers file yields to the answers file of today, so
    that editing the file has the effect the user expects.
    """
    found = list(problems)
    notes: list[str] = []
    chosen: dict[str, Chosen] = {}
    typed = {**answers, **environment, **flags}
    for setting in SETTINGS:
        layers = _layers(setting, flags, environment, saved, answers, typed)
        chosen[setting.name] = _first_valid(setting, layers, known, found, notes)
    found += _contradictions(chosen)
    if found:
        raise SettingsError(found)
    return Settings(chosen, tuple(notes + _overruled(chosen, answers, known)))


def _layers(
    setting: Setting,
    flags: Mapping[str, Given],
    environment: Mapping[str, Given],
    saved: Saved,
    answers: Mapping[str, Given],
    typed: Mapping[str, Given],
) -> list[Given]:
    name = setting.name
    layers = [layer[name] for layer in (flags, environment) if name in layer]
    kept = [Given(saved.values[name], "saved", "saved")] if name in saved.values else []
    if _belongs_to_another_model(name, saved, typed):
        kept = []
    told = [answers[name]] if name in answers else []
    from_file = saved.sources.get(name) == "answers"
    return layers + (told + kept if from_file else kept + told)


def _belongs_to_another_model(name: str, saved: Saved, typed: Mapping[str, Given]) -> bool:
    """Tell whether the saved ``name`` describes a model that is no longer the chosen one."""
    if name not in ("model_sha256", "model_size_bytes") or "model" not in typed:
        return False
    return str(typed["model"].raw) != str(saved.values.get("model"))


def _first_valid(
    setting: Setting,
    layers: list[Given],
    known: Known,
    problems: list[Problem],
    notes: list[str],
) -> Chosen:
    """Return what counts; what a person wrote wrongly is a problem wherever it stands."""
    valid: list[Chosen] = []
    for given in layers:
        try:
            valid.append(Chosen(setting.parse(given.raw, known), given.origin, given.where))
        except Invalid as error:
            # One in a file that is overruled is told as well; the rest of the file is read.
            if given.origin == "answers" or (given.origin != "saved" and not valid):
                problems.append(Problem(given.where, error.what, error.hint))
            elif given.origin == "saved" and not valid:
                kept = _still_known(setting, given.raw, known)
                rest = f"; kept: {', '.join(kept)}" if kept else ""
                notes.append(f"saved {setting.name} ignored: {error.what}{rest}")
                if kept:
                    valid.append(Chosen(setting.parse(kept, known), given.origin, given.where))
    valid.append(Chosen(setting.parse(setting.default, known), "default", "default"))
    return valid[0]


def _still_known(setting: Setting, raw: Any, known: Known) -> list[Any]:
    """Return the items of a saved list that this version knows; a service may be gone."""
    kept = []
    for word in raw if setting.form == "list" and isinstance(raw, list) else ():
        with contextlib.suppress(Invalid):
            setting.parse([word], known)
            kept.append(word)
    return kept


def _contradictions(chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return what is right by itself and wrong together."""
    value = {name: item.value for name, item in chosen.items()}
    return [
        *_about_model(value, chosen),
        *_about_profile(value, chosen),
        *_about_key(value, chosen),
        *_about_exposure(value, chosen),
        *_about_offline(value, chosen),
        *_about_files(value, chosen),
    ]


def _spelled(name: str, chosen: Mapping[str, Chosen]) -> str:
    """Return the word to blame: the one that was typed, else the flag to type."""
    item = chosen[name]
    return BY_NAME[name].flag if item.origin in ("default", "saved") else item.where


def _about_model(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    is_url = values.is_url(value["model"])
    # The digest of a file of this machine is computed (catalog/local_model.py).
    is_file = str(value["model"]).startswith("file:")
    if is_url and not is_file and not value["model_sha256"]:
        return [
            Problem(
                _spelled("model", chosen),
                "a model given by its address needs the SHA-256 of the file",
                "add --sha256 HEX; the model's page or 'sha256sum FILE' tells it",
            )
        ]
    lonely = [name for name in ("model_sha256", "model_size_bytes") if value[name] and not is_url]
    return [
        Problem(
            _spelled(name, chosen),
            "only goes with --model URL; models of the catalogue bring their own",
            f"leave it out, or set {BY_NAME[name].flag} to {BY_NAME[name].default or repr('')}",
        )
        for name in lonely
    ]


def _about_key(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if not value["api_key"] or value["profile"] != "full":
        return []
    return [
        Problem(
            _spelled("api_key", chosen),
            "the full profile has accounts and keys of its own",
            "leave it out, or use --profile native",
        )
    ]


def _about_exposure(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return what keeps a port closed that --expose names now; a saved one waits for --lan."""
    if not value["expose"] or chosen["expose"].origin == "saved":
        return []
    if value["profile"] == "native":
        what, hint = "the native profile has one port", "leave it out; --lan opens that port"
    elif is_loopback(value["bind_address"]):
        what = "all services listen on this machine only"
        hint = "add --lan, or --bind-address with an address of this machine"
    else:
        return []
    return [Problem(_spelled("expose", chosen), what, hint)]


def _about_profile(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if value["profile"] != "native":
        return []
    wanted = [name for name in FEATURES if value[name] == "yes"]
    return [
        Problem(
            _spelled(name, chosen),
            f"{name} needs containers, which the native profile does not use",
            f"use --profile full, or {BY_NAME[name].flag} auto",
        )
        for name in wanted
    ]


def _about_offline(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if value["offline"] and str(value["model"]).startswith(("http://", "https://", "wheel:")):
        return [
            Problem(
                _spelled("model", chosen),
                "this model is in the network, and --offline uses none",
                "give a file:/// address, a --bundle, or leave out --offline",
            )
        ]
    return []


def _about_files(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return the files that were named now and are not there.

    One that an earlier run named may have gone since: what was made from it is
    there, and if it is not, the fetch will say so.
    """
    model = str(value["model"])
    named = {"model": unquote(urlsplit(model).path) if model.startswith("file:") else ""}
    named["bundle"] = value["bundle"]
    return [
        Problem(chosen[name].where, f"there is no {path}", "check the path")
        for name, path in named.items()
        if path and chosen[name].origin != "saved" and not os.path.exists(path)
    ]


def _overruled(
    chosen: Mapping[str, Chosen], answers: Mapping[str, Given], known: Known
) -> list[str]:
    """Return a line for each answer of the file that an earlier choice overrules."""
    lines = []
    for name, given in answers.items():
        item = chosen[name]
        if item.origin != "saved" or _parsed(name, given, known) == item.value:
            continue
        lines.append(
            f"{given.where} is not used: {name} was set to {values.shown(item.value)!r} by an "
            f"earlier run; {BY_NAME[name].flag} changes it"
        )
    return lines


def _parsed(name: str, given: Given, known: Known) -> Any:
    try:
        return BY_NAME[name].parse(given.raw, known)
    except Invalid:
        return None


def near_misses(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each ``DREAM_*`` variable that looks like a misspelled setting."""
    right = [setting.variable for setting in SETTINGS]
    lines = []
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in right:
            continue
        close = difflib.get_close_matches(name, right, n=1, cutoff=0.85)
        if close:
            lines.append(f"{name} is not a setting; did you mean {close[0]}?")
    return lines


def as_ansible_vars(settings: Settings) -> dict[str, Any]:
    """Return the settings as the variables of the playbooks."""
    return {VARIABLE_PREFIX + name: value for name, value in settings.values().items()}


def defaults() -> dict[str, Any]:
    """Return the defaults as the playbooks spell them (group_vars/all/settings.yml)."""
    return {VARIABLE_PREFIX + setting.name: setting.default for setting in SETTINGS}


def default_state_dir(environment: Mapping[str, str]) -> str:
    """Return the state directory of the user who runs this (XDG base directories)."""
    base = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "dream-runner")
