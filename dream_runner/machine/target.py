"""Collect everything about this machine before anything is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .. import catalog
from ..decide import features, plan, plan_rows, ports, webui
from ..decide.host_decision import decide_for, due_for, inputs_for
from ..module_utils.dream_core.checks import needed_size
from ..module_utils.dream_core.containers import engine_images
from ..module_utils.dream_core.errors import DreamError
from ..module_utils.dream_core.fetch import wheelhouse
from ..module_utils.dream_core.fetch.disk.partial import partial_progress
from ..module_utils.dream_core.fetch.request import Network
from ..module_utils.dream_core.look.host import look
from ..module_utils.dream_core.native.venv_check import is_made_from
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.profiles import NATIVE
from ..module_utils.dream_core.records import due_phases
from ..module_utils.dream_core.records.receipt import directory_of, read_all
from ..module_utils.dream_core.system import filesystems, kernel
from ..module_utils.dream_core.system.filesystems import parts_of
from ..module_utils.dream_core.types.choice import Choice, ModelFile, StackImage
from ..module_utils.dream_core.types.compose import Locked
from ..module_utils.dream_core.types.look import Look
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.upgrade import progress
from ..paths import default_state_dir
from ..settings import answers, local_model
from ..settings.merge import from_environment, merge, near_misses
from ..settings.parsers import Known
from ..settings.table import BY_NAME
from ..settings.values import Chosen, Given, Settings
from ..version import __version__
from . import download_sizes, pins

#: A user who can write to this socket needs no root to run containers.
_CONTAINER_SOCKET = "/var/run/docker.sock"
#: The system library that the native engine needs, its packages, and the install commands.
_ENGINE_LIBRARY = "libgomp.so.1"
_LIBRARY_PACKAGES = {
    "debian": ("libgomp1", "apt-get install -y"),
    "redhat": ("libgomp", "dnf install -y"),
    "suse": ("libgomp1", "zypper install -y"),
    "arch": ("gcc-libs", "pacman -S --needed"),
    "alpine": ("libgomp", "apk add"),
    "void": ("libgomp", "xbps-install -y"),
}


@dataclass(frozen=True)
class Target:
    """Settings, host and the decisions; ``notes`` are lines for the user.

    ``pinned`` are images whose digest was looked up for this run and is not recorded yet.
    ``unpinned`` are the reasons why other images have no digest.
    """

    state_dir: str
    settings: Settings
    host: Look
    choice: Choice
    reasons: Mapping[str, due_phases.Reason]
    is_silent: bool = False
    notes: tuple[str, ...] = field(default=())
    pinned: Locked = field(default_factory=dict)
    unpinned: tuple[str, ...] = ()

    @property
    def receipts(self) -> Receipts:
        """Return the receipts by phase."""
        return self.host["receipts"]


@dataclass(frozen=True)
class MergedSettings:
    """The merged settings with their sources."""

    state_dir: str
    settings: Settings
    notes: tuple[str, ...]


def read_settings(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    *,
    save: bool = False,
) -> MergedSettings:
    """Merge the settings from all sources. Raises SettingsError with all problems.

    ``save`` stores the digest of a local model file, so that it is not read again.
    """
    state_dir = default_state_dir(environment)
    saved, notes = answers.read_saved(state_dir)
    told, problems = answers.read_answers(answers_file) if answers_file else ({}, [])
    settings = merge(flags, from_environment(environment), saved, told, known(), problems)
    settings = _with_directory(settings, state_dir)
    settings = local_model.complete(settings, state_dir, save=save)
    notes += near_misses(environment)
    if not settings["offline"]:
        network_env.require(environment)
    return MergedSettings(state_dir, settings, (*notes, *settings.notes))


def _with_directory(settings: Settings, state_dir: str) -> Settings:
    """Return the settings with the directory of the existing install, if none was chosen.

    It was the default of the version that created it, and today's default may differ. It stays a
    default, so that a second run does not add it to the saved choices.
    """
    directory = directory_of(read_all(state_dir)[0])
    if not directory or settings.chosen["install_dir"].origin != "default":
        return settings
    chosen = Chosen(directory, "default", "default")
    return replace(settings, chosen={**settings.chosen, "install_dir": chosen})


def known() -> Known:
    """Return the names in the catalogue."""
    loaded = catalog.load()
    return Known(
        tiers=tuple(str(item["id"]) for item in loaded.tiers["tiers"]),
        models=tuple(str(item["id"]) for item in loaded.models["models"]),
        ports=tuple(ports.names(loaded.services["services"])),
        exposable=tuple(ports.exposable(loaded.services["services"])),
        not_offered=features.not_offered(loaded.features),
    )


def observe(
    said: MergedSettings,
    *,
    fresh: bool,
    save: bool,
    full: bool = False,
    verify: bool = False,
    locked: bool = False,
) -> Target:
    """Observe the host and decide. With ``save`` False, nothing is written.

    Unpinned images are looked up in their registries, unless ``locked`` or offline.
    """
    host = look(
        state_dir=said.state_dir,
        install_dir=said.settings["install_dir"],
        version=__version__,
        bundle=str(said.settings["bundle"]),
        force=fresh,
        full=fresh or full,
        verify=verify,
        save=save,
    )
    settings = said.settings.values()
    described = local_model.described(settings)

    loaded = catalog.load()
    choice = decide_for(host, settings, loaded, described=described)
    pinned: Locked = {}
    unpinned: tuple[str, ...] = ()
    missing = pins.unpinned(choice)
    if missing and not (locked or settings["offline"]):
        answers = pins.ask(missing)
        pinned, unpinned = answers.found, tuple(answers.reasons())
        pinned_catalog = pins.with_pins(loaded, pinned)
        choice = decide_for(host, settings, pinned_catalog, described=described)
    reasons = _reasons(said.settings, host, choice, full=fresh or full)
    return Target(
        said.state_dir,
        said.settings,
        host,
        choice,
        reasons,
        notes=(*said.notes, *host["notes"], *(f"not pinned: {line}" for line in unpinned)),
        pinned=pinned,
        unpinned=unpinned,
    )


def with_silent_engine(known: Target) -> Target:
    """Return the target with an engine that does not answer."""
    reasons = _reasons(known.settings, known.host, known.choice, is_silent=True)
    return replace(known, reasons=reasons, is_silent=True)


def started_over(known: Target) -> Target:
    """Return the target with every phase due, for a run that starts over."""
    reasons = _reasons(known.settings, known.host, known.choice, full=True)
    return replace(known, reasons=reasons)


def webui_offer(known: Target) -> int:
    """Return the bytes of Open WebUI's packages where a person may still add it, else 0."""
    settings = known.settings
    is_open = settings["webui"] == "auto" and not settings["offline"]
    if not is_open or known.choice["profile"] != NATIVE:
        return 0
    return webui.offer(catalog.load(), str(known.host["facts"]["arch"]))


