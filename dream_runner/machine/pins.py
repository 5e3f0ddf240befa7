"""Look up unpinned images for a plan, and record their digests before the run.

The user's own lock takes precedence over the shipped one. Images in neither are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import catalog
from ..decide.plan_rows import PinRow
from ..module_utils.dream_core.errors import RequirementError
from ..module_utils.dream_core.types.choice import Choice, StackImage
from ..module_utils.dream_core.types.compose import Locked, LockedImage

if TYPE_CHECKING:
    from ..catalog.image_lock import Answers

#: Total time that a plan waits for all registries.
SECONDS = 10.0


def unpinned(choice: Choice) -> list[str]:
    """Return the unpinned image tags of a decision."""
    return sorted({item["tag"] for item in _images(choice) if not item["reference"]})


def _images(choice: Choice) -> Iterator[StackImage]:
    upgrade = choice.get("upgrade")
    for stack in (choice.get("stack"), upgrade["stack"] if upgrade else None):
        yield from (stack or {}).get("images", ())


def ask(tags: Iterable[str]) -> Answers[LockedImage]:
    """Return the registries' answers for ``tags``, within the time limit of a plan."""
    # Imported here because few runs need it.
    from ..catalog import image_lock

    return image_lock.ask(tags, seconds=SECONDS)


def with_pins(loaded: catalog.Catalog, found: Locked) -> catalog.Catalog:
    """Return the catalogue with additional pins."""
    return replace(loaded, images={"images": {**loaded.images["images"], **found}})


def record(found: Locked) -> None:
    """Record the pins in the user's own lock. Raises DreamError if it cannot be written."""
    if found:
        from ..catalog import image_lock

        image_lock.record(catalog.lock_path(), found)


def require(choice: Choice, reasons: Iterable[str], *, locked: bool) -> None:
    """Raise RequirementError IMAGE_NOT_LOCKED if a decision has unpinned images."""
    missing = unpinned(choice)
    if missing:
        raise refusal(missing, reasons, locked=locked)


def refusal(missing: list[str], reasons: Iterable[str], *, locked: bool) -> RequirementError:
    """Return the error for unpinned images; ``reasons`` say why the lookup failed."""
    lines = list(reasons) or missing
    hint = f"run 'dream-runner lock {' '.join(missing)}'; without a network, use --bundle DIR"
    return RequirementError(
        "some container images are not pinned:\n" + "\n".join(f"- {line}" for line in lines),
        code="IMAGE_NOT_LOCKED",
        hint=f"{hint}; or leave out --locked, then install looks them up" if locked else hint,
    )


def row(tag: str, entry: LockedImage) -> PinRow:
    """Return a new pin as a row of the plan."""
    return {"image": tag, "digest": str(entry["digest"]), "from": str(entry.get("from", ""))}
