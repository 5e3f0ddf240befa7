"""Bring the compose project up, and look at what the engine runs.

Safe to kill at any instant: what is due follows from the containers alone, so
that the next run goes on where this one stopped. Only containers that bear our
project's label, and come from our directory, are ever touched.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set

from .. import layout
from ..errors import EngineError, RequirementError, UsageError
from ..system import atomic, text_file
from ..system import env_file as envfile
from ..system.process import Finished
from . import compose_diff, engine

Step = Dict[str, Any]
Say = Callable[[str], None]

#: The compose file, beside the .env it refers to, so that 'docker compose ps' works there by
#: itself. JSON is YAML that every reader agrees about.
FILE = "docker-compose.yml"


def look(command: str, project: str) -> List[Dict[str, Any]]:
    """Return the containers of a compose project, whatever their state."""
    label = "label=%s=%s" % (layout.PROJECT_LABEL, project)
    ids = engine.lines(command, "ps", "--all", "--quiet", "--no-trunc", "--filter", label)
    return [_container(item) for item in engine.inspect(command, "container", ids)]


def _container(item: Mapping[str, Any]) -> Dict[str, Any]:
    labels, state = item["Config"].get("Labels") or {}, item["State"]
    host = item.get("HostConfig") or {}
    bindings = host.get("PortBindings") or {}
    return {
        "id": item["Id"],
        "name": item["Name"].lstrip("/"),
        "service": labels.get(layout.SERVICE_LABEL, ""),
        "hash": labels.get(layout.HASH_LABEL, ""),
        "directory": labels.get(layout.DIRECTORY_LABEL, ""),
        "labels": labels,
        "image": item["Config"].get("Image", ""),
        "state": state["Status"],
        "exit_code": int(state.get("ExitCode") or 0),
        "health": (state.get("Health") or {}).get("Status", ""),
        "restarts": int(item.get("RestartCount") or 0),
        "policy": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "networks": sorted((item.get("NetworkSettings") or {}).get("Networks") or {}),
        "environment": dict(
            pair.split("=", 1) for pair in item["Config"].get("Env") or () if "=" in pair
        ),
        "command": item["Config"].get("Cmd") or [],
        "ports": [
            "%s:%s:%s" % (bound["HostIp"], bound["HostPort"], port.split("/")[0])
            for port, places in bindings.items()
            for bound in places or ()
        ],
    }


class Stack:
    """One compose project in its directory on this host."""

    def __init__(
        self,
        command: str,
        directory: str,
        env_file: str,
        project: Mapping[str, Any],
        also: Mapping[str, str],
    ) -> None:
        """``also`` gives the other id of images that are known by their id."""
        self._command = command
        self._directory = directory
        self._env_file = env_file
        self._project: compose_diff.Project = dict(project)
        self._also = also
        self.name = str(project["name"])

    def settle(self, core: Sequence[str], *, write: bool, say: Say) -> Dict[str, Any]:
        """Make what runs equal what should; return ``{changed, steps, degraded}``.

        ``degraded`` maps optional services to why they did not start. Raises
        EngineError when a service of ``core`` does not.
        """
        text = self._text()
        rewritten = self._write(text, write)
        if not write and rewritten:
            # Compose can only be asked about a file that is there.
            return {"changed": True, "steps": [], "degraded": {}}
        before = self._containers()
        steps = self._due(before)
        if not write or not steps:
            return {"changed": rewritten or bool(steps), "steps": steps, "degraded": {}}
        for step in steps:
            say("%s: %s, because %s" % (step["service"], _DOING[step["action"]], step["why"]))
        self._remove([name for step in steps for name in step["remove"]])
        failed = self._start([s["service"] for s in steps if s["action"] != "remove"], core)
        self._remove_networks()
        return {"changed": True, "steps": steps, "degraded": failed}

    def vacate(
        self, files: Sequence[Mapping[str, str]], *, write: bool, say: Say
    ) -> Dict[str, Any]:
        """Remove the containers that hold what is gone or was altered, before it is made anew.

        A container keeps the directory that it mounted, although another has its name by now, and
        what it read at its start. A killed run leaves it missing, which the next one sees.
        """
        steps = compose_diff.stale(self._project, self._containers(), files, _lies_there)
        if write and steps:
            for step in steps:
                say("%s: removed, because %s" % (step["service"], step["why"]))
            self._remove([name for step in steps for name in step["remove"]])
        return {"changed": bool(steps), "steps": steps, "degraded": {}}

    def remove(self, *, write: bool, say: Say) -> Dict[str, Any]:
        """Remove every container and network of the project; volumes and data stay."""
        self._project = dict(self._project, services={}, networks={}, volumes={})
        steps = compose_diff.due(self._project, {}, self._containers(), {})
        if write:
            for step in steps:
                say("%s: removed, because %s" % (step["service"], step["why"]))
            self._remove([name for step in steps for name in step["remove"]])
            self._remove_networks()
        return {"changed": bool(steps), "steps": steps, "degraded": {}}

    def _text(self) -> str:
        fitted = compose_diff.fit(
            self._project, engine.info(self._command), _groups(), self._other_ids()
        )
        self._project = fitted
        return json.dumps(fitted, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def _other_ids(self) -> Dict[str, str]:
        """Return, of images that go by another id in this engine's store, that id."""
        here = engine.images(self._command, sorted(self._also.values()))
        return {name: other for name, other in self._also.items() if other in here}

    def _write(self, text: str, write: bool) -> bool:
        path = os.path.join(self._directory, FILE)
        try:
            # In the place of a link, or of one that is closed or open to all, comes a new one.
            as_made = stat.S_IFREG | 0o644
            if os.lstat(path).st_mode == as_made:
                with open(path, "rb") as stream:
                    if stream.read() == text.encode():
                        return False
        except FileNotFoundError:
            pass
        except OSError as error:
            raise atomic.translate(error, path) from error
        if write:
            atomic.write_bytes(path, text.encode(), 0o644)
        return True

    def _containers(self) -> List[Dict[str, Any]]:
        found = look(self._command, self.name)
        for item in found:
            elsewhere = item["directory"]
            if elsewhere not in ("", self._directory) and os.path.isdir(elsewhere):
                raise UsageError(
                    "the containers of project %s belong to an install in %s"
                    % (self.name, elsewhere),
                    code="STACK_ELSEWHERE",
                    where=elsewhere,
                    hint="a machine has one stack: uninstall that one first",
                )
        return found

    def _due(self, containers: Sequence[Mapping[str, Any]]) -> List[Step]:
        return compose_diff.due(self._project, self._hashes(), containers, self._env())

    def _hashes(self) -> Dict[str, str]:
        done = self._compose("config", "--hash", "*")
        if done.status != 0:
            raise EngineError(
                "compose refuses the project: %s" % done.output[-600:],
                code="COMPOSE_REFUSED",
                where=os.path.join(self._directory, FILE),
                hint="a key that it misses belongs into .env; run again with --full",
            )
        pairs = (line.split() for line in done.output.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def _env(self) -> Dict[str, str]:
        try:
            return envfile.parse(text_file.read(self._env_file, errors="surrogateescape"))
        except text_file.Unreadable as error:
            raise EngineError(
                "%s cannot be read: %s" % (self._env_file, error.reason),
                code="ENV_NOT_A_FILE",
                where=self._env_file,
                hint="check its owner and mode, then run again",
            ) from None

    def _compose(self, *arguments: str) -> Finished:
        return engine.child(
            [
                *(self._command, "compose", "--ansi", "never"),
                *("--project-name", self.name, "--project-directory", self._directory),
                *("--file", os.path.join(self._directory, FILE)),
                *("--env-file", self._env_file, *arguments),
            ],
            self._directory,
            kept_lines=400,
        )

    def _remove(self, ids: Sequence[str]) -> None:
        if ids:
            engine.ask(self._command, "rm", "--force", *ids)

    def _remove_networks(self) -> None:
        """Remove networks of switched-off services, so that off and on again leaves nothing."""
        label = "label=%s=%s" % (layout.PROJECT_LABEL, self.name)
        wanted = {"%s_%s" % (self.name, key) for key in self._project["networks"]}
        names = engine.lines(
            self._command, "network", "ls", "--format", "{{.Name}}", "--filter", label
        )
        for name in names:
            if name not in wanted:
                engine.ask(self._command, "network", "rm", name)

    def _start(self, names: Sequence[str], core: Sequence[str]) -> Dict[str, str]:
        """Start the core together, then the others; what fails of these is left out (K3)."""
        first = [name for name in names if name in core]
        rest = [name for name in names if name not in core]
        if first:
            done = self._up(first)
            if done.status != 0:
                raise failure(done.output, first)
        if not rest or self._up(rest).status == 0:
            return {}
        failed = {}
        for name in rest:
            done = self._up([name])
            if done.status != 0:
                failed[name] = failure(done.output, [name]).what
        return failed

    def _up(self, names: Sequence[str]) -> Finished:
        return self._compose("up", "--detach", "--no-build", "--quiet-pull", *names)


_DOING = {"create": "created", "recreate": "recreated", "start": "started", "remove": "removed"}


def _lies_there(path: str) -> Optional[str]:
    """Return the text of a file, nothing for what else is there, None where nothing is."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""


def _groups() -> Dict[str, int]:
    import grp

    return {item.gr_name: item.gr_gid for item in grp.getgrall()}


def failure(said: str, names: Sequence[str]) -> EngineError:
    """Return why services did not start, from compose's words."""
    brief = _last_words(said)
    taken = re.search(r"(?:bind for|listen tcp4?) ?([0-9.:\[\]]+)", said, re.IGNORECASE)
    if re.search(r"port is already allocated|address already in use", said):
        error: Any = RequirementError(
            "the port %s is taken by another program" % (taken[1] if taken else "of a service"),
            code="PORT_TAKEN",
            where=", ".join(names),
            hint="stop that program, then run again; 'docker ps' shows other containers",
        )
        return error  # type: ignore[no-any-return]
    if re.search(r"no such image", said, re.IGNORECASE):
        return EngineError(
            "an image that was there is gone: %s" % brief,
            code="IMAGE_NOT_FOUND",
            where=", ".join(names),
            hint="run again: it is fetched first",
        )
    return EngineError(
        "%s did not start: %s" % (", ".join(names), brief),
        code="SERVICE_FAILED",
        where=", ".join(names),
        hint="'docker compose ps' and 'docker compose logs' in the install directory say more",
    )


def _last_words(said: str) -> str:
    """Return the lines that tell of an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|cannot|unhealthy", line, re.I)]
    return " ".join((telling or lines or ["no word"])[-3:])[-600:]


# --- resources of the receipts --------------------------------------------------------


class Engine:
    """What the engine has of some resources, asked once and only when one needs it."""

    def __init__(
        self, resources: Sequence[Mapping[str, Any]] = (), command: str = "docker"
    ) -> None:
        self._resources = resources
        self._command = command
        self._projects: Dict[str, Optional[List[Dict[str, Any]]]] = {}
        self._names: Dict[str, Optional[Set[str]]] = {}

    def containers(self, project: str, service: str) -> Optional[List[Dict[str, Any]]]:
        """Return the containers of a service: one, or what a killed run left.

        None where this user may not ask.
        """
        if project not in self._projects:
            self._projects[project] = self._answer(lambda command: look(command, project))
        known = self._projects[project]
        return known and [item for item in known if item["service"] == service]

    def has(self, kind: str, name: str) -> Optional[bool]:
        """Tell whether there is such an image, network or volume; None: this user may not ask."""
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

    def _answer(
        self, question: Callable[[str], List[Dict[str, Any]]]
    ) -> Optional[List[Dict[str, Any]]]:
        """Return the answer; an engine that is stopped or gone has nothing, as a survey must tell.

        None where the engine refuses this user and root cannot be had without a question.
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


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["reference"] if resource["kind"] == "image" else resource["name"])


