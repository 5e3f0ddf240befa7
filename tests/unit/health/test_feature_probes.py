"""Each probe passes on a wired stack, and fails if a wire of its feature is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import standins

from dream_runner import catalog
from dream_runner.commands import doctor
from dream_runner.decide.services import compose_file
from dream_runner.module_utils.dream_core.containers import compose_diff
from dream_runner.module_utils.dream_core.health import chat_probes, feature_probes, readiness
from dream_runner.module_utils.dream_core.health.local_page import Failed
from dream_runner.module_utils.dream_core.records import receipt
from unit.decide.decided import stack

ENV = {
    "WEBUI_ADMIN_PASSWORD": "chat-password",
    "WEBUI_SECRET": "s",
    "QDRANT_API_KEY": "vector-key",
    "HERMES_API_KEY": "agent-key",
    "N8N_USER": "admin@dream-runner.local",
    "N8N_PASS": "Flow-password-1",
}
ALL = ["chat", "documents", "search", "voice", "agent", "workflows"]


def environment(service: str, host: str = "nvidia") -> dict[str, str]:
    """Return the environment of a container of the rendered project, with the secrets."""
    told = stack(host)["compose"]["services"][service]["environment"]
    return {key: compose_diff.filled(value, ENV) for key, value in told.items()}


@contextlib.contextmanager
def world(
    host: str = "nvidia", *, repeats: bool = True, without: tuple[str, str] = ("", ""), **more: Any
) -> Iterator[Any]:
    """Serve every service as it is wired on ``host``, without the wire ``without``."""
    told = {name: environment(name, host) for name in ("open-webui", "hermes", "n8n")}
    if without[0]:
        base = catalog.load().services["services"]
        (service,) = [item for item in base if item["id"] == without[0]]
        fallback = (service.get("environment") or {}).get(without[1])
        wired = any(without[1] in w["environment"] for w in service.get("with", {}).values())
        del told[without[0]][without[1]]
        if wired and fallback is not None:
            told[without[0]][without[1]] = compose_diff.filled(
                compose_file.value(fallback, {}), ENV
            )
    model = stack(host)["environment"]["LLM_MODEL"]
    with contextlib.ExitStack() as opened:

        def serve(service: standins.Service) -> str:
            return opened.enter_context(standins.serving(service))

        places = {
            "llama-server:8080": serve(standins.Model(model, repeats=repeats)),
            "embeddings:80": serve(standins.Embeddings()),
            "qdrant:6333": serve(standins.Vectors(ENV["QDRANT_API_KEY"])),
            "searxng:8080": serve(standins.Search()),
            "whisper:8000": serve(standins.SpeechToText("Systran/faster-whisper-base")),
            "tts:8880": serve(standins.TextToSpeech()),
        }
        agent = told["hermes"]
        if agent.get("API_SERVER_ENABLED") == "true" and agent.get("API_SERVER_HOST") == "0.0.0.0":
            key = agent.get("API_SERVER_KEY", "")
            name = agent.get("API_SERVER_MODEL_NAME", "default")
            # Without a key it listens on its own loopback only.
            if key:
                served = serve(standins.Model(name, key=key, tools=True))
                places[f"hermes:{agent.get('API_SERVER_PORT', '8642')}"] = served
        chat = standins.Chat(told["open-webui"], places)
        flows = standins.Workflows(told["n8n"])
        pages = {"open-webui": serve(chat), "n8n": serve(flows), "qdrant": places["qdrant:6333"]}
        services = [dict(item, url=pages.get(item["id"], "")) for item in stack(host)["services"]]
        found = feature_probes.run(services, model, {**ENV, **more}, answer_seconds=5)
        yield found, chat, flows


def test_a_stack_as_it_is_wired_proves_every_feature() -> None:
    with world() as (found, chat, flows):
        assert found == {"passed": ALL, "failed": {}, "unproven": {}}
        # A probe removes everything that it created.
        assert len(chat.deleted) == 1
        assert len(flows.deleted) == 1
        assert feature_probes.sentence(found) == "ready: " + " ".join(ALL)


def test_a_model_that_does_not_repeat_the_fact_cites_the_document() -> None:
    with world(repeats=False) as (found, _, _):
        assert "documents" in found["passed"]


#: Which probe fails if a wire is missing.
NEEDED = {
    "open-webui": {
        "OPENAI_API_BASE_URLS": "agent",
        "OPENAI_API_KEYS": "agent",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "documents",
        "VECTOR_DB": "documents",
        "QDRANT_URI": "documents",
        "QDRANT_API_KEY": "documents",
        "RAG_EMBEDDING_ENGINE": "documents",
        "RAG_OPENAI_API_BASE_URL": "documents",
        "ENABLE_WEB_SEARCH": "search",
        "WEB_SEARCH_ENGINE": "search",
        "SEARXNG_QUERY_URL": "search",
        "AUDIO_STT_ENGINE": "voice",
        "AUDIO_STT_OPENAI_API_BASE_URL": "voice",
        "AUDIO_STT_MODEL": "voice",
        "AUDIO_TTS_ENGINE": "voice",
        "AUDIO_TTS_OPENAI_API_BASE_URL": "voice",
    },
    "hermes": {
        "API_SERVER_ENABLED": "agent",
        "API_SERVER_HOST": "agent",
        "API_SERVER_KEY": "agent",
        "API_SERVER_MODEL_NAME": "agent",
    },
    "n8n": {
        "N8N_INSTANCE_OWNER_MANAGED_BY_ENV": "workflows",
        "N8N_INSTANCE_OWNER_EMAIL": "workflows",
        "DREAM_OWNER_PASSWORD": "workflows",
        "NODE_OPTIONS": "workflows",
        "N8N_SECURE_COOKIE": "workflows",
    },
}
#: Wires that a feature works without, or that equal the product's default.
TUNING = {
    "BYPASS_WEB_SEARCH_EMBEDDING_AND_RETRIEVAL": "quality: whether hits go through the vectors",
    "RAG_EMBEDDING_MODEL": "the service serves one model, whatever it is called",
    "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "off with OFFLINE_MODE",
    "RAG_EMBEDDING_BATCH_SIZE": "speed",
    "RAG_OPENAI_API_KEY": "the service asks for none",
    "ENABLE_SEARCH_QUERY_GENERATION": "its own default",
    "WEB_SEARCH_RESULT_COUNT": "quality",
    "AUDIO_STT_OPENAI_API_KEY": "the service asks for none",
    "AUDIO_TTS_OPENAI_API_KEY": "the service asks for none",
    "AUDIO_TTS_MODEL": "Kokoro takes tts-1, the chat's default, for its own",
    "AUDIO_TTS_VOICE": "Kokoro takes alloy, the chat's default, for one of its own",
}
WIRES = [(service, key, name) for service, rows in NEEDED.items() for key, name in rows.items()]


@pytest.mark.parametrize(("service", "key", "probe"), WIRES)
def test_a_wire_that_is_missing_is_felt(service: str, key: str, probe: str) -> None:
    with world(without=(service, key)) as (found, _, _):
        assert probe in found["failed"], found
        assert set(found["failed"]) == {probe}
        assert len(found["failed"][probe]) > 20


def test_every_wire_of_the_catalogue_is_needed_or_said_to_be_tuning() -> None:
    (chat,) = [item for item in catalog.load().services["services"] if item["id"] == "open-webui"]
    wired = {key for wires in chat["with"].values() for key in wires["environment"]}
    assert wired == set(NEEDED["open-webui"]) | set(TUNING)
    assert not set(NEEDED["open-webui"]) & set(TUNING)


def test_what_does_not_run_is_not_proven_and_nothing_is_said_of_it() -> None:
    off = dict.fromkeys(("voice", "workflows", "rag", "agents", "search"), "no")
    assert feature_probes.wanted(stack("nvidia", **off)["services"]) == ["chat"]
    assert feature_probes.wanted([]) == []


def test_an_account_that_is_not_known_leaves_the_chat_unproven_and_says_what_to_do() -> None:
    """An installation with accounts of its own never created the one in .env."""
    with world(WEBUI_ADMIN_PASSWORD="another") as (found, _, _):
        assert found["passed"] == ["workflows"]
        assert set(found["unproven"]) == {"chat", "documents", "search", "voice", "agent"}
        assert "WEBUI_ADMIN_PASSWORD" in found["unproven"]["chat"]
        assert found["failed"] == {}


def test_a_page_that_is_another_program_s_is_not_judged() -> None:
    services = [{"id": "open-webui", "url": ""}, {"id": "n8n", "url": ""}]
    with standins.serving(standins.Search()) as other:
        named = [dict(item, url=other) for item in services]
        found = feature_probes.run(named, "m", ENV)
    assert set(found["unproven"]) == {"chat", "workflows"}


class Odd(standins.Service):
    """Whatever it is asked, it answers with the same data."""

    def __init__(self, said: Any) -> None:
        super().__init__()
        self._said = said
        self.cookies = ["n8n-auth=x; HttpOnly"]

    def answer(self, method: str, asked: standins.Asked) -> tuple[int, Any]:
        return 200, self._said


#: Enough for a sign-in.
KNOWN = {"version": "1", "token": "t"}


@pytest.mark.parametrize(
    "said",
    [
        *([], [1], "x", 7, {"data": [1]}, {"data": "x"}, {"data": {"id": 5}}),
        {"version": "1", "token": "two\nlines"},
        {**KNOWN, "data": [1], "choices": [1], "id": 1, "status": "failed"},
        {**KNOWN, "data": [{"id": "m"}], "choices": [{"message": 1}], "id": 1, "result": [1]},
        {**KNOWN, "data": "x", "choices": {}, "id": "a b", "status": "completed", "result": 7},
    ],
)
def test_answers_of_any_form_end_in_a_reason(said: Any) -> None:
    """Another program at a port must not end the phase with a traceback."""
    with standins.serving(Odd(said)) as other:
        services = [dict(item, url=other) for item in stack("nvidia")["services"]]
        found = feature_probes.run(services, "m", ENV, answer_seconds=1)
    assert found["passed"] == []
    assert {**found["failed"], **found["unproven"]}.keys() == set(ALL)


def test_what_was_left_out_says_why() -> None:
    services = stack("nvidia")["services"]
    found = feature_probes.run(services, "m", ENV, offline=True, upgrading=True)
    assert found["unproven"]["search"].startswith("offline")
    waits = found["unproven"]["agent"]
    assert "still being downloaded" in waits
    assert f"agent not tested: {waits}" in feature_probes.sentence(found)


def test_nothing_waits_any_longer_for_a_model_that_has_come() -> None:
    services = stack("nvidia")["services"]
    before = feature_probes.run(services, "m", ENV, offline=True, upgrading=True)
    after = feature_probes.since(before)
    assert "doctor --deep" in after["unproven"].pop("agent")
    assert after["unproven"]["search"].startswith("offline")
    before["unproven"].pop("agent")
    assert after == before


def test_a_cookie_for_https_is_no_fault_of_a_port_that_is_open() -> None:
    with world(without=("n8n", "N8N_SECURE_COOKIE"), N8N_SECURE_COOKIE="true") as (found, _, _):
        assert "HTTPS" in found["unproven"]["workflows"]


# --- who runs them, and who says what they found --------------------------------------------


def test_a_service_that_is_down_is_not_asked_for_its_feature() -> None:
    services = stack("nvidia")["services"]
    found = feature_probes.run(services, "m", ENV, down=["whisper", "n8n", "qdrant"])
    assert found["unproven"]["voice"] == "whisper is not running"
    assert found["unproven"]["documents"] == "qdrant is not running"
    assert found["unproven"]["workflows"] == "n8n is not running"


def test_the_health_phase_uses_them_with_the_accounts_of_the_env_file(tmp_path: Path) -> None:
    told = environment("n8n")
    (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in ENV.items()))
    with standins.serving(standins.Workflows(told)) as page:
        services = [{"id": "n8n", "url": page}]
        how = {"env_file": str(tmp_path / ".env"), "offline": False, "upgrading": False}
        params = {"services": services, "model": "m", "features": how}
        assert readiness.probe_features(params, {})["passed"] == ["workflows"]
        assert readiness.probe_features(params, {"n8n": "down"})["unproven"] == {
            "workflows": "n8n is not running"
        }
        assert readiness.probe_features({**params, "features": None}, {}) == {}


def test_doctor_deep_repeats_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in ENV.items()))
    with standins.serving(standins.Workflows(environment("n8n"))) as page:
        proof = {"profile": "full", "model": "m", "services": [{"id": "n8n", "url": page}]}
        for phase, facts in (
            ("directories", {"env_file": str(tmp_path / ".env")}),
            ("health", {"proof": proof}),
        ):
            document = {"schema": 2, "phase": phase, "state": "done", "resources": []}
            receipt.write(str(state), {**document, "install_dir": "/srv/ai", "facts": facts})

        def told() -> list[tuple[str, str]]:
            found = doctor.run(str(state), deep=True)
            return [(item.severity, item.evidence) for item in found if item.id == "features"]

        assert told() == [("ok", "ready: workflows")]
        (tmp_path / ".env").write_text("N8N_USER=somebody@else\nN8N_PASS=x\n")
        ((severity, evidence),) = told()
        assert severity == "error"
        assert "N8N_PASS" in evidence
        assert not [item for item in doctor.run(str(state)) if item.id == "features"]


@pytest.mark.parametrize("is_up", [True, False])
def test_an_application_without_a_container_is_waited_for(is_up: bool) -> None:
    with standins.serving(standins.Model("small")) as url:
        probe = url + ("/v1/models" if is_up else "/nowhere")
        page = {"id": "open-webui", "core": False, "probe": probe, "budget_seconds": 0}
        down = readiness.wait_for_services("docker", "", [page])
    assert set(down) == (set() if is_up else {"open-webui"})


def test_the_native_application_is_asked_for_its_chat_alone() -> None:
    assert feature_probes.wanted([{"id": "open-webui"}]) == ["chat"]
    native = [{"id": "open-webui"}, {"id": "webui-documents"}]
    assert feature_probes.wanted(native) == ["chat", "documents"]
    native.append({"id": "webui-speech"})
    assert feature_probes.wanted(native) == ["chat", "documents", "dictation"]


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (" Please close the Green door, behind you!", ""),
        ("Please close a door.", "other words: Please close a door"),
        ("", "speech recognition failed"),
    ],
)
def test_a_recorded_sentence_comes_back_as_text(tmp_path: Path, heard: str, said: str) -> None:
    (tmp_path / "model.bin").touch()
    told = {**environment("open-webui"), "WHISPER_MODEL": str(tmp_path)}
    chat = standins.Chat(told, {})
    chat.heard = heard
    with standins.serving(chat) as url:
        page = chat_probes.Chat(url, "", "m", ENV, 5)
        with pytest.raises(Failed, match=said) if said else contextlib.nullcontext():
            page.dictation()
