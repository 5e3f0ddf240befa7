"""Read pip's configuration: package sources and how to reach them.

pip reads files and variables in a fixed order (``pip config debug`` lists it), which is where users
configure a mirror. Downloads from a package index follow the same settings, so that nothing has to
be configured twice.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Tuple

from ..errors import UsageError
from ..files import text_file

#: pip's default index.
DEFAULT_INDEX = "https://pypi.org/simple"
#: Later sections override earlier ones, in any file; variables override both.
_SECTIONS = ("global", "install", "download")
#: Variables besides PIP_* that select the files to read.
_PLACES = ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "VIRTUAL_ENV")
#: Settings about package sources and how to reach them. The others control where and whether pip
#: installs ("user", "target", "dry-run", ...); in our own environment we set those.
REACHING = (
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
    *("cert", "client-cert", "proxy", "keyring-provider", "timeout", "default-timeout", "retries"),
    *("use-deprecated", "cache-dir", "no-cache-dir"),
)
_LISTS = frozenset(("extra-index-url", "find-links", "trusted-host"))
_TRUE = frozenset(("y", "yes", "t", "true", "on", "1"))


@dataclass(frozen=True)
class PipConfig:
    """The settings about package sources.

    ``index_urls`` is empty under ``no-index``. ``find_links`` are directories, pages and files.
    """

    index_urls: Tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: Tuple[str, ...] = ()
    trusted_hosts: Tuple[str, ...] = ()
    cert: str = ""
    client_cert: str = ""
    proxy: str = ""


def relevant(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables that ``read`` uses."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PIP_") or name in _PLACES
    }


def read(environment: Mapping[str, str]) -> PipConfig:
    """Return pip's effective settings. Raises UsageError BAD_PIP_CONFIG."""
    values = settings(environment)
    indexes = [values.get("index-url", "") or DEFAULT_INDEX]
    indexes += values.get("extra-index-url", "").split()
    return PipConfig(
        index_urls=() if is_true(values.get("no-index", "")) else tuple(dict.fromkeys(indexes)),
        find_links=tuple(values.get("find-links", "").split()),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        cert=os.path.expanduser(values.get("cert", "")),
        client_cert=os.path.expanduser(values.get("client-cert", "")),
        proxy=values.get("proxy", ""),
    )


def settings(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return pip's settings from its files and variables, by their long names."""
    found: Dict[Tuple[str, str], str] = {}
    for path in files(environment):
        found.update(_read_file(path))
    merged: Dict[str, str] = {}
    for section in _SECTIONS:
        merged.update((name, value) for (place, name), value in found.items() if place == section)
    merged.update(_variables(environment))
    return merged


def isolated(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return ``environment`` for a pip that installs into our environment.

    Only settings about package sources are used, from files and variables; pip itself reads no
    file. (A variable overrides a file, but an empty one does not, and ``target`` has no other
    neutral value.) Raises UsageError BAD_PIP_CONFIG.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    said = settings(environment)
    for name in REACHING:
        if said.get(name):
            value = " ".join(said[name].split()) if name in _LISTS else said[name]
            kept["PIP_" + name.upper().replace("-", "_")] = value
    return dict(kept, PIP_CONFIG_FILE=os.devnull)


def is_true(text: str) -> bool:
    """Return whether pip reads ``text`` as true."""
    return text.strip().lower() in _TRUE


def files(environment: Mapping[str, str]) -> List[str]:
    """Return pip's existing configuration files, in ascending precedence."""
    own = environment.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    return [path for path in _places(environment, own) if os.path.isfile(path)]


def _places(environment: Mapping[str, str], own: str) -> Iterator[str]:
    home = environment.get("HOME", "")
    for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        if folder:
            yield os.path.join(folder, "pip", "pip.conf")
    yield "/etc/pip.conf"
    if home and not (own and os.path.exists(own)):
        yield os.path.join(home, ".pip", "pip.conf")
        base = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        yield os.path.join(base, "pip", "pip.conf")
    if environment.get("VIRTUAL_ENV"):
        yield os.path.join(environment["VIRTUAL_ENV"], "pip.conf")
    if own:
        yield own


def _variables(environment: Mapping[str, str]) -> Dict[str, str]:
    return {
        name[len("PIP_") :].lower().replace("_", "-"): value.strip()
        for name, value in environment.items()
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value.strip()
    }


def _read_file(path: str) -> Dict[Tuple[str, str], str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text_file.read(path))
    except (text_file.Unreadable, configparser.Error) as error:
        # The parser's message quotes lines, which may contain a password.
        reason = (
            getattr(error, "reason", "") or _line_of(error) or "it is not a valid pip configuration"
        )
        raise UsageError(
            "pip's configuration %s cannot be read: %s" % (path, reason),
            code="BAD_PIP_CONFIG",
            where=path,
            hint="correct the file: 'pip config debug' shows which files pip reads",
        ) from None
    return {
        (section, _name(key)): value.strip()
        for section in parser.sections()
        for key, value in parser.items(section)
        if value and value.strip()
    }


def _name(key: str) -> str:
    name = key.lower().replace("_", "-")
    return name[2:] if name.startswith("--") else name


def _line_of(error: BaseException) -> str:
    """Describe the line that the parser could not read."""
    numbers = [getattr(error, "lineno", None)]
    numbers += [entry[0] for entry in getattr(error, "errors", ())]
    known = [number for number in numbers if number]
    return "line %d is not 'name = value' in a section" % known[0] if known else ""