def _names_of(item: Mapping[str, Any]) -> List[str]:
    """Return the names that an image, network or volume goes by."""
    found = [item.get("Name"), item.get("Id"), *(item.get("RepoDigests") or ())]
    return [str(name) for name in found if name]


def observe(resource: Mapping[str, Any], known: Engine) -> Dict[str, Any]:
    """Return what is seen of a container, image, network or volume."""
    if resource["kind"] == "container":
        return _of_service(known.containers(resource["project"], resource["service"]))
    names = [name for name in (_name(resource), resource.get("also")) if name]
    there = [known.has(resource["kind"], name) for name in names]
    return dict(UNKNOWN) if None in there else {"present": any(there)}


#: What is seen by a user whom the engine refuses. It counts as there, so that nothing of
#: somebody else's is ever taken for ours.
UNKNOWN = {"present": True, "unknown": True}


def _of_service(found: Optional[Sequence[Mapping[str, Any]]]) -> Dict[str, Any]:
    if found is None:
        return dict(UNKNOWN)
    if not found:
        return {"present": False}
    first = found[0]
    return {
        "present": True,
        "copies": len(found),
        "hash": first["hash"],
        "active": "running" if first["state"] == "restarting" else first["state"],
        "image": first["image"],
        # No hash tells of these two: an engine changes them under a container that runs.
        "policy": first["policy"],
        "networks": first["networks"],
    }


