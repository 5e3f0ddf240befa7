"""The containers, images, networks and volumes of receipts, as the engine reports them."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence, Set, TypeVar

from .. import layout
from ..errors import EngineError
from ..types.resource import Resource, Seen
from ..types.service import Container, EngineJson
from . import engine, engine_images, project_containers

T = TypeVar("T")


class Engine:
    """The engine's state of some resources, requested once and only if needed."""

    def __init__(self, resources: Sequence[Resource] = (), command: str = "docker") -> None:
        self._resources = resources
        self._command = command
        self._projects: Dict[str, Optional[List[Container]]] = {}
        self._names: Dict[str, Optional[Set[str]]] = {}

    def containers(self, project: str, service: str) -> Optional[List[Container]]:
        """Return the containers of a service: one, or more after a killed run.

        None if this user may not use the engine.
        """
        if project not in self._projects:
            self._projects[project] = self._answer(
                lambda command: project_containers.look(command, project)
            )
        known = self._projects[project]
        return known and [item for item in known if item["service"] == service]

    def has(self, kind: str, name: str) -> Optional[bool]:
        """Return whether such an image, network or volume exists; None if this user may not ask."""
        if kind not in self._names:
            known = [item for item in self._resources if item["kind"] == kind]
            names = {text for item in known for text in (_name(item), item.get("also")) if text}
            names.add(name)
            found = self._answer(lambda command: engine.inspect(command, kind, sorted(names)))
            self._names[kind] = (
                None if found is None else {text for item in found for text in _names_of(item)}
            )
        there = self._names[kind]
        return None if there is None else name in there

    def _answer(self, question: Callable[[str], List[T]]) -> Optional[List[T]]:
        """Return the answer; empty if the engine is stopped or removed, which a survey must report.

        None if the engine refuses this user and root needs a password.
        """
        try:
            return question(self._command)
        except EngineError as error:
            if not engine.is_denied(error):
                return []
        root = engine.as_root(self._command)
        if not root:
            return None
        self._command = root
        return self._answer(question)


def _name(resource: Resource) -> str:
    return str(resource["reference"] if resource["kind"] == "image" else resource["name"])


def _names_of(item: EngineJson) -> List[str]:
    """Return the names of an image, network or volume."""
    found = [item.get("Name"), item.get("Id"), *(item.get("RepoDigests") or ())]
    return [str(name) for name in found if name]


def observe(resource: Resource, known: Engine) -> Seen:
    """Return the observed state of a container, image, network or volume."""
    if resource["kind"] == "container":
        return _of_service(known.containers(resource["project"], resource["service"]))
    names = [name for name in (_name(resource), resource.get("also")) if name]
    there = [known.has(resource["kind"], name) for name in names]
    return UNKNOWN.copy() if None in there else {"present": any(there)}


#: The state that a refused user observes. The resource counts as present, so that nothing of others
#: is taken for ours.
UNKNOWN: Seen = {"present": True, "unknown": True}


def _of_service(found: Optional[Sequence[Container]]) -> Seen:
    if found is None:
        return UNKNOWN.copy()
    if not found:
        return {"present": False}
    first = found[0]
    return {
        "present": True,
        "copies": len(found),
        "hash": first["hash"],
        "active": "running" if first["state"] == "restarting" else first["state"],
        "image": first["image"],
        # No hash covers these two: the engine can change them while the container runs.
        "policy": first["policy"],
        "networks": first["networks"],
    }


def of_another_install(resource: Resource, install_dir: str) -> str:
    """Return why a container, network or volume does not belong to ``install_dir``, or ""."""
    command = "docker"
    if resource["kind"] == "container":
        found = project_containers.look(command, resource["project"])
        places = [item["directory"] for item in found if item["service"] == resource["service"]]
        strange = [place for place in places if not _is_of(place, install_dir)]
        return "it belongs to the install in %s" % strange[0] if strange else ""
    labels = [
        item.get("Labels") or {}
        for item in engine.inspect(command, resource["kind"], [resource["name"]])
    ]
    wanted = str(resource["name"]).split("_")[0]
    is_other = any(item.get(layout.PROJECT_LABEL) != wanted for item in labels)
    return "it does not belong to the compose project %s" % wanted if is_other else ""


def _is_of(directory: str, install_dir: str) -> bool:
    """Return whether compose ran in the install directory, or below it as for a trial."""
    return (directory + "/").startswith(install_dir.rstrip("/") + "/")


def remove(resource: Resource) -> None:
    """Remove a container, image, network or volume of this install."""
    command = "docker"
    if resource["kind"] == "container":
        ids = [
            item["id"]
            for item in project_containers.look(command, resource["project"])
            if item["service"] == resource["service"]
        ]
        engine.ask(command, "rm", "--force", *ids)
        return
    names = [name for name in (_name(resource), resource.get("also")) if name]
    if resource["kind"] == "image":
        names = sorted(engine_images.images(command, names))
    engine.ask(command, resource["kind"], "rm", *names)
