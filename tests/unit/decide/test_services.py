"""Which containers run where, with which image, port, key and directory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_runner import catalog
from dream_runner.module_utils.dream_core.containers.references import name_of, pinned
from dream_runner.module_utils.dream_core.errors import RequirementError
from unit.decide.decided import HOSTS, choose, stack

FEATURES = ("voice", "workflows", "rag", "agents", "images", "observability", "search")
CORE = {"llama-server", "open-webui"}
LANGFUSE = {
    *("langfuse", "langfuse-worker", "langfuse-postgres", "langfuse-clickhouse"),
    *("langfuse-redis", "langfuse-minio", "langfuse-minio-init"),
}
#: What each feature brings beside the core and the gateway, where the model's context is long.
BRINGS = {
    "voice": {"whisper", "tts"},
    "workflows": {"n8n"},
    "rag": {"qdrant", "embeddings"},
    "search": {"searxng"},
    "agents": {"hermes", "searxng"},
    "observability": LANGFUSE,
}
OFF = dict.fromkeys(FEATURES, "no")


def ids(found: dict[str, Any]) -> set[str]:
    return {item["id"] for item in found["services"]}


def test_with_everything_off_the_core_is_left() -> None:
    assert ids(stack(**OFF)) == CORE | {"litellm"}


@pytest.mark.parametrize("feature", sorted(BRINGS))
def test_a_feature_brings_its_services_and_what_they_need(feature: str) -> None:
    wanted = {**OFF, feature: "yes"} | ({"search": "auto"} if feature == "agents" else {})
    assert ids(stack("nvidia", **wanted)) == CORE | {"litellm"} | BRINGS[feature]


def test_the_native_profile_has_none() -> None:
    assert choose(profile="native")["stack"] is None


def test_image_generation_is_offered_nowhere_and_says_why() -> None:
    for host in HOSTS:
        found = choose(host)["features"]
        assert not found["enabled"]["images"]
        assert "no image model" in found["reasons"]["images"]


def test_an_image_for_another_processor_is_left_out() -> None:
    assert "embeddings" not in ids(stack("arm64"))
    assert "embeddings" in ids(stack("cpu"))


choices = st.fixed_dictionaries({name: st.sampled_from(("auto", "no")) for name in FEATURES})


@given(host=st.sampled_from(sorted(HOSTS)), wanted=choices, traced=st.booleans())
def test_nothing_hangs_in_the_air(host: str, wanted: dict[str, str], traced: bool) -> None:
    """Whatever is off: no dependency, network, volume or file refers to what is not there."""
    found = stack(host, **{**wanted, "observability": "yes" if traced else "no"})
    project = found["compose"]
    assert set(project["services"]) == ids(found)
    for service in project["services"].values():
        assert set(service.get("depends_on", ())) <= ids(found)
        assert set(service.get("networks", ())) <= set(project["networks"])
        for volume in service.get("volumes", ()):
            if volume["type"] == "volume":
                assert volume["source"] in project["volumes"]
    made = {item["path"] for item in found["directories"]}
    assert {item["path"].rsplit("/", 1)[0] for item in found["files"]} <= made
    ports = [item["port"] for item in found["ports"]]
    assert len(ports) == len(set(ports))
    assert stack(host, **{**wanted, "observability": "yes" if traced else "no"}) == found


def test_every_bound_directory_is_made_before() -> None:
    found = stack("amd", observability="yes")
    made = {item["path"].replace("$", "$$") for item in found["directories"]}
    bound = {
        volume["source"]
        for service in found["compose"]["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    }
    assert bound <= made
    files = {item["path"] for item in found["files"]}
    assert not files & bound, "a file that is mounted by itself is the old one after a rename (S4)"


def test_data_directories_belong_to_who_works_in_them() -> None:
    by_path = {item["path"]: item for item in stack(observability="yes")["directories"]}
    postgres = by_path["/srv/my ai$/data/langfuse/postgres"]
    assert (postgres["data"], postgres["owner"]) == (True, "70:70")
    assert by_path["/srv/my ai$/data/models"]["data"] is False


def test_no_secret_is_in_the_project() -> None:
    """Secrets are references, in every service of every host."""
    for host in HOSTS:
        found = stack(host, observability="yes")
        text = json.dumps(found["compose"])
        for key in found["secrets"]:
            assert f"${{{key}:" in text or key == "TS_AUTHKEY" or key not in text


def test_every_required_key_is_made_by_the_directories_phase() -> None:
    import re

    import yaml

    from dream_runner import paths

    role = yaml.safe_load(
        (paths.PACKAGE.parent / "roles/directories/vars/main.yml").read_text(encoding="utf-8")
    )
    made = {*role["__directories_secrets"], *role["__directories_defaults"]}
    for host in HOSTS:
        found = stack(host, observability="yes")
        needed = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", json.dumps(found["compose"])))
        assert needed <= made


# --- images ------------------------------------------------------------------------------

DIGEST = "sha256:" + "a" * 64


def test_an_image_without_digest_is_a_problem_and_named() -> None:
    found = stack(lock={})
    (problem,) = found["problems"]
    assert problem["code"] == "IMAGE_NOT_LOCKED"
    assert "ghcr.io/open-webui/open-webui:v0.11.4" in problem["what"]


@pytest.mark.parametrize("host", HOSTS)
def test_as_shipped_every_image_of_every_host_is_pinned(host: str) -> None:
    for engine in ("vulkan", "rocm"):
        found = stack(host, observability="yes", amd_engine=engine)
        assert found["problems"] == []
        assert all("@sha256:" in item["reference"] for item in found["images"])


def lock_of(host: str, **entry: Any) -> dict[str, Any]:
    return {item["tag"]: {"digest": DIGEST, **entry} for item in stack(host)["images"]}


def test_every_image_is_run_by_its_digest() -> None:
    found = stack(lock=lock_of("cpu"))
    assert found["problems"] == []
    for service in found["compose"]["services"].values():
        assert "@sha256:" in service["image"]
        assert service["pull_policy"] == "never"


def test_an_image_that_lacks_the_platform_is_found_in_the_plan() -> None:
    found = stack("arm64", lock=lock_of("arm64", platforms=["linux/amd64"]))
    assert {item["code"] for item in found["problems"]} == {"IMAGE_PLATFORM"}


@pytest.mark.parametrize(
    ("tag", "entry", "expected"),
    [
        ("redis:7", {"digest": DIGEST}, f"redis@{DIGEST}"),
        ("host:5000/a/b:1", {"digest": DIGEST}, f"host:5000/a/b@{DIGEST}"),
        ("host:5000/a/b", {"digest": DIGEST}, f"host:5000/a/b@{DIGEST}"),
        ("a/b:1", {"digest": DIGEST, "from": "mirror:80/x"}, f"mirror:80/x@{DIGEST}"),
        ("a/b:1", {"id": DIGEST, "archive": "images/b.tar"}, DIGEST),
        (f"a/b:1@{DIGEST}", None, f"a/b@{DIGEST}"),
        ("a/b:1", None, ""),
    ],
)
def test_what_a_tag_stands_for(tag: str, entry: Any, expected: str) -> None:
    assert pinned(tag, {tag: entry} if entry else {}) == expected


def test_the_name_of_an_image() -> None:
    assert name_of("localhost:5000/x:1@sha256:ab") == "localhost:5000/x"


# --- ports ----------------------------------------------------------------------------------


def listener(port: int, **more: Any) -> dict[str, Any]:
    return {"port": port, "address": "0.0.0.0", "pid": 7, "name": "nginx", "own": False, **more}


def port_of(found: dict[str, Any], key: str) -> int:
    return next(item["port"] for item in found["ports"] if item["key"] == key)


def test_a_service_moves_from_a_port_that_is_taken_and_stays_there() -> None:
    moved = stack(listeners=(listener(3000),))
    port = port_of(moved, "WEBUI_PORT")
    assert port == 3001
    assert moved["environment"]["WEBUI_PORT"] == "3001"
    receipts = {"requirements": {"facts": {"ports": {"WEBUI_PORT": port}}}}
    assert port_of(stack(receipts=receipts), "WEBUI_PORT") == port


def test_our_own_container_does_not_drive_a_service_away() -> None:
    receipts = {"requirements": {"facts": {"ports": {"WEBUI_PORT": 3000}}}}
    ours = listener(3000, name="docker-proxy")
    assert port_of(stack(receipts=receipts, listeners=(ours,)), "WEBUI_PORT") == 3000
    assert port_of(stack(listeners=(ours,)), "WEBUI_PORT") == 3001


def test_nobody_is_moved_onto_the_port_of_another_service() -> None:
    taken = tuple(listener(port) for port in (3000, 3001, 3002, 3003))
    assert port_of(stack(listeners=taken), "WEBUI_PORT") == 3004


def test_a_port_is_chosen_by_service_or_key_and_nobody_else_gets_it() -> None:
    found = stack(ports=["open-webui=4000", "QDRANT_PORT=7333"])
    assert port_of(found, "WEBUI_PORT") == 4000
    assert found["environment"]["WEBUI_PORT"] == "4000"
    assert port_of(found, "QDRANT_PORT") == 7333
    # Whose own port that is goes elsewhere.
    assert port_of(found, "LITELLM_PORT") == 4001
    (published,) = found["compose"]["services"]["open-webui"]["ports"]
    assert published["published"] == "4000"


def test_a_chosen_port_is_stronger_than_last_time_s_and_never_moves() -> None:
    receipts = {"requirements": {"facts": {"ports": {"WEBUI_PORT": 3000}}}}
    assert port_of(stack(receipts=receipts, ports=["open-webui=4100"]), "WEBUI_PORT") == 4100
    for ports, listeners in ((["open-webui=4100"], (listener(4100),)), (["n8n=11434"], ())):
        with pytest.raises(RequirementError) as caught:
            stack(ports=ports, listeners=listeners)
        assert caught.value.code == "PORT_TAKEN"


# --- variants -----------------------------------------------------------------------------------


def engine(host: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = stack(host, **more)["compose"]["services"]["llama-server"]
    return found


def test_each_backend_has_its_engine() -> None:
    assert "llama.cpp@" in engine("nvidia")["image"]
    assert "llama.cpp@" in engine("amd")["image"]
    model = {"model": "qwen3.5-4b-q4", "context_tokens": 8192}
    commands = [engine(host, **model)["command"] for host in ("nvidia", "amd", "intel")]
    assert commands[0] == commands[1] == commands[2]
    assert engine("cpu")["environment"]["LLAMA_ARG_N_GPU_LAYERS"] == "0"
    assert engine("amd")["devices"] == ["/dev/dri:/dev/dri"]


def test_rocm_by_choice_and_only_on_amd() -> None:
    tags = {item["service"]: item["tag"] for item in stack("amd", amd_engine="rocm")["images"]}
    assert ":server-rocm-" in tags["llama-server"]
    vulkan = {item["service"]: item["tag"] for item in stack("amd")["images"]}
    assert ":server-vulkan-" in vulkan["llama-server"]
    chosen = engine("multi_amd", amd_engine="rocm")
    assert chosen["devices"] == ["/dev/dri:/dev/dri", "/dev/kfd:/dev/kfd"]
    assert chosen["environment"]["LLAMA_ARG_SPLIT_MODE"] in ("layer", "none")
    assert engine("nvidia", amd_engine="rocm") == engine("nvidia")


def test_cards_are_given_by_their_ids() -> None:
    choice = choose("multi_nvidia")
    service = choice["stack"]["compose"]["services"]["llama-server"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == choice["gpu_assignment"]["engine"]
    assert service["environment"]["LLAMA_ARG_SPLIT_MODE"] in ("layer", "none")


def test_every_backend_is_asked_in_the_same_way() -> None:
    for host in HOSTS:
        found = stack(host)
        assert found["api"] == {"health": "/health", "model": found["environment"]["LLM_MODEL"]}
        assert found["environment"]["LLM_API_URL"] == "http://llama-server:8080"


def test_no_product_of_upstream_is_left_in_what_a_user_sees() -> None:
    text = json.dumps(catalog.load().services)
    assert '"ODS' not in text
    assert "ods." not in text


def test_a_large_model_is_given_the_time_that_a_slow_disk_takes() -> None:
    """The engine's own start period knows nothing of the model's size (C4)."""

    def budget(model: str) -> int:
        services = stack("multi_nvidia", model=model)["services"]
        return int(
            next(item for item in services if item["id"] == "llama-server")["budget_seconds"]
        )

    assert budget("qwen3.5-2b-q4") < 600
    assert budget("qwen3-coder-next-q4") > 48_000_000_000 / 25_000_000