def with_webui(known: Target, *, full: bool) -> Target:
    """Return the target with Open WebUI, which a person has just added."""
    added = Chosen("yes", "flag", BY_NAME[webui.NAME].flag)
    settings = replace(known.settings, chosen={**known.settings.chosen, webui.NAME: added})
    values = settings.values()
    choice = decide_for(known.host, values, catalog.load(), described=local_model.described(values))
    reasons = _reasons(settings, known.host, choice, full=full)
    return replace(known, settings=settings, choice=choice, reasons=reasons)


def _reasons(
    settings: Settings,
    host: Look,
    choice: Choice,
    *,
    full: bool = False,
    is_silent: bool = False,
) -> Mapping[str, due_phases.Reason]:
    values = settings.values()
    inputs = inputs_for(host, values, choice)
    return due_for(host, values, inputs, full=full, is_silent=is_silent)


def plan_of(target: Target) -> plan.Plan:
    """Return the plan for this machine."""
    return plan.build(
        target.settings,
        target.host["session"],
        target.choice,
        target.reasons,
        _found(target),
    )


def _found(target: Target) -> plan.Found:
    session = target.host["session"]
    package, command = _missing_package(target)
    return plan.Found(
        present=_present(target),
        sizes=_sizes(target),
        missing_packages=(package,) if package else (),
        package_command=f"{command} {package}" if command else "",
        lingers=session["sudo"] == "none"
        or os.path.exists(f"/var/lib/systemd/linger/{session['user']}"),
        has_containers=os.access(_CONTAINER_SOCKET, os.R_OK | os.W_OK),
        model_about_bytes=_about_bytes(target.choice["model"]["id"]),
        receipts=target.receipts,
        images=_images_here(target),
        pinned=tuple(pins.row(tag, entry) for tag, entry in sorted(target.pinned.items())),
        archive_bytes=_archive_bytes(target),
        webui_bytes=_webui_bytes(target),
        disk_needs=_disk_needs(target),
    )


#: Sizes that servers reported in this run, by URL; a plan is made several times.
_told: dict[tuple[str, ...], int] = {}


def size_hints(target: Target) -> dict[str, int]:
    """Return the sizes of files without a pinned size, as reported by their servers.

    Only missing files are looked up, and never offline. Maps names to bytes; only a hint.
    """
    unknown = [
        item
        for item in progress.choice_files(target.choice)
        if not item.get("size_bytes") and not _progress(target, item)[1]
    ]
    fresh = [item for item in unknown if tuple(item["urls"]) not in _told]
    if target.settings["offline"]:
        fresh = [item for item in fresh if str(item["urls"][0]).startswith("file:")]
    if fresh:
        found = download_sizes.ask(fresh, Network.from_environment(os.environ))
        _told.update({tuple(item["urls"]): found.get(item["file"], 0) for item in fresh})
    told = {str(item["file"]): _told.get(tuple(item["urls"]), 0) for item in unknown}
    return {name: size for name, size in told.items() if size}


