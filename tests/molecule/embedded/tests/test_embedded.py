"""A native engine that answers: said by the host's own tools, nothing of ours."""

import json
from typing import Any

ROOT = "/opt/dream-runner"
QUESTION = '{"messages":[{"role":"user","content":"hello"}],"max_tokens":8}'
ASK = """
import json, urllib.request
url = "http://127.0.0.1:11434/v1/chat/completions"
asked = urllib.request.Request(url, b'%s', {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(asked, timeout=30))["choices"][0]["message"]["content"])
"""


def test_requirements(host: Any) -> None:
    for name in ("libgomp1", "python3-venv", "ca-certificates"):
        assert host.package(name).is_installed, name


def test_directories(host: Any) -> None:
    env = host.file(f"{ROOT}/.env")
    assert env.mode == 0o600
    assert env.user == "root"
    for name in ("data", "data/models"):
        assert host.file(f"{ROOT}/{name}").is_directory
        assert not host.file(f"{ROOT}/{name}").mode & 0o022, name


def test_models(host: Any) -> None:
    there = host.check_output(f"sha256sum {ROOT}/data/models/smoke.gguf").split()[0]
    assert there == host.check_output("sha256sum /srv/smoke.gguf").split()[0]
    assert host.check_output(f"ls {ROOT}/data/models/ | grep -c part || true") == "0"


def test_services(host: Any) -> None:
    engine = host.service("dream-runner-engine")
    assert engine.is_running
    assert engine.is_enabled
    assert host.socket("tcp://127.0.0.1:11434").is_listening


def test_health(host: Any) -> None:
    answer = host.check_output("python3 -c %s", ASK % QUESTION)
    assert answer.strip()


def test_summary(host: Any) -> None:
    document = json.loads(host.file(f"{ROOT}/summary.json").content_string)
    assert document


def test_offline_and_devtools_left_nothing(host: Any) -> None:
    assert not host.file(f"{ROOT}/.offline-mode").exists


def test_every_phase_has_its_receipt(host: Any) -> None:
    listed = host.check_output('grep -l \'"state": "done"\' ~/.local/state/dream-runner/receipts/*')
    assert len(listed.splitlines()) == 14
