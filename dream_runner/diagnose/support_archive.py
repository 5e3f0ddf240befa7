"""Write the support archive: everything needed for help, without secrets.

Only listed files are read, as text, and redacted. Of ``.env``, only the keys are included.
Before the archive is written, it is searched for every known secret of this host.
"""

from __future__ import annotations

import io
import json
import netrc
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..module_utils.dream_core.errors import DreamError
from ..module_utils.dream_core.files import env_file, text_file
from ..module_utils.dream_core.network import listeners
from ..module_utils.dream_core.printable import printable
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.redact import SECRET_NAME, Redactor
from ..module_utils.dream_core.system import atomic, filesystems
from ..module_utils.dream_core.types.receipt import Receipts
from ..version import __version__

#: Maximum size of a log; its end is kept.
_LOG_BYTES = 512 * 1024
_RUNS = 3
_SYSTEM = ("etc/os-release", "proc/meminfo", "proc/mounts", "proc/cpuinfo", "proc/version")
#: Folders of an install directory that are included.
_TELLING = frozenset(("logs", "config", "compose", "supervisor"))
_TOKEN_FILES = (".cache/huggingface/token", ".huggingface/token")


def write(
    target: str, state_dir: str, findings: list[dict[str, Any]], environment: Mapping[str, str]
) -> list[str]:
    """Write the archive to ``target``, mode 0600, and return the names in it.

    Raises DreamError if the file cannot be written, or if it would contain a secret.
    """
    receipts, _ = read_all(state_dir)
    install_dirs = sorted({str(item.get("install_dir") or "") for item in receipts.values()} - {""})
    redactor = Redactor(_known(install_dirs, environment))
    documents = {
        "findings.json": _json(redactor.document(findings)),
        "about.json": _json({"version": __version__, "python": platform.python_version()}),
        **{
            name: _redacted(redactor, name, text)
            for name, text in _texts(state_dir, install_dirs, receipts)
        },
    }
    for name, text in documents.items():
        if redactor.leaks(name + text):
            raise DreamError(
                f"{name} still contains a secret; nothing was written",
                code="REDACTION_FAILED",
                hint="please report this as a bug, without that file",
            )
    atomic.write_bytes(os.path.abspath(target), _archive(documents), 0o600)
    return sorted(documents)


def _redacted(redactor: Redactor, name: str, text: str) -> str:
    """Return a file without secrets: by keys if it is JSON, else by patterns."""
    if name.endswith(".jsonl"):
        return "\n".join(_redacted(redactor, "line.json", line) for line in text.splitlines())
    if name.endswith(".json"):
        try:
            document = redactor.document(json.loads(text))
        except ValueError:
            return redactor.text(text)
        return json.dumps(document) if name == "line.json" else _json(document)
    return redactor.text(text)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _texts(
    state_dir: str, install_dirs: list[str], receipts: Receipts
) -> Iterator[tuple[str, str]]:
    for name in ("settings.json", "facts.json"):
        yield from _file(f"state/{name}", os.path.join(state_dir, name))
    for name in filesystems.names_in(os.path.join(state_dir, "receipts")):
        yield from _file(f"state/receipts/{name}", os.path.join(state_dir, "receipts", name))
    for run in sorted(filesystems.names_in(os.path.join(state_dir, "runs")), reverse=True)[:_RUNS]:
        for name in ("events.jsonl", "log.txt"):
            yield from _file(f"runs/{run}/{name}", os.path.join(state_dir, "runs", run, name))
    for number, folder in enumerate(install_dirs):
        yield from _of_install(f"install-{number}", folder, receipts)
    for name in _SYSTEM:
        yield from _file(f"system/{os.path.basename(name)}", f"/{name}")
    yield "system/listeners.json", json.dumps(listeners.listeners())
    yield "system/disks.json", json.dumps([filesystems.filesystem(path) for path in install_dirs])


def _of_install(label: str, folder: str, receipts: Receipts) -> Iterator[tuple[str, str]]:
    """Yield the configuration and log files of an install, but no user data."""
    values = _env(os.path.join(folder, ".env"))
    yield f"{label}/env-keys.txt", "".join(f"{name}\n" for name in sorted(values))
    for document in receipts.values():
        for item in document.get("resources", []):
            path = str(item.get("path", ""))
            inside = os.path.relpath(path, folder) if path.startswith(folder + "/") else ""
            tells = inside.split("/")[0] in _TELLING or path.endswith(".service")
            if tells and item["kind"] == "file" and not item.get("secret"):
                yield from _file(f"{label}/{inside or os.path.basename(path)}", path)


def _file(label: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield the end of a regular file as text; nothing if there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            size = os.fstat(handle).st_size
            stream.seek(max(0, size - _LOG_BYTES) if size else 0)
            content = stream.read(_LOG_BYTES)
    except OSError:
        return
    text = text_file.decode(content, "replace")
    # Drop the cut first line: half a secret would not be recognized.
    yield label, text.partition("\n")[2] if size > _LOG_BYTES else text


def _known(install_dirs: list[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield every known secret of this host."""
    for folder in install_dirs:
        for name in (".env", ".env.bak"):
            yield from _secrets_of(_env(os.path.join(folder, name)))
    yield from _secrets_of(environment)
    home = environment.get("HOME", "")
    for name in _TOKEN_FILES:
        for _, text in _file("", os.path.join(home, name)):
            yield text
    for path in (environment.get("NETRC") or os.path.join(home, ".netrc"),):
        yield from _netrc_passwords(path)
    for _, text in _file("", os.path.join(home, ".docker", "config.json")):
        yield from _docker_passwords(text)


def _secrets_of(values: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        if SECRET_NAME.fullmatch(name):
            yield value
        _, credentials, _ = value.partition("://")
        if credentials and "@" in value:
            user_info = value.partition("://")[2].rpartition("@")[0]
            yield user_info.partition(":")[2] or user_info


def _env(path: str) -> dict[str, str]:
    return next((env_file.parse(text) for _, text in _file("", path)), {})


def _netrc_passwords(path: str) -> Iterator[str]:
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return
    yield from (entry[2] for entry in hosts.values() if entry[2])


def _docker_passwords(text: str) -> Iterator[str]:
    try:
        entries = json.loads(text).get("auths", {}).values()
    except (ValueError, AttributeError):
        return
    for entry in entries:
        yield from (
            str(entry[key]) for key in ("auth", "password", "identitytoken") if key in entry
        )


def _archive(documents: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in sorted(documents.items()):
            content = printable(text).encode()
            entry = tarfile.TarInfo(f"dream-runner-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
