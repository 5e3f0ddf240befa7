"""Check the files of an inventory before Ansible reads them, and explain its errors."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ... import yaml_file
from ...module_utils.dream_core import printable
from ...module_utils.dream_core.files import text_file
from ...module_utils.dream_core.files.text_file import Unreadable
from ...module_utils.dream_core.redact import Redactor
from ...settings.problems import Problem

#: Enough for thousands of hosts with many variables each.
_LIMIT_BYTES = 64 * 1024 * 1024
_MOST_FILES = 20_000
_LONGEST_REASON = 200
#: Folders beside an inventory from which Ansible reads variables.
_BESIDE = ("group_vars", "host_vars")
_YAML = (".yml", ".yaml")

_WARNING = re.compile(
    r"^\[WARNING\]: Failed to parse inventory with '([\w.]+)' plugin: (.+)$", re.M
)
#: Messages in which Ansible's INI parser repeats a line, which may contain a password.
_REPEATED = (
    re.compile(r"^(?P<reason>.*?),? got: (?P<line>.*)$"),
    re.compile(r"^(?P<reason>Error parsing host definition) '(?P<line>.*)': (?P<more>.*)$"),
    re.compile(r"^(?P<reason>Invalid section entry): '(?P<line>.*?)'"),
)


def problems(sources: Sequence[str]) -> list[Problem]:
    """Return problems with the type, size, encoding and YAML syntax of the files."""
    found = []
    for path in _files(sources):
        try:
            _require(path)
        except Unreadable as error:
            line, _, reason = error.reason.partition(": ")
            where, reason = (
                (f"{path}:{line[5:]}", reason)
                if line.startswith("line ") and reason
                else (str(path), error.reason)
            )
            found.append(Problem(where, reason, error.hint))
    return found


def _files(sources: Sequence[str]) -> Iterator[Path]:
    for text in sources:
        if "," in text:
            continue
        path = Path(text)
        folders = [path] if path.is_dir() else [path.parent / name for name in _BESIDE]
        yield from () if path.is_dir() else (path,)
        for folder in folders:
            yield from _below(folder)


def _below(folder: Path) -> Iterator[Path]:
    count = 0
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                return
            if not name.startswith(".") and not name.endswith("~"):
                yield Path(root, name)


def _require(path: Path) -> None:
    """Raise Unreadable for a file that Ansible would read endlessly or not understand."""
    content = text_file.read_bytes(path, _LIMIT_BYTES)
    if content.startswith(b"#!") or content.startswith(b"$ANSIBLE_VAULT"):
        return
    if text_file.encoding_of(content) != "utf-8" or content.startswith(codecs.BOM_UTF8):
        raise Unreadable(
            "line 1: the file starts with a byte order mark or is not UTF-8",
            "save the file as UTF-8 without a byte order mark",
        )
    if path.suffix in _YAML:
        yaml_file.check(text_file.decode(content))


def reason(said: str, source: str) -> tuple[str, str]:
    """Return ``(line, reason)`` from Ansible's parser for ``source``; empty strings if unknown.

    ``said`` are Ansible's warnings. The result contains no text of the file.
    """
    found = {plugin: words for plugin, words in _WARNING.findall(said)}
    wanted = ("yaml", "auto") if Path(source).suffix in _YAML else ("ini", "script")
    words = next((found[name] for name in (*wanted, *found) if name in found), "")
    words = words.removeprefix("Failed to parse inventory: ")
    match = next((match for pattern in _REPEATED if (match := pattern.match(words))), None)
    if match is None:
        return "", _safe(words)
    parts = match.groupdict()
    told = ": ".join(filter(None, (parts["reason"], parts.get("more"))))
    return _line_of(source, parts["line"]), _safe(told)


def _safe(words: str) -> str:
    words = re.sub(r'found "<class .*?>" instead', "found another type", words)
    return printable.line(Redactor().text(words), _LONGEST_REASON)


def _line_of(source: str, part: str) -> str:
    try:
        lines = text_file.read(source, _LIMIT_BYTES).splitlines()
    except Unreadable:
        return ""
    return next((str(number) for number, line in enumerate(lines, 1) if part in line), "")
