"""Parse one value of a setting from a flag, a variable, YAML or JSON.

A parser takes the raw value and what is known of the catalogue. It returns the value or raises
Invalid with the problem and a hint.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.fetch.sources import address as addresses
from ..module_utils.dream_core.fetch.sources import wheel_address
from ..module_utils.dream_core.profiles import current_name
from ..module_utils.dream_core.records.bounds import is_system

#: Characters that are special in unit files, compose files or shells.
#: In supervisord's configuration, ; or # after a blank starts a comment, even inside quotes.
_UNSAFE_IN_PATH = re.compile(r"""[\x00-\x1f\x7f:"'`$%\\]|\s[;#]""")

_YES = ("yes", "true", "on", "1")
_NO = ("no", "false", "off", "0")


class Invalid(Exception):
    """An invalid value: the problem and a hint."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True)
class Known:
    """Names in the catalogue. An empty tuple means that it was not read."""

    tiers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    #: Names that --ports accepts: services with one port, and the keys of all ports.
    ports: tuple[str, ...] = ()
    exposable: tuple[str, ...] = ()
    #: Features that are not available on any machine, with the reason.
    not_offered: Mapping[str, str] = field(default_factory=dict)


Parser = Callable[[Any, Known], Any]


def one_of(*choices: str) -> Parser:
    """Return a parser for a fixed list of words; YAML's true and false are yes and no."""

    def parse(raw: Any, known: Known) -> str:
        text = _yes_or_no(_word(raw), choices)
        if text not in choices:
            raise Invalid(
                f"{shown(raw)!r} is not one of {', '.join(choices)}", _near(text, choices)
            )
        return text

    return parse


def feature(name: str) -> Parser:
    """Return a parser for yes, no and auto that rejects yes if the feature is not available."""
    parse_word = one_of("auto", "yes", "no")

    def parse(raw: Any, known: Known) -> str:
        text: str = parse_word(raw, known)
        if text == "yes" and name in known.not_offered:
            raise Invalid(f"it is not offered: {known.not_offered[name]}", "leave it out")
        return text

    return parse


def profile(raw: Any, known: Known) -> str:
    """Return auto, native or full; accept the former name of native."""
    return str(_profile_word(current_name(_word(raw)), known))


_profile_word = one_of(*("auto", "native", "full"))


def _word(raw: Any) -> str:
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    return str(raw).strip().lower()


def _yes_or_no(word: str, choices: tuple[str, ...]) -> str:
    """Return yes or no for their synonyms if both are among the choices."""
    if word in choices or not {"yes", "no"} <= set(choices):
        return word
    return "yes" if word in _YES else "no" if word in _NO else word


