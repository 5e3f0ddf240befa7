"""Who knows whom: what runs is wired to what uses it, and nothing points at what does not run.

The rows are those of the list of wiring defects; each is held here by the value in the rendered
project. That a key is needed at all is shown by the probes (test_feature_probes.py).
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from dream_runner import catalog
from unit.decide.decided import HOSTS, choose, stack

FEATURES = ("voice", "workflows", "rag", "agents", "images", "observability", "search")
OFF = dict.fromkeys(FEATURES, "no")


def environment(service: str, host: str = "nvidia", **more: Any) -> dict[str, str]:
    found: dict[str, str] = stack(host, **more)["compose"]["services"][service]["environment"]
    return found


#: Environment of the chat with each feature on, and with it off.
TOLD = {
    "rag": {
        "VECTOR_DB": "qdrant",
        "QDRANT_URI": "http://qdrant:6333",
        "QDRANT_API_KEY": "${QDRANT_API_KEY:?}",
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_OPENAI_API_BASE_URL": "http://embeddings:80/v1",
        "RAG_EMBEDDING_MODEL": "all-MiniLM-L6-v2",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "false",
    },
    "search": {
        "ENABLE_WEB_SEARCH": "true",
        "WEB_SEARCH_ENGINE": "searxng",
        "SEARXNG_QUERY_URL": "http://searxng:8080/search?q=<query>&format=json",
    },
    "voice": {
        "AUDIO_STT_ENGINE": "openai",
        "AUDIO_STT_OPENAI_API_BASE_URL": "http://whisper:8000/v1",
        "AUDIO_STT_MODEL": "Systran/faster-whisper-base",
        "AUDIO_TTS_ENGINE": "openai",
        "AUDIO_TTS_OPENAI_API_BASE_URL": "http://tts:8880/v1",
        "AUDIO_TTS_MODEL": "kokoro",
    },
    "agents": {
        "OPENAI_API_BASE_URLS": "http://llama-server:8080/v1;http://hermes:8642/v1",
        "OPENAI_API_KEYS": "none;${HERMES_API_KEY:?}",
    },
}


@pytest.mark.parametrize("feature", sorted(TOLD))
def test_the_chat_knows_a_feature_that_is_on_and_no_other(feature: str) -> None:
    wanted = {**OFF, feature: "yes"} | ({"search": "auto"} if feature == "agents" else {})
    told, without = environment("open-webui", **wanted), environment("open-webui", **OFF)
    for key, value in TOLD[feature].items():
        assert told[key] == value
        assert without.get(key) != value


def test_no_address_of_a_service_that_does_not_run() -> None:
    """In every combination of features, a service's name in a value is that of a running one."""
    known = {item["id"] for item in catalog.load().services["services"]}
    for host, values in itertools.product(HOSTS, itertools.product(("auto", "no"), repeat=4)):
        chosen = dict(zip(("voice", "rag", "agents", "search"), values, strict=True))
        project = stack(host, **chosen)["compose"]["services"]
        text = json.dumps([item.get("environment") for item in project.values()])
        named = set(re.findall(r"https?://([a-z0-9-]+):", text)) & known
        # The agent and the gateway name services that only they may use, with their own default.
        assert named <= set(project) | {"langfuse", "searxng"}, (host, chosen)


def test_the_chat_embeds_with_the_same_model_where_the_service_has_no_image() -> None:
    found = stack("nvidia-gb10-128gb", rag="yes")
    told = found["compose"]["services"]["open-webui"]["environment"]
    assert "embeddings" not in found["compose"]["services"]
    assert told["RAG_EMBEDDING_ENGINE"] == ""
    assert told["RAG_EMBEDDING_MODEL"] == "/models/embeddings/all-MiniLM-L6-v2"
    mounts = {
        item["target"]: item for item in found["compose"]["services"]["open-webui"]["volumes"]
    }
    assert mounts["/models/embeddings"]["read_only"] is True


def test_no_service_fetches_a_model_by_itself() -> None:
    assert environment("open-webui")["OFFLINE_MODE"] == "${WEBUI_OFFLINE_MODE:-true}"
    assert environment("whisper")["HF_HUB_OFFLINE"] == "1"
    assert environment("embeddings")["HF_HUB_OFFLINE"] == "1"
    assert environment("embeddings")["MODEL_ID"].startswith("/data/")
    assert environment("tts")["DOWNLOAD_MODEL"] == "false"
    services = catalog.load().services["services"]
    assert not [item["id"] for item in services if item.get("fetches")]


def files(feature: str) -> set[str]:
    found = stack("nvidia", **{**OFF, feature: "yes"})
    return {file["file"] for model in found["models"] for file in model["files"]}


def test_the_models_of_features_are_fetched_by_us() -> None:
    """The models that a service reads are planned, pinned, verified, and in the mounted place."""
    assert stack("nvidia", **OFF)["models"] == []
    assert "embeddings/all-MiniLM-L6-v2/model.safetensors" in files("rag")
    assert "whisper/model.bin" in files("voice")
    for host in HOSTS:
        found = stack(host)
        made = {item["path"] for item in found["directories"]}
        for model in found["models"]:
            for file in model["files"]:
                assert all(file[key] for key in ("sha256", "size_bytes", "urls"))
                place = f"/srv/my ai$/data/models/{file['file']}"
                assert place.rsplit("/", 1)[0] in made
        for service in found["compose"]["services"].values():
            for volume in service.get("volumes", ()):
                if "/data/models/" in volume["source"]:
                    assert volume["read_only"], service["image"]


