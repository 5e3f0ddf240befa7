"""pip's configuration, read as pip reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.network import pip_config


def home(tmp_path: Path, **files: str) -> dict[str, str]:
    """Return the environment of somebody whose pip.conf files lie below ``tmp_path``."""
    places = {
        "system": "xdg/pip/pip.conf",
        "legacy": "home/.pip/pip.conf",
        "user": "home/.config/pip/pip.conf",
        "site": "venv/pip.conf",
        "own": "own.conf",
    }
    for name, text in files.items():
        path = tmp_path / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "VIRTUAL_ENV": str(tmp_path / "venv"),
    }


def index(name: str, section: str = "global") -> str:
    return f"[{section}]\nindex-url = https://{name}/simple\n"


ORDER = ("system", "legacy", "user", "site")


@pytest.mark.parametrize("last", range(1, len(ORDER) + 1))
def test_the_later_file_wins(last: int, tmp_path: Path) -> None:
    environment = home(tmp_path, **{name: index(name) for name in ORDER[:last]})
    assert pip_config.read(environment).index_urls[0] == f"https://{ORDER[last - 1]}/simple"


def test_a_file_of_ones_own_replaces_the_users(tmp_path: Path) -> None:
    environment = home(tmp_path, user="[global]\nproxy = p\n", own=index("own"), site=index("site"))
    environment["PIP_CONFIG_FILE"] = str(tmp_path / "own.conf")
    found = pip_config.read(environment)
    assert (found.index_urls[0], found.proxy) == ("https://own/simple", "")
    environment["PIP_CONFIG_FILE"] = os.devnull
    assert pip_config.read(environment).index_urls == (pip_config.DEFAULT_INDEX,)


def test_a_command_wins_over_all_and_a_variable_over_it(tmp_path: Path) -> None:
    environment = home(tmp_path, system=index("install", "install"), user=index("user"))
    assert pip_config.read(environment).index_urls[0] == "https://install/simple"
    environment["PIP_INDEX_URL"] = "https://variable/simple"
    assert pip_config.read(environment).index_urls[0] == "https://variable/simple"


def test_every_setting(tmp_path: Path) -> None:
    text = (
        "\ufeff[global]\r\nindex_url = https://a/simple\r\n--extra-index-url =\r\n"
        "    https://b/simple\r\n    https://c/simple\r\nfind-links = /d ~/e\r\n"
        "trusted-host = a b:8\r\ncert = /ca.pem\r\nclient-cert = /me.pem\r\nproxy = p:1\r\n"
        "timeout = 5\r\nempty =\r\n"
    )
    found = pip_config.read(home(tmp_path, user=text))
    assert found.index_urls == ("https://a/simple", "https://b/simple", "https://c/simple")
    assert (found.find_links, found.trusted_hosts) == (("/d", "~/e"), ("a", "b:8"))
    assert (found.cert, found.client_cert, found.proxy) == ("/ca.pem", "/me.pem", "p:1")


@pytest.mark.parametrize(("text", "is_off"), [("1", True), ("Yes", True), ("off", False)])
def test_no_index(text: str, is_off: bool) -> None:
    environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": text}
    assert (pip_config.read(environment).index_urls == ()) == is_off


@pytest.mark.parametrize("content", [b"index-url = x\n", b"[global]\nsecret word\n", b"\xff\xfe["])
def test_a_file_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    environment = home(tmp_path, user="")
    (tmp_path / "home/.config/pip/pip.conf").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        pip_config.read(environment)
    assert caught.value.code == "BAD_PIP_CONFIG"
    assert "pip.conf" in caught.value.what
    assert "secret" not in caught.value.what


def test_only_where_packages_come_from_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    # Not what this machine's /etc/pip.conf says.
    monkeypatch.setattr(pip_config, "files", lambda _: [str(file)])
    file.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /srv/ca.pem\n"
        "[install]\nuser = true\ntarget = /elsewhere\nprefix = /p\nno-deps = true\nno_index = no\n"
    )
    given = {
        "PATH": "/usr/bin",
        "HTTPS_PROXY": "http://proxy:3128",
        "PIP_CONFIG_FILE": str(file),
        "PIP_TIMEOUT": "7",
        "PIP_DRY_RUN": "1",
        "PIP_USER": "1",
        "PIP_REQUIREMENT": "/evil.txt",
    }
    found = pip_config.isolated(given)
    assert found == {
        "PATH": "/usr/bin",
        "HTTPS_PROXY": "http://proxy:3128",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_CERT": "/srv/ca.pem",
        "PIP_NO_INDEX": "no",
        "PIP_TIMEOUT": "7",
        "PIP_CONFIG_FILE": "/dev/null",
    }
