"""Start, update and remove the compose project.

A run can be killed at any time: the steps follow from the containers alone, so the next run
continues where this one stopped. Only containers with our project's label and from our directory
are changed.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .. import layout
from ..errors import EngineError, RequirementError, UsageError
from ..files import env_file, text_file
from ..system import atomic
from ..system.process import Finished
from ..types.compose import Project, Settled, Step
from ..types.service import Container
from . import compose_diff, engine, engine_child, engine_images, project_containers

Say = Callable[[str], None]

#: The compose file is beside the .env that it refers to, so that 'docker compose ps' works in that
#: directory. It is JSON, which every YAML parser reads in the same way.
FILE = "docker-compose.yml"


class Stack:
    """One compose project in its directory on this host."""

    def __init__(
        self,
        command: str,
        directory: str,
        env_file: str,
        project: Project,
        also: Mapping[str, str],
    ) -> None:
        """``also`` holds the other id of images that are pinned by their id."""
        self._command = command
        self._directory = directory
        self._env_file = env_file
        self._project = project
        self._also = also
        self.name = str(project["name"])

    def settle(self, core: Sequence[str], *, write: bool, say: Say) -> Settled:
        """Bring the containers to the wanted state; return ``{changed, steps, degraded}``.

        ``degraded`` maps optional services to the reason why they did not start. Raises EngineError
        if a service of ``core`` does not start.
        """
        text = self._text()
        rewritten = self._write(text, write)
        if not write and rewritten:
            # Compose needs the file for its answer.
            return {"changed": True, "steps": [], "degraded": {}}
        before = self._containers()
        steps = self._due(before)
        if not write or not steps:
            return {"changed": rewritten or bool(steps), "steps": steps, "degraded": {}}
        for step in steps:
            say("%s: %s (%s)" % (step["service"], _DOING[step["action"]], step["why"]))
        self._remove([name for step in steps for name in step["remove"]])
        failed = self._start([s["service"] for s in steps if s["action"] != "remove"], core)
        self._remove_networks()
        return {"changed": True, "steps": steps, "degraded": failed}

    def vacate(self, files: Sequence[Mapping[str, str]], *, write: bool, say: Say) -> Settled:
        """Remove the containers whose mounts or files are about to be recreated.

        A container keeps the directory that it mounted, even if a new directory has that name, and
        the files that it read at its start. After a kill the container is missing, and the next run
        creates it.
        """
        steps = compose_diff.stale(self._project, self._containers(), files, _text_at)
        if write and steps:
            for step in steps:
                say("%s: removed (%s)" % (step["service"], step["why"]))
            self._remove([name for step in steps for name in step["remove"]])
        return {"changed": bool(steps), "steps": steps, "degraded": {}}

    def remove(self, *, write: bool, say: Say) -> Settled:
        """Remove every container and network of the project; keep volumes and data."""
        self._project = {**self._project, "services": {}, "networks": {}, "volumes": {}}
        steps = compose_diff.due(self._project, {}, self._containers(), {})
        if write:
            for step in steps:
                say("%s: removed (%s)" % (step["service"], step["why"]))
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
        """Return the ids of images that have another id in this engine's store."""
        here = engine_images.images(self._command, sorted(self._also.values()))
        return {name: other for name, other in self._also.items() if other in here}

    def _write(self, text: str, write: bool) -> bool:
        path = os.path.join(self._directory, FILE)
        try:
            # A link, and a file that is unreadable or open to all, is replaced by a new file.
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

    def _containers(self) -> List[Container]:
        found = project_containers.look(self._command, self.name)
        for item in found:
            elsewhere = item["directory"]
            if elsewhere not in ("", self._directory) and os.path.isdir(elsewhere):
                raise UsageError(
                    "the containers of project %s belong to the install in %s"
                    % (self.name, elsewhere),
                    code="STACK_ELSEWHERE",
                    where=elsewhere,
                    hint="a machine can have only one stack: uninstall the other one first",
                )
        return found

    def _due(self, containers: Sequence[Container]) -> List[Step]:
        return compose_diff.due(self._project, self._hashes(), containers, self._env())

    def _hashes(self) -> Dict[str, str]:
        done = self._compose("config", "--hash", "*")
        if done.status != 0:
            raise EngineError(
                "docker compose rejects the project: %s" % done.output[-600:],
                code="COMPOSE_REFUSED",
                where=os.path.join(self._directory, FILE),
                hint="run 'dream-runner install --full' to write missing keys to .env",
            )
        pairs = (line.split() for line in done.output.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def _env(self) -> Dict[str, str]:
        try:
            return env_file.parse(text_file.read(self._env_file, errors="surrogateescape"))
        except text_file.Unreadable as error:
            raise EngineError(
                "%s cannot be read: %s" % (self._env_file, error.reason),
                code="ENV_NOT_A_FILE",
                where=self._env_file,
                hint="check its owner and mode, then run again",
            ) from None

    def _compose(self, *arguments: str) -> Finished:
        return engine_child.child(
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
        """Remove the networks of services that were switched off."""
        label = "label=%s=%s" % (layout.PROJECT_LABEL, self.name)
        wanted = {"%s_%s" % (self.name, key) for key in self._project["networks"]}
        names = engine.lines(
            self._command, "network", "ls", "--format", "{{.Name}}", "--filter", label
        )
        for name in names:
            if name not in wanted:
                engine.ask(self._command, "network", "rm", name)

    def _start(self, names: Sequence[str], core: Sequence[str]) -> Dict[str, str]:
        """Start the core services together, then the others; skip those that fail (K3)."""
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


def _text_at(path: str) -> Optional[str]:
    """Return the text of a file, "" for any other object, None if nothing is there."""
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
    """Return why services did not start, from compose's output."""
    brief = _last_words(said)
    taken = re.search(r"(?:bind for|listen tcp4?) ?([0-9.:\[\]]+)", said, re.IGNORECASE)
    if re.search(r"port is already allocated|address already in use", said):
        error: Any = RequirementError(
            "port %s is in use by another program" % (taken[1] if taken else "of a service"),
            code="PORT_TAKEN",
            where=", ".join(names),
            hint="stop that program, then run again; 'docker ps' shows other containers",
        )
        return error  # type: ignore[no-any-return]
    if re.search(r"no such image", said, re.IGNORECASE):
        return EngineError(
            "an image was removed: %s" % brief,
            code="IMAGE_NOT_FOUND",
            where=", ".join(names),
            hint="run again to download it",
        )
    return EngineError(
        "%s did not start: %s" % (", ".join(names), brief),
        code="SERVICE_FAILED",
        where=", ".join(names),
        hint="see 'docker compose ps' and 'docker compose logs' in the install directory",
    )


def _last_words(said: str) -> str:
    """Return the lines that report an error, or the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|cannot|unhealthy", line, re.I)]
    return " ".join((telling or lines or ["no output"])[-3:])[-600:]