def _stack_images(target: Target) -> list[StackImage]:
    return list((target.choice.get("stack") or {}).get("images", ()))


def _images_here(target: Target) -> frozenset[str] | None:
    """Return the images that the engine has; None without a usable engine."""
    wanted = _stack_images(target)
    if not wanted:
        return frozenset()
    command = shutil.which("docker")
    if not command or not os.access(_CONTAINER_SOCKET, os.R_OK | os.W_OK):
        return None
    names = {name for item in wanted for name in (item["reference"], item["also"]) if name}
    try:
        return engine_images.images(command, sorted(names))
    except DreamError:
        # The plan must work in any state of the engine; install reports its errors.
        return None


def _archive_bytes(target: Target) -> dict[str, int]:
    """Return the sizes of the image archives in the bundle."""
    root, sizes = str(target.settings["bundle"]), {}
    for archive in {str(item["archive"]) for item in _stack_images(target) if item["archive"]}:
        with contextlib.suppress(OSError):
            sizes[archive] = sum(map(os.path.getsize, parts_of(os.path.join(root, archive))))
    return sizes


def _webui_bytes(target: Target) -> int:
    """Return the bytes of Open WebUI's packages that need no download any more."""
    app = target.choice["webui"]
    if not app:
        return 0
    lock, arch = catalog.load().webui, target.host["facts"]["arch"]
    folder = os.path.join(target.settings["install_dir"], "webui")
    targets = [f"{python}-{arch}" for python in app["pythons"]]
    if any(is_made_from(os.path.join(folder, "venv"), lock.requirements(name)) for name in targets):
        return int(app["download_bytes"])
    wheels = os.path.join(folder, "wheels")
    return max(wheelhouse.present_bytes(lock.of(name), wheels) for name in targets)


def _disk_needs(target: Target) -> tuple[plan_rows.DiskShare, ...]:
    """Return the bytes still to write, each with its filesystem."""
    done = [name for name, item in target.receipts.items() if item["state"] == "done"]
    settings = target.settings.values()
    found: list[plan_rows.DiskShare] = []
    choice: Choice = {**target.choice, "size_hints": size_hints(target)}
    for need in needed_size.needs(settings, choice, target.state_dir, done)["disk"]:
        place = filesystems.filesystem(need["path"])
        there = sum(filesystems.allocated_bytes(path) for path in need["there"])
        found.append(
            {
                "what": need["what"],
                "bytes": need["mb"] * 1024**2 - there,
                "device": place["device"],
                "mount": place["mount"],
                "free_bytes": place["free_bytes"],
            }
        )
    return tuple(found)


def _about_bytes(model_id: str) -> int:
    """Return the catalogue's planning figure for files of unknown size."""
    sizes = {item["id"]: item["size_mb"] for item in catalog.load().models["models"]}
    return int(sizes.get(model_id, 0)) * 1_000_000


def _missing_package(target: Target) -> tuple[str, str]:
    """Return the package that the native engine lacks, and the command that installs it."""
    if target.choice["profile"] != "native" or kernel.can_load(_ENGINE_LIBRARY):
        return "", ""
    family = target.host["facts"]["os"]["family"]
    return _LIBRARY_PACKAGES.get(family, (_ENGINE_LIBRARY, ""))


def model_progress(target: Target) -> tuple[int, int]:
    """Return the downloaded bytes of the chosen model, and its total bytes (0: unknown)."""
    files = [_progress(target, item) for item in target.choice["model"]["files"]]
    total = sum(total for _, total in files)
    return sum(done for done, _ in files), total if all(total for _, total in files) else 0


def _sizes(target: Target) -> dict[str, int]:
    """Return sizes from the disk or a server for files without a pinned size."""
    files = progress.choice_files(target.choice)
    here = {item["file"]: _progress(target, item)[1] for item in files}
    return {**{name: size for name, size in here.items() if size}, **size_hints(target)}


def _present(target: Target) -> dict[str, int]:
    files = progress.choice_files(target.choice)
    return {item["file"]: _progress(target, item)[0] for item in files}


def _progress(target: Target, item: ModelFile) -> tuple[int, int]:
    """Return the downloaded and total bytes of a file. A file of another size does not count."""
    path = os.path.join(target.settings["install_dir"], "data", "models", item["file"])
    total = item.get("size_bytes") or 0
    if os.path.isfile(path) and total in (0, os.path.getsize(path)):
        return os.path.getsize(path), os.path.getsize(path)
    done, found = partial_progress(path) or (0, 0)
    return done, total or found
