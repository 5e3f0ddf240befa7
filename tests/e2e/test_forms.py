"""Every allowed form of every setting is carried to the end of a real install, several at a time.

A value that the settings let in and that no install has ever used is a promise that nobody
has tried: ``--bind-address ::1`` was planned, installed, served, and then called dead.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import yaml
from chaos.sandbox import free_port
from nodes.node import CHECKOUT

from dream_runner.module_utils.dream_core.system import ip_addresses
from dream_runner.settings.table import SETTINGS

from .here import Here, here

pytestmark = pytest.mark.timeout(900)

SMOKE = CHECKOUT / "dream_runner" / "catalog" / "smoke.gguf"
DIGEST = hashlib.sha256(SMOKE.read_bytes()).hexdigest()
#: A name with what files may have in them: blanks, letters of others, signs that URLs escape.
ODD = "sm öke 100% + #1 'q' & é.gguf"


@dataclass
class Forms:
    """What one install is told, by each of the three ways, and the values that it must keep."""

    flags: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


def model_at(folder: Path, name: str = ODD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(SMOKE, folder / name))


def by_flags(home: Path) -> Forms:
    """Words in capitals, signs before numbers, blanks around, ``~``, lists by both ways, port 0."""
    return Forms(
        flags=[
            *("--profile", " NATIVE ", "--model", " smoke "),
            *("--install-dir", f"{home}/y/../Meine KI ü//"),
            *("--engine-port", "0", "--bind-address", "[::1]", "--tier", "nv_ultra"),
            *("--gpu", "None", "--context-tokens", "+512", "--memory-limit-mb", "6000"),
            *("--disk-reserve-mb", "0", "--accept", "memory,disk", "--accept", "port, memory"),
            *("--ports", "open-webui=8080,QDRANT_PORT=7333", "--ports", "open-webui=8081"),
            *("--fast-start", "NO", "--docker-source", "SKIP", "--no-offline", "--devtools", ","),
            *(word for name in ("voice", "rag", "agents", "webui") for word in ("--" + name, "No")),
        ],
        kept={
            "profile": "native",
            "model": "smoke",
            "install_dir": str(home / "Meine KI ü"),
            "engine_port": 0,
            "bind_address": "::1",
            "tier": "NV_ULTRA",
            "gpu": "none",
            "context_tokens": 512,
            "memory_limit_mb": 6000,
            "disk_reserve_mb": 0,
            "accept": ["memory", "disk", "port"],
            "ports": ["open-webui=8081", "QDRANT_PORT=7333"],
            "fast_start": "no",
            "docker_source": "skip",
            "offline": False,
            "devtools": [],
            "voice": "no",
            "rag": "no",
            "webui": "no",
            "agents": "no",
        },
    )


def by_environment(home: Path) -> Forms:
    """The same by variables, and a model by its file: URL with escapes."""
    model = model_at(home / "Modelle ß")
    return Forms(
        environment={
            "DREAM_PROFILE": "Embedded",
            "DREAM_MODEL": "file://" + quote(str(model)),
            "DREAM_MODEL_SHA256": "SHA256:" + DIGEST.upper(),
            "DREAM_MODEL_SIZE_BYTES": str(SMOKE.stat().st_size),
            "DREAM_BIND_ADDRESS": "0:0:0:0:0:0:0:0",
            "DREAM_OFFLINE": "Off",
            "DREAM_TIER": "AUTO",
            "DREAM_GPU": "auto",
            "DREAM_WORKFLOWS": "false",
            "DREAM_SEARCH": " no ",
            "DREAM_API_KEY": "YES",
        },
        kept={
            "profile": "native",
            "model_sha256": DIGEST,
            "model_size_bytes": SMOKE.stat().st_size,
            "bind_address": "::",
            "tier": "auto",
            "workflows": "no",
            "search": "no",
            "api_key": True,
        },
    )


def by_answers(home: Path) -> Forms:
    """YAML's own numbers, booleans and lists, keys with the prefix, and a model by its path."""
    return Forms(
        answers={
            "dream_profile": "native",
            "install_dir": "~/x/../Meine KI ü/",
            "model": str(model_at(home / "dir with blanks")),
            "engine_port": free_port(),
            "dream_bind_address": "0.0.0.0",
            "images": False,
            "amd_engine": "Vulkan",
            "expose": [],
            "observability": "No",
            "context_tokens": 256,
            "accept": ["memory", "disk"],
            "offline": False,
            "memory_limit_mb": 0,
            "api_key": False,
            "bundle": "",
        },
        kept={
            "profile": "native",
            "install_dir": str(home / "Meine KI ü"),
            "bind_address": "0.0.0.0",
            "context_tokens": 256,
            "images": "no",
            "amd_engine": "vulkan",
            "observability": "no",
            "api_key": False,
        },
    )


#: One after the other in one place, the weaker first: what is said later overrules what is saved.
FORMS = (by_answers, by_environment, by_flags)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    # The home's own name is nobody's choice, and holds what a path may hold.
    home = tmp_path_factory.mktemp("forms") / "ho me ü 100%s {{ x }}"
    with here(home) as made:
        yield made