def _near(text: str, choices: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(text, choices, n=1)
    return f"did you mean {close[0]}?" if close else ""


def fast_start(raw: Any, known: Known) -> str:
    """Return auto, yes, no, or the id of a model in the catalogue."""
    choices = ("auto", "yes", "no", *known.models)
    text = _yes_or_no(_word(raw), choices)
    if text not in choices and known.models:
        raise Invalid(
            f"{shown(raw)!r} is not auto, yes, no or the id of a model", _near(text, choices)
        )
    return text


def integer(low: int, high: int | None = None, noun: str = "a number") -> Parser:
    """Return a parser for a whole number between ``low`` and ``high``."""
    limits = f"{low} or more" if high is None else f"{low} to {high}"

    def parse(raw: Any, known: Known) -> int:
        text = str(raw).strip()
        if isinstance(raw, bool) or not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
            raise Invalid(f"{shown(raw)!r} is not {noun} ({limits})")
        number = int(text)
        if number < low or (high is not None and number > high):
            raise Invalid(f"{number} is not {noun} ({limits})")
        return number

    return parse


def boolean(raw: Any, known: Known) -> bool:
    """Return true or false."""
    text = _word(raw)
    if text in _YES or text in _NO:
        return text in _YES
    raise Invalid(f"{shown(raw)!r} is neither yes nor no")


def wants_key(raw: Any, known: Known) -> bool:
    """Return whether to create an API key. Never show the value: it may be a key."""
    try:
        return bool(boolean(raw, known))
    except Invalid:
        raise Invalid(
            "the value is neither yes nor no",
            "yes creates a key in .env; to use your own key, set ENGINE_API_KEY= there",
        ) from None


def names(raw: Any, known: Known) -> list[str]:
    """Return unique names from a list or from comma-separated text."""
    items = raw if isinstance(raw, list | tuple) else [raw]
    words = [word.strip() for item in items for word in str(item).split(",")]
    found = list(dict.fromkeys(word for word in words if word))
    for word in found:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", word):
            raise Invalid(f"{word!r} is not a valid name", "use only letters, digits and . _ + -")
    return found


def ports(raw: Any, known: Known) -> list[str]:
    """Return ``NAME=PORT`` items from a list or from comma-separated text."""
    items = raw if isinstance(raw, list | tuple) else [raw]
    words = [word.strip() for item in items for word in str(item).split(",")]
    found: dict[str, int] = {}
    for word in filter(None, words):
        name, _, number = word.partition("=")
        if known.ports and name not in known.ports:
            raise Invalid(
                f"{shown(name)!r} publishes no port",
                _near(name, known.ports)
                or "see docs/user/services.md for the services with a port",
            )
        found[name] = _port(number, known)
    twice = {port for port in found.values() if list(found.values()).count(port) > 1}
    if twice:
        raise Invalid(f"port {twice.pop()} is assigned to two services")
    return [f"{name}={port}" for name, port in found.items()]


_port = integer(1, 65535, "a port")


def exposed(raw: Any, known: Known) -> list[str]:
    """Return names of services and ports from a list or from comma-separated text."""
    found = names(raw, known)
    for name in found:
        if known.exposable and name not in known.exposable:
            raise Invalid(
                f"{shown(name)!r} publishes no port",
                _near(name, known.exposable)
                or "see docs/user/services.md for the services with a port",
            )
    return found


def address(raw: Any, known: Known) -> str:
    """Return an IP address in canonical form."""
    text = str(raw).strip()
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        raise Invalid(
            f"{text!r} is not an IP address",
            "use 127.0.0.1 for this machine only, or 0.0.0.0 for the whole network",
        ) from None
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    _refuse_address(found, text)
    return str(found)


_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


def _refuse_address(found: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    """Reject addresses on which no server can listen."""
    zone = getattr(found, "scope_id", None)
    if zone is not None and not _ZONE.fullmatch(zone):
        raise Invalid(
            f"{text!r} has no valid interface name after the %", "for example fe80::1%eth0"
        )
    if found.version == 6 and found.is_link_local and not zone:
        raise Invalid(f"{text!r} is link-local and needs an interface", f"for example {found}%eth0")
    if found.is_multicast or str(found) == "255.255.255.255":
        raise Invalid(f"{text!r} is a multicast or broadcast address")


def sha256(raw: Any, known: Known) -> str:
    """Return a digest in lower case, or an empty string."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        raise Invalid("YAML read the digest as a number", "put it in quotes")
    text = str(raw).strip().lower().removeprefix("sha256:")
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise Invalid(
            f"a SHA-256 has 64 hexadecimal digits; this value has {len(text)} characters",
            "copy the whole digest; 'sha256sum FILE' prints one",
        )
    return text


def tier(raw: Any, known: Known) -> str:
    """Return auto or the id of a tier as the catalogue spells it."""
    text = str(raw).strip()
    spelled = {name.lower(): name for name in ("auto", *known.tiers)}
    if text.lower() in spelled:
        return spelled[text.lower()]
    if not known.tiers and text:
        return text
    raise Invalid(f"{text!r} is not a tier", "use one of auto, " + ", ".join(known.tiers))


def model(raw: Any, known: Known) -> str:
    """Return auto, small, an id in the catalogue, or a URL; a path becomes a file: URL."""
    text = str(raw).strip()
    if is_url(text):
        return _model_address(text)
    if text in ("auto", "small", "smoke", *known.models):
        return text
    if _is_path(text):
        return Path(os.path.abspath(os.path.expanduser(text))).as_uri()
    if text and not known.models:
        return text
    close = difflib.get_close_matches(text, known.models, n=3, cutoff=0.4)
    raise Invalid(
        f"{text!r} is not a model in the catalogue",
        ("did you mean: " + ", ".join(close))
        if close
        else "use auto, small, an id from 'dream-runner explain', a path, or a URL",
    )


def _is_path(text: str) -> bool:
    """Tell whether ``text`` is the path of a file rather than a name in the catalogue."""
    return text.startswith(("/", "./", "../", "~")) or os.path.isfile(text)


def _model_address(text: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise Invalid("the URL contains blanks or control characters")
    if wheel_address.is_wheel(text):
        return _wheel(text)
    try:
        parts = urlsplit(text)
        addresses.normal(text)
    except (UsageError, ValueError) as error:
        # The message of the standard library may contain a password.
        why = error.what if isinstance(error, UsageError) else "this is not a valid URL"
        raise Invalid(why) from None
    if parts.scheme == "file":
        path = text.removeprefix("file://")
        if not os.path.isabs(path):
            raise Invalid(f"{text!r} is not an absolute path", "use file:///path/to/model.gguf")
    elif not parts.hostname:
        raise Invalid(f"{shown(text)!r} has no host name")
    if parts.path.rstrip("/").rsplit("/", 1)[-1] in ("", ".", ".."):
        raise Invalid(f"{shown(text)!r} has no file name")
    return text


def _wheel(text: str) -> str:
    try:
        wheel_address.parse(text)
    except UsageError as error:
        raise Invalid(error.what, error.hint) from None
    return text


def is_url(text: Any) -> bool:
    """Tell whether ``text`` is a URL rather than a name."""
    return str(text).startswith(("http://", "https://", "file:", wheel_address.PREFIX))


def install_dir(raw: Any, known: Known) -> str:
    """Return an absolute directory, with links resolved, that is safe to install into.

    Only the part below the home directory is checked for special characters: users do not
    choose the name of their home, and ``~/...`` is saved as an absolute path.
    """
    text = str(raw).strip()
    if not text:
        raise Invalid("the path is empty")
    expanded = os.path.expanduser(text)
    if _UNSAFE_IN_PATH.search(_below_home(expanded)):
        raise Invalid(
            f"{text!r} contains a character that unit or compose files do not allow",
            "use only letters, digits, blanks and . _ - /",
        )
    if expanded.startswith("~"):
        raise Invalid(f"{text!r}: there is no such user")
    path = os.path.realpath(expanded)
    _refuse_system(path)
    _refuse_file(path)
    return path


def _below_home(path: str) -> str:
    """Return the part of ``path`` below this user's home; the whole path if it is elsewhere."""
    home = os.path.expanduser("~")
    for place in (home, os.path.realpath(home)):
        if path.startswith(place.rstrip("/") + "/"):
            return path[len(place.rstrip("/")) + 1 :]
    return path


def remote_path(raw: Any) -> str:
    """Return a directory on another machine, or an empty string; only that host can resolve it."""
    text = str(raw).strip()
    if _UNSAFE_IN_PATH.search(text):
        raise Invalid(
            f"{text!r} contains a character that unit or compose files do not allow",
            "use only letters, digits, blanks and . _ - /",
        )
    if text and not text.startswith(("/", "~/")):
        raise Invalid(f"{text!r} is not absolute", "start it with / or ~/")
    path = os.path.normpath(text) if text else ""
    if path == "~":
        raise Invalid(f"{text!r} is a home directory", "for example ~/ai-server")
    _refuse_system(path)
    return path


def _refuse_system(path: str) -> None:
    hint = "choose a separate directory, for example ~/ai-server"
    if is_system(path):
        raise Invalid(f"{path} belongs to the system", hint)
    if path == os.path.realpath(os.path.expanduser("~")):
        raise Invalid(f"{path} is your home directory", hint)


def _refuse_file(path: str) -> None:
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise Invalid(f"{path} is a file, not a directory", "choose another directory")


def path(raw: Any, known: Known) -> str:
    """Return an absolute path, or an empty string."""
    text = str(raw).strip()
    return os.path.realpath(os.path.expanduser(text)) if text else ""


def shown(value: Any) -> Any:
    """Return ``value`` as it is safe to print: a URL without user, password and query.

    Signed URLs have their key in the query.
    """
    if isinstance(value, str) and addresses.is_web(value):
        return addresses.shown(value).partition("?")[0]
    return value
