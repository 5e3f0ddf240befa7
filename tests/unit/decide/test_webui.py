"""Open WebUI without containers: only where somebody asked for it, at a port of its own."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dream_runner import catalog, paths
from dream_runner.decide import decision, plan_rows, webui
from dream_runner.module_utils.dream_core.checks import needed_size
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.settings.table import defaults
from unit.decide.decided import SESSION, choose, facts_of

ROLE = paths.content() / "roles" / "services" / "vars" / "main.yml"


def native(**chosen: Any) -> dict[str, Any]:
    return choose("cpu", profile="native", **chosen)


@pytest.mark.parametrize(
    ("word", "enabled", "reason"),
    [
        ("auto", False, "only on request: --webui yes"),
        ("no", False, "switched off"),
        ("yes", True, "chosen by the user"),
    ],
)
def test_the_native_profile_has_it_on_request(word: str, enabled: bool, reason: str) -> None:
    found = native(webui=word)
    assert (found["webui"] is not None) is enabled
    assert found["features"]["enabled"]["webui"] is enabled
    assert found["features"]["reasons"]["webui"] == reason


def test_the_full_profile_has_it_in_a_container() -> None:
    found = choose("cpu")
    assert found["webui"] is None
    assert found["features"]["enabled"]["webui"] is True


def test_it_has_the_catalogues_port_and_version() -> None:
    found = native(webui="yes")["webui"]
    assert found["version"] == catalog.load().webui.version
    assert found["port"]["key"] == "WEBUI_PORT"
    assert found["service"]["url"] == "http://127.0.0.1:3000"
    assert found["service"]["probe"] == "http://127.0.0.1:3000/health"
    assert found["service"]["core"] is False


def test_a_processor_without_packages_is_refused_by_name() -> None:
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    settings |= {"profile": "native", "install_dir": "/srv/ai", "webui": "yes"}
    facts = {**facts_of("cpu-64gb"), "arch": "riscv64"}
    with pytest.raises(UsageError) as caught:
        decision.decide(settings, facts, SESSION, catalog.load(), {})
    assert caught.value.code == "WEBUI_UNSUPPORTED"


def test_its_port_can_be_chosen_and_is_kept() -> None:
    assert native(webui="yes", ports=["open-webui=8080"])["webui"]["port"]["port"] == 8080
    before = {"requirements": {"facts": {"ports": {"WEBUI_PORT": 3005}}}}
    assert native(webui="yes", receipts=before)["webui"]["port"]["port"] == 3005


def test_another_program_on_its_port_is_named() -> None:
    held = ({"port": 3000, "address": "0.0.0.0", "pid": 7, "name": "grafana", "own": False},)
    found = native(webui="yes", listeners=held)
    assert found["webui"]["port"]["port"] == 3001
    assert any("Port 3000 is used by grafana" in line for line in found["port_notes"])


def test_plan_and_checks_count_it() -> None:
    without, found = native(webui="no"), native(webui="yes")
    settings = {"install_dir": "/srv/ai"}
    before = needed_size.needs(settings, without, "/state")
    after = needed_size.needs(settings, found, "/state")
    assert after["memory_mb"] == before["memory_mb"] + needed_size.WEBUI_MEMORY_MB
    more = {item["what"]: item for item in after["disk"]}
    assert more["its packages"]["mb"] * 1024**2 >= found["webui"]["download_bytes"]
    assert [row["what"] for row in plan_rows.ports({}, found)] == [
        "model API",
        "Open WebUI (Chat)",
    ]
    assert [row["name"] for row in plan_rows.units({**found, "supervisor": "supervisord"})] == [
        "engine",
        "webui",
    ]
    assert [row["name"] for row in plan_rows.units(found)] == [
        "dream-runner-engine.service",
        "dream-runner-webui.service",
    ]


def test_the_offer_tells_the_bytes_that_a_processor_downloads() -> None:
    loaded = catalog.load()
    assert webui.offer(loaded, "amd64") == max(
        loaded.webui.size_bytes(f"{python}-amd64") for python in loaded.webui.pythons("amd64")
    )
    assert webui.offer(loaded, "riscv64") == 0


#: Where the native profile is another world than a container.
_DIFFERENT = {
    # The address of the engine, and the name of the product, which stays its own here.
    *("OPENAI_API_BASE_URLS", "OPENAI_API_KEYS", "WEBUI_NAME"),
    # It has a vector database of its own.
    "BYPASS_EMBEDDING_AND_RETRIEVAL",
}


def test_the_native_settings_are_those_of_the_container() -> None:
    """A setting of the catalogue is the same here, or is read from the same key of .env."""
    variables = yaml.safe_load(ROLE.read_text())
    fixed = variables["__services_webui_environment"]
    keys = variables["__services_webui_keys"]
    services = catalog.load().services["services"]
    (service,) = (item for item in services if item["id"] == "open-webui")
    for name, value in service["environment"].items():
        if name in _DIFFERENT:
            continue
        if isinstance(value, str):
            assert fixed[name] == value, name
        else:
            assert keys[name] == value["key"], name
            assert value.get("required") or fixed[name] == value["default"], name
    marked = yaml.safe_load(
        (paths.content() / "roles" / "directories" / "vars" / "main.yml").read_text()
    )["__directories_webui_keys"]
    assert set(keys.values()) | {"ENGINE_API_KEY"} == set(marked)