def test_the_speech_model_lies_as_the_library_of_the_hub_looks_for_it() -> None:
    """A reference names the commit, and the commit is a directory of files (huggingface_hub)."""
    found = stack("cpu")
    mounts = {
        item["target"]: item["source"]
        for item in found["compose"]["services"]["whisper"]["volumes"]
    }
    hub = "/home/ubuntu/.cache/huggingface/hub/models--Systran--faster-whisper-base"
    (reference,) = [item for item in found["files"] if item["path"].endswith("config/whisper/main")]
    assert reference["content"] == reference["content"].strip()
    assert mounts[f"{hub}/snapshots/{reference['content']}"].endswith("/data/models/whisper")
    assert mounts[f"{hub}/refs"].endswith("/config/whisper")
    (model,) = [item for item in found["models"] if item["id"] == "faster-whisper-base"]
    names = {file["file"] for file in model["files"]}
    wanted = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt", "README.md")
    assert {f"whisper/{name}" for name in wanted} == names
    hubs = [url for file in model["files"] for url in file["urls"] if url.startswith("https:")]
    assert all(f"/resolve/{reference['content']}/" in url for url in hubs)
    told = environment("open-webui", "cpu")
    assert "models--" + told["AUDIO_STT_MODEL"].replace("/", "--") == hub.rpartition("/")[2]


def test_a_file_of_the_package_is_what_its_digest_says() -> None:
    import hashlib

    for model in catalog.load().models["helpers"]:
        for file in model["files"]:
            for url in file["urls"]:
                if url.startswith("package:"):
                    content = (catalog.HERE / url.removeprefix("package:")).read_bytes()
                    assert hashlib.sha256(content).hexdigest() == file["sha256"]
                    assert len(content) == file["size_bytes"]


def test_the_plan_and_the_disk_check_count_them() -> None:
    from dream_runner.module_utils.dream_core.checks import needed_size
    from dream_runner.module_utils.dream_core.upgrade import progress

    choice = choose("nvidia")
    names = {item["file"] for item in progress.first_files(choice)}
    assert {"whisper/model.bin", choice["model"]["file"]} <= names
    settings = {"install_dir": "/srv/ai", "disk_reserve_mb": 0}
    needs = needed_size.needs(settings, choice, "/state")["disk"]
    (need,) = [item for item in needs if item["what"] == "models of features"]
    assert need["mb"] > 220
    assert "/srv/ai/data/models/whisper/model.bin" in need["there"]


def test_the_first_visitor_owns_nothing() -> None:
    chat, flows = environment("open-webui"), environment("n8n")
    assert chat["WEBUI_ADMIN_PASSWORD"] == "${WEBUI_ADMIN_PASSWORD:?}"
    assert chat["ENABLE_SIGNUP"] == "${WEBUI_SIGNUP:-false}"
    assert flows["N8N_INSTANCE_OWNER_MANAGED_BY_ENV"] == "true"
    assert flows["DREAM_OWNER_PASSWORD"] == "${N8N_PASS:?}"
    mounted = stack("nvidia")["compose"]["services"]["n8n"]["volumes"]
    (script,) = [item for item in stack("nvidia")["files"] if item["path"].endswith("owner.js")]
    folder = next(item for item in mounted if item["target"] == "/home/node/workflows")
    assert script["path"].replace("$", "$$") == folder["source"] + "/owner.js"
    assert flows["NODE_OPTIONS"] == "--require /home/node/workflows/owner.js"


def test_the_agent_has_one_way_in_and_it_wants_a_key() -> None:
    told = environment("hermes")
    assert told["API_SERVER_ENABLED"] == "true"
    assert told["API_SERVER_HOST"] == "0.0.0.0"
    assert told["API_SERVER_KEY"] == "${HERMES_API_KEY:?}"
    assert not [key for key in told if "DASHBOARD" in key]
    assert "ports" not in stack("nvidia")["compose"]["services"]["hermes"]


def test_every_engine_of_llama_cpp_gets_the_common_arguments() -> None:
    """A variant that repeats the command forgets some of it (wiring 6)."""
    words = {"--ctx-size", "--threads", "--parallel", "--alias", "--metrics"}
    for host in ("cpu", "nvidia", "multi_nvidia", "intel", "arm64"):
        found = stack(host)["compose"]["services"]["llama-server"]
        assert words <= set(found["command"]), host
        assert {"LLAMA_ARG_BATCH", "LLAMA_ARG_N_GPU_LAYERS"} <= set(found["environment"]), host


def test_what_cannot_be_wired_is_not_in_the_catalogue_and_says_why() -> None:
    services = catalog.load().services
    left_out = {item["id"]: item["why"] for item in services["not_included"]}
    assert {"comfyui", "perplexica", "tailscale"} <= set(left_out)
    claimed = {
        service["id"]
        for feature in catalog.load().features["features"].values()
        for service in feature["services"]
    }
    for item in services["services"]:
        reachable = item["group"] in ("core", "recommended") or item["id"] in claimed
        needed = item.get("part_of") in claimed
        assert reachable or needed, f"no setting reaches {item['id']} (wiring 8)"


def test_a_feature_that_nobody_offers_is_refused_with_its_reason() -> None:
    from dream_runner.module_utils.dream_core.errors import UsageError

    with pytest.raises(UsageError, match="no image model"):
        choose("amd", images="yes")
