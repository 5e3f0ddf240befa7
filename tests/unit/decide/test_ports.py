"""Other computers reach pages with a sign-in, and the ports that --expose names."""

from __future__ import annotations

from typing import Any

import pytest

from dream_runner import catalog
from dream_runner.catalog import schema_errors
from dream_runner.decide import ports
from unit.decide.decided import HOSTS, choose, stack

#: By key: what --lan opens. Everything else stays on the machine.
PAGES = {"WEBUI_PORT", "LITELLM_PORT", "LANGFUSE_PORT"}


def listens(found: dict[str, Any]) -> dict[str, str]:
    return {item["key"]: item["address"] for item in found["ports"]}


@pytest.mark.parametrize("host", sorted(HOSTS))
@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7"])
def test_lan_opens_pages_and_nothing_else(host: str, bind: str) -> None:
    found = listens(stack(host, bind_address=bind, observability="yes"))
    assert {key for key, address in found.items() if address == bind} == PAGES & set(found)
    assert {address for key, address in found.items() if key not in PAGES} == {"127.0.0.1"}


def test_on_this_machine_only_everything_listens_there() -> None:
    assert set(listens(stack(observability="yes")).values()) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("searxng", {"SEARXNG_PORT"}),
        ("qdrant", {"QDRANT_PORT", "QDRANT_GRPC_PORT"}),
        ("QDRANT_PORT", {"QDRANT_PORT"}),
        ("llama-server", {"OLLAMA_PORT"}),
    ],
)
def test_one_is_opened_by_its_name(word: str, keys: set[str]) -> None:
    found = listens(stack(bind_address="0.0.0.0", expose=[word]))
    assert {key for key, address in found.items() if address == "0.0.0.0"} == (
        {"WEBUI_PORT", "LITELLM_PORT"} | keys
    )


def test_the_ports_of_compose_are_those_of_the_decision() -> None:
    found = stack(bind_address="0.0.0.0")
    published = {
        (port["published"], port["host_ip"])
        for service in found["compose"]["services"].values()
        for port in service.get("ports", ())
    }
    assert published == {(str(item["port"]), item["address"]) for item in found["ports"]}


def test_this_host_asks_each_service_where_it_listens() -> None:
    choice = choose(bind_address="192.0.2.7")
    urls = {item["id"]: item["url"] for item in choice["stack"]["services"]}
    assert urls["open-webui"] == "http://192.0.2.7:3000"
    assert urls["searxng"] == "http://127.0.0.1:8888"
    assert choice["url"] == "http://127.0.0.1:11434"
    native = choose(profile="native", bind_address="192.0.2.7")
    assert (native["engine_address"], native["url"]) == ("192.0.2.7", "http://192.0.2.7:11434")


def test_a_port_that_another_program_has_on_another_address_is_free() -> None:
    """A port on the loopback does not collide with the same port on another address."""
    other = {"port": 8888, "address": "192.0.2.7", "pid": 7, "name": "nginx", "own": False}

    def given(*taken: int) -> dict[str, int]:
        held = tuple({**other, "port": port} for port in taken)
        found = stack(bind_address="192.0.2.7", listeners=held)
        return {item["key"]: item["port"] for item in found["ports"]}

    assert given(8888)["SEARXNG_PORT"] == 8888
    assert given(3000)["WEBUI_PORT"] == 3001


def test_a_host_without_ipv4_keeps_inner_ports_on_its_own_loopback() -> None:
    services = catalog.load().services["services"]
    settings = {"profile": "full", "bind_address": "::"}
    assert ports.engine_address(services, settings, ["::1"]) == "::1"


@pytest.mark.parametrize(
    ("bind", "expose", "secure"),
    [
        ("127.0.0.1", [], "false"),
        ("0.0.0.0", [], "false"),
        ("0.0.0.0", ["n8n"], "true"),
    ],
)
def test_the_cookie_of_n8n_is_true_or_false(bind: str, expose: list[str], secure: str) -> None:
    """n8n accepts true or false, and a browser sends a secure cookie over https only (wiring 3)."""
    found = stack(bind_address=bind, expose=expose)
    told = found["compose"]["services"]["n8n"]["environment"]
    assert told["N8N_SECURE_COOKIE"] == secure


def test_what_asks_who_is_there_does_not_start_without_its_secret() -> None:
    for item in catalog.load().services["services"]:
        required = {
            value["key"]
            for value in item.get("environment", {}).values()
            if isinstance(value, dict) and value.get("required")
        }
        if any(port["guard"] != "none" for port in item.get("ports", ())):
            assert required & set(item["secrets"]), item["id"]


def test_a_page_has_a_sign_in_and_every_port_says_what_it_is() -> None:
    services = catalog.load().services
    for item in services["services"]:
        for port in item.get("ports", ()):
            assert port["exposure"] in ("page", "inner")
            assert port["guard"] != "none" or port["exposure"] == "inner"
    page = {"container": 1, "host": 1, "key": "X", "exposure": "page", "guard": "none"}
    wrong = {**services, "services": [{**services["services"][0], "ports": [page]}]}
    assert [line for line in schema_errors(wrong, "services") if "none" in line]
    silent = {key: page[key] for key in ("container", "host", "key")}
    wrong = {**services, "services": [{**services["services"][0], "ports": [silent]}]}
    assert [line for line in schema_errors(wrong, "services") if "exposure" in line]