def of_another_install(resource: Mapping[str, Any], install_dir: str) -> str:
    """Return why a container, network or volume is not of the install in ``install_dir``, or ""."""
    command = "docker"
    if resource["kind"] == "container":
        found = look(command, resource["project"])
        places = [item["directory"] for item in found if item["service"] == resource["service"]]
        strange = [place for place in places if not _is_of(place, install_dir)]
        return "it belongs to an install in %s" % strange[0] if strange else ""
    labels = [
        item.get("Labels") or {}
        for item in engine.inspect(command, resource["kind"], [resource["name"]])
    ]
    wanted = str(resource["name"]).split("_")[0]
    is_other = any(item.get(layout.PROJECT_LABEL) != wanted for item in labels)
    return "it does not belong to the compose project %s" % wanted if is_other else ""


def _is_of(directory: str, install_dir: str) -> bool:
    """Tell whether compose ran in the install directory, or below it as a trial does."""
    return (directory + "/").startswith(install_dir.rstrip("/") + "/")


def remove(resource: Mapping[str, Any]) -> None:
    """Take a container, image, network or volume of ours away."""
    command = "docker"
    if resource["kind"] == "container":
        ids = [
            item["id"]
            for item in look(command, resource["project"])
            if item["service"] == resource["service"]
        ]
        engine.ask(command, "rm", "--force", *ids)
        return
    names = [name for name in (_name(resource), resource.get("also")) if name]
    if resource["kind"] == "image":
        names = sorted(engine.images(command, names))
    engine.ask(command, resource["kind"], "rm", *names)
