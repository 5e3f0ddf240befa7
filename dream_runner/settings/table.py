"""The table of settings: name, parser, help text and default of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import parsers

ENVIRONMENT_PREFIX = "DREAM_"
VARIABLE_PREFIX = "dream_"


@dataclass(frozen=True)
class Setting:
    """One row of the table: name, parser, display and default.

    ``flags`` are further spellings on the command line.
    """

    name: str
    parse: parsers.Parser
    default: Any
    help: str
    group: str
    metavar: str = "TEXT"
    form: str = "text"
    flags: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Return the option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the allowed values; empty if any value is possible (``ID|URL`` are kinds)."""
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
        parsers.feature(name),
        "auto",
        f"{_FEATURE_HELP[name]} auto: on if the profile and the hardware support it.",
        "Features",
        "yes|no|auto",
    )


FEATURES = tuple(_FEATURE_HELP)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "profile",
        parsers.profile,
        "auto",
        "native: chat page and API without containers. full: the whole stack in containers. "
        "auto: full if the GPU can only be used through containers, else native.",
        "What to install",
        "auto|native|full",
    ),
    Setting(
        "install_dir",
        parsers.install_dir,
        "~/ai-server",
        "Directory to install into.",
        "What to install",
        "DIR",
    ),
    Setting(
        "tier",
        parsers.tier,
        "auto",
        "Hardware class (auto: from the hardware found). See 'dream-runner explain'.",
        "What to install",
        "ID",
    ),
    Setting(
        "gpu",
        parsers.one_of("auto", "none", "nvidia", "amd", "intel"),
        "auto",
        "Kind of GPU to use (auto: the one that was found).",
        "What to install",
        "auto|none|nvidia|amd|intel",
    ),
    Setting(
        "amd_engine",
        parsers.one_of("auto", "vulkan", "rocm"),
        "auto",
        "How llama.cpp uses an AMD GPU in the full profile (auto: vulkan).",
        "What to install",
        "auto|vulkan|rocm",
    ),
    Setting(
        "model",
        parsers.model,
        "auto",
        "auto: the best model that fits this machine. small: a 98 MB model that answers at once. "
        "Or an id from 'dream-runner explain', the path of a GGUF file, or its URL with --sha256.",
        "What to install",
        "auto|small|ID|PATH|URL",
    ),
    Setting(
        "model_sha256",
        parsers.sha256,
        "",
        "SHA-256 of the file that --model URL names.",
        "What to install",
        "HEX",
        flags=("--sha256",),
    ),
    Setting(
        "model_size_bytes",
        parsers.integer(0),
        0,
        "Size of that file in bytes, if known; free disk space is then checked first.",
        "What to install",
        "BYTES",
    ),
    Setting(
        "context_tokens",
        parsers.integer(0),
        0,
        "Length of the model's context in tokens (0: chosen for this machine).",
        "What to install",
        "N",
    ),
    Setting(
        "fast_start",
        parsers.fast_start,
        "auto",
        "Answer with a small model until this machine's own is downloaded. auto: if the download "
        "is large. An id of the catalogue: answer with that model.",
        "What to install",
        "auto|yes|no|ID",
    ),
    Setting(
        "engine_port",
        parsers.integer(0, 65535, "a port"),
        0,
        "Port of the API (0: 11434 or the next free port, kept on later runs).",
        "Network",
        "PORT",
    ),
    Setting(
        "ports",
        parsers.ports,
        [],
        "Port of a service, for example open-webui=8080, or by its key in .env; may be repeated.",
        "Network",
        "NAME=PORT",
        "list",
    ),
    Setting(
        "bind_address",
        parsers.address,
        "127.0.0.1",
        "Address to listen on. --lan is short for 0.0.0.0, which the whole network can reach. "
        "In the full profile, only pages with a sign-in listen there.",
        "Network",
        "IP",
    ),
    Setting(
        "expose",
        parsers.exposed,
        [],
        "Also open this service, which --lan leaves closed (its name, or the key of its port in "
        ".env); may be repeated.",
        "Network",
        "NAME",
        "list",
    ),
    Setting(
        "api_key",
        parsers.wants_key,
        False,
        "Require an API key (native engine). yes: create a key and keep it in .env.",
        "Network",
        "yes|no",
    ),
    *(_feature(name) for name in FEATURES),
    Setting(
        "webui",
        parsers.one_of("auto", "yes", "no"),
        "auto",
        "Open WebUI, a chat application with accounts, without containers (600 MB to "
        "download, native profile). auto: only if you say yes when asked.",
        "Features",
        "yes|no|auto",
    ),
    Setting(
        "devtools",
        parsers.names,
        [],
        "Additional developer tool to install; may be repeated.",
        "Features",
        "NAME",
        "list",
    ),
    Setting(
        "offline",
        parsers.boolean,
        False,
        "Use no network (see --bundle).",
        "Network",
        form="boolean",
    ),
    Setting(
        "bundle",
        parsers.path,
        "",
        "File or directory with everything that would be downloaded.",
        "Network",
        "PATH",
    ),
    Setting(
        "docker_source",
        parsers.one_of("auto", "distro", "upstream", "skip"),
        "auto",
        "Source of the container engine (skip: do not install or change it).",
        "What to install",
        "auto|distro|upstream|skip",
    ),
    Setting(
        "memory_limit_mb",
        parsers.integer(0),
        0,
        "Most memory to use, in MB (0: all of it).",
        "Limits",
        "MB",
    ),
    Setting(
        "disk_reserve_mb",
        parsers.integer(0),
        512,
        "Space to keep free on every filesystem used, in MB.",
        "Limits",
        "MB",
    ),
    Setting(
        "accept",
        parsers.names,
        [],
        "Ignore this unmet requirement (its id is in the message); may be repeated.",
        "Limits",
        "CHECK",
        "list",
    ),
)


BY_NAME = {setting.name: setting for setting in SETTINGS}


def defaults() -> dict[str, Any]:
    """Return the defaults by the names of the playbooks (group_vars/all/settings.yml)."""
    return {VARIABLE_PREFIX + setting.name: setting.default for setting in SETTINGS}
