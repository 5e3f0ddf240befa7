"""What a person reads about how the installed AI is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import install, status
from dream_runner.decide import ports
from dream_runner.module_utils.dream_core.health import access
from dream_runner.module_utils.dream_core.system import ip_addresses
from dream_runner.run.request import Result
from dream_runner.wording import fold

BASE = {"port": 11434, "model": "small", "services": [], "port_notes": []}
LAN = ["10.88.0.2", "fd00::2"]
WEBUI = [
    {"id": "open-webui", "title": "Chat", "url": "http://127.0.0.1:3000"},
    {"id": "n8n", "title": "Workflows", "url": "http://x:1"},
]
PORTS = [
    {"service": "open-webui", "port": 3000, "address": "0.0.0.0", "guard": "account"},
    {"service": "searxng", "port": 8888, "address": "0.0.0.0", "guard": "none"},
    {"service": "n8n", "port": 5678, "address": "127.0.0.1", "guard": "account"},
    {"service": "qdrant", "port": 6333, "address": "127.0.0.1", "guard": "key"},
]
ADMIN = {"name": "admin@x", "key": "WEBUI_ADMIN_PASSWORD", "file": "/srv/ai/.env"}


def build(bind: str = "127.0.0.1", *, key: bool = False, **more: Any) -> access.Document:
    params = {**BASE, "bind_address": bind, "has_key": key, "key_file": "/srv/ai/.env", **more}
    return access.build(params, LAN)


def test_the_first_account_is_not_told_where_the_chat_does_not_know_it() -> None:
    """A chat with accounts of an earlier version never made it."""
    found = {"passed": ["workflows"], "unproven": {"chat": "it does not accept the account"}}
    assert build(services=WEBUI, account=ADMIN, features=found)["account"] is None
    found = {"passed": ["chat"], "unproven": {"search": "offline"}}
    assert build(services=WEBUI, account=ADMIN, features=found)["account"] == ADMIN


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (
            build(),
            """\
  Chat in your browser   http://127.0.0.1:11434/
  OpenAI-compatible API  http://127.0.0.1:11434/v1   (model: small)
  From another computer  closed; open it with 'dream-runner install --lan'""",
        ),
        (
            build("0.0.0.0"),
            """\
  Chat in your browser   http://127.0.0.1:11434/
  OpenAI-compatible API  http://127.0.0.1:11434/v1   (model: small)
  From another computer  http://10.88.0.2:11434/
  Open to                everyone who can reach this machine, WITHOUT A PASSWORD""",
        ),
        (
            build("::", key=True),
            """\
  Chat in your browser   http://[::1]:11434/
  OpenAI-compatible API  http://[::1]:11434/v1   (model: small)
  From another computer  http://10.88.0.2:11434/
                         http://[fd00::2]:11434/
  Open to                everyone who can reach this machine and has the API key
  API key                ENGINE_API_KEY in /srv/ai/.env""",
        ),
        (
            build(
                "0.0.0.0",
                services=WEBUI,
                engine_address="127.0.0.1",
                ports=PORTS,
                account=ADMIN,
            ),
            """\
  Chat in your browser   http://127.0.0.1:3000/
  OpenAI-compatible API  http://127.0.0.1:11434/v1   (model: small)
  From another computer  http://10.88.0.2:3000/
  Open to                everyone who can reach this machine and has an account or a key
  Open to the network    Chat, port 3000: sign-in required
                         searxng, port 8888: WITHOUT A PASSWORD
  Only on this machine   Workflows 5678, qdrant 6333
  First account          admin@x; password: WEBUI_ADMIN_PASSWORD in /srv/ai/.env""",
        ),
        (
            build("fd00::2"),
            """\
  Chat in your browser   http://[fd00::2]:11434/
  OpenAI-compatible API  http://[fd00::2]:11434/v1   (model: small)
  From another computer  http://[fd00::2]:11434/
  Open to                everyone who can reach this machine, WITHOUT A PASSWORD""",
        ),
    ],
)
def test_lines(document: access.Document, wanted: str) -> None:
    assert "\n".join(access.lines(document)) == wanted


def test_features_that_were_used_once_are_named() -> None:
    found = {
        "passed": ["chat", "documents"],
        "failed": {"voice": "the chat does not speak"},
        "unproven": {"search": "offline"},
    }
    shown = "\n".join(access.lines(build(features=found)))
    assert "  Ready                  chat documents\n" in shown
    assert "  Not working            voice: the chat does not speak\n" in shown
    assert shown.endswith("  Not tested             search: offline")
    assert "Ready" not in "\n".join(access.lines(build()))


def test_a_machine_without_a_network_says_so() -> None:
    document = access.build({**BASE, "bind_address": "0.0.0.0", "has_key": False}, [])
    assert "no network address now" in "\n".join(access.lines(document))


def test_what_is_pending_and_whose_port_it_is_stand_in_it() -> None:
    note = "Port 11434 is used by ollama (pid 812); using 11435."
    text = "\n".join(access.lines(build(port_notes=[note]), "big (42 % of 1.5 GB)"))
    assert "  In the background      big (42 % of 1.5 GB)\n" in text
    assert text.endswith(f"  Note                   {note}")


def test_install_and_status_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ip_addresses, "addresses", lambda: ["192.168.7.7"])
    facts = {"access": build("0.0.0.0")}
    ended = install.InstallOutcome(
        "r", Path(), Result(0, False, None, ok=7, changed=2), 29.4, facts
    )
    shown = install.as_text(ended).splitlines()
    assert shown[:2] == ["Done: 2 changes (7 checks and tasks).", "Ready in 29 s."]
    lines = access.lines(access.of(facts))
    # The address of now, not of the install.
    assert "http://192.168.7.7:11434/" in "\n".join(lines)
    assert shown[2 : 2 + len(lines)] == lines
    told = status.as_text(status.Status("ready", detail="x", access=access.of(facts)))
    assert told.splitlines()[1 : 1 + len(lines)] == lines


def test_facts_of_an_older_version_have_none() -> None:
    assert access.of({"urls": {"chat": "http://x"}}) == {}
    assert access.of({"access": "text"}) == {}


def test_addresses_of_this_machine_are_no_loopback() -> None:
    found = ip_addresses.addresses()
    assert not [item for item in found if item.startswith("127.") or item == "::1"]
    json.dumps(found)


# --- ports that others hold ------------------------------------------------------------

OLLAMA = {"port": 11434, "address": "127.0.0.1", "uid": 999, "pid": 812, "name": "ollama"}
CHOICE = {"engine_port": 11435, "stack": None}


def notes(choice: dict[str, Any], before: list[str], *listeners: Any, wanted: int = 0) -> list[str]:
    receipts = {"requirements": {"facts": {"port_notes": before}}}
    return ports.notes({"engine_port": wanted}, choice, receipts, listeners)


def test_who_has_the_usual_port_is_told_and_remembered() -> None:
    told = notes(CHOICE, [], OLLAMA)
    assert told == ["Port 11434 is used by ollama (pid 812); using 11435."]
    assert notes(CHOICE, told) == told
    # It has gone and come again.
    assert notes(CHOICE, told, {**OLLAMA, "pid": 4}) == told


@pytest.mark.parametrize(
    ("choice", "listeners", "wanted"),
    [
        ({**CHOICE, "engine_port": 11434}, [], 0),
        (CHOICE, [], 0),
        (CHOICE, [{**OLLAMA, "own": True}], 0),
        (CHOICE, [OLLAMA], 11435),
    ],
)
def test_nothing_is_said_where_nobody_drove_us_away(
    choice: dict[str, Any], listeners: list[Any], wanted: int
) -> None:
    assert notes(choice, [], *listeners, wanted=wanted) == []


def test_the_ports_of_services_too() -> None:
    published = {"service": "open-webui", "key": "WEBUI_PORT", "usual": 3000, "port": 3001}
    choice = {"engine_port": 11434, "stack": {"ports": [published]}}
    told = notes(choice, [], {**OLLAMA, "port": 3000, "pid": None, "uid": 0})
    assert told == ["Port 3000 is used by a program of user root; using 3001 for open-webui."]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_lines_fit_any_terminal(width: int) -> None:
    shown = fold("\n".join(access.lines(build("0.0.0.0", key=True))), width).split("\n")
    # An address is never broken: it is there to be copied.
    assert "http://127.0.0.1:11434/v1" in " ".join(shown).split()
    assert max(len(line) for line in shown if " " in line.strip()) <= max(width, 42)


APP = [{"id": "open-webui", "title": "Open WebUI (Chat)", "url": "http://127.0.0.1:3000"}]
NATIVE_PORTS = [
    {"service": "The engine", "port": 11434, "address": "0.0.0.0", "guard": "none"},
    {"service": "open-webui", "port": 3000, "address": "0.0.0.0", "guard": "account"},
]


def test_both_pages_of_a_native_install_are_told() -> None:
    found = build(services=APP, engine_page=True, account=ADMIN)
    assert found["chat"] == "http://127.0.0.1:3000/"
    assert found["engine_page"] == "http://127.0.0.1:11434/"
    assert access.lines(found)[:2] == [
        "  Chat in your browser   http://127.0.0.1:3000/",
        "  Engine's own page      http://127.0.0.1:11434/",
    ]
    assert build(engine_page=True)["engine_page"] == ""
    assert build(services=WEBUI)["engine_page"] == ""


def test_an_open_engine_without_a_key_is_told_although_the_chat_has_accounts() -> None:
    found = build("0.0.0.0", services=APP, engine_page=True, ports=NATIVE_PORTS)
    assert found["guard"] == access.NO_PASSWORD
    text = "\n".join(access.lines(found))
    assert "The engine, port 11434: WITHOUT A PASSWORD" in text
    assert "Open WebUI (Chat), port 3000: sign-in required" in text
    keyed = build("0.0.0.0", services=APP, engine_page=True, key=True)
    assert keyed["guard"] == access.ACCOUNT