def carry(place: Here, forms: Forms) -> dict[str, Any]:
    """Install with these forms; return the summary of what then answers and is said ready."""
    words = ["install", "--yes", "--json", *forms.flags]
    if forms.answers:
        file = place.home / "answers.yml"
        file.write_text(yaml.safe_dump(forms.answers, allow_unicode=True), encoding="utf-8")
        words += ["--answers", str(file)]
    place.more = {**forms.environment, "HOME": str(place.home)}
    done = place.run(*words)
    assert done.code == 0, str(done)
    kept = json.loads((place.state / "settings.json").read_text(encoding="utf-8"))["values"]
    assert {name: kept.get(name) for name in forms.kept} == forms.kept
    summary: dict[str, Any] = done.json()["summary"]
    check_ready(place, summary)
    place.more = {}
    again = place.run("install", "--yes", "--json")
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0, str(again)
    return summary


def check_ready(place: Here, summary: dict[str, Any]) -> None:
    """The address that a person is told answers a question, and ``status`` says ready."""
    key = ""
    if summary["access"]["key"]:
        lines = Path(summary["access"]["key"]["file"]).read_text().splitlines()
        key = next(line for line in lines if line.startswith("ENGINE_API_KEY=")).partition("=")[2]
    assert chat(summary["access"]["api"], summary["access"]["model"], key)
    status = place.run("status", "--json")
    assert (status.code, status.json()["state"]) == (0, "ready"), str(status)


def chat(api: str, model: str, key: str = "") -> str:
    parts = urlsplit(api)
    host = (parts.hostname or "").replace("%25", "%")
    connection = http.client.HTTPConnection(host, parts.port, timeout=60)
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", parts.path + "/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    assert reply.status == 200, content
    return str(json.loads(content)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: forms.__name__[3:])
def test_a_form_that_is_let_in_arrives(place: Here, forms: Any) -> None:
    carry(place, forms(place.home))


@pytest.mark.slow
def test_every_address_of_this_machine_can_be_bound(place: Here) -> None:
    addresses = [
        "127.0.0.1",
        "127.0.0.53",
        "::ffff:127.0.0.1",
        *ip_addresses.addresses(),
        *link_local(),
    ]
    for address in addresses:
        summary = carry(place, Forms(flags=["--bind-address", address]))
        assert (
            ip_addresses.base_url(address.removeprefix("::ffff:"), summary_port(summary))
            in (summary["access"]["api"])
        )


def summary_port(summary: dict[str, Any]) -> int:
    return urlsplit(summary["access"]["api"]).port or 0


def link_local() -> list[str]:
    """Return the link-local addresses of this machine with their interfaces."""
    found = []
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        number, _, _, scope, _, name = line.split()
        if scope == "20":
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(number))
            found.append(f"{address}%{name}")
    return found


@pytest.fixture
def network() -> Iterator[Callable[..., tuple[str, ...]]]:
    """``network("::1")`` makes a network of its own with that loopback address only."""
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip")
    holders: list[subprocess.Popen[bytes]] = []

    def make(*addresses: str) -> tuple[str, ...]:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        holders.append(holder)
        here_now = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{holder.pid}/ns/net") == here_now:
            time.sleep(0.01)
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        for address, length in (("127.0.0.1", 8), ("::1", 128)):
            if address not in addresses:
                place = [f"{address}/{length}", "dev", "lo"]
                subprocess.run([*inside, "ip", "address", "del", *place], check=True)
        return inside

    yield make
    for holder in holders:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize(
    ("loopback", "bind", "asked"),
    [
        ("::1", "::1", "[::1]"),
        pytest.param("127.0.0.1", "::", "127.0.0.1", marks=pytest.mark.slow),
        pytest.param("::1", "::", "[::1]", marks=pytest.mark.slow),
        pytest.param("127.0.0.1", "127.0.0.1", "127.0.0.1", marks=pytest.mark.slow),
    ],
)
def test_a_machine_with_one_loopback_address(
    place: Here, network: Callable[..., tuple[str, ...]], loopback: str, bind: str, asked: str
) -> None:
    """What runs outside is ended first; its packages and model are there already."""
    place.end()
    inside = network(loopback)
    done = place.run("install", "--yes", "--json", "--bind-address", bind, prefix=inside)
    assert done.code == 0, str(done)
    assert f"http://{asked}:" in done.json()["summary"]["access"]["api"]
    status = place.run("status", "--json", prefix=inside)
    assert (status.code, status.json()["state"]) == (0, "ready"), str(status)
    again = place.run("install", "--yes", "--json", prefix=inside)
    assert (again.code, again.json()["tasks"]["changed"]) == (0, 0), str(again)
    other = "127.0.0.1" if loopback == "::1" else "::1"
    refused = place.run("install", "--yes", "--json", "--bind-address", other, prefix=inside)
    assert (refused.code, refused.json()["error"]["code"]) == (3, "ADDRESS_MISSING"), str(refused)
    place.end()


def test_every_setting_is_carried_by_one_of_them(tmp_path: Path) -> None:
    told: set[str] = set()
    for forms in FORMS:
        one = forms(tmp_path)
        told |= {word[2:].replace("-", "_") for word in one.flags if word.startswith("--")}
        told |= {name.removeprefix("DREAM_").lower() for name in one.environment}
        told |= {name.removeprefix("dream_") for name in one.answers}
    missing = {setting.name for setting in SETTINGS} - told
    assert missing == set()
