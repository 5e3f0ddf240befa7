"""What scenarios share: their tests look at nodes, and molecule runs them, not this session."""

from __future__ import annotations

from typing import Any

import pytest

collect_ignore_glob = ["*/tests/*"]

_QUESTION = '{"messages":[{"role":"user","content":"hello"}],"max_tokens":8}'
_ASK = f"""
import json, urllib.request
url = "http://127.0.0.1:11434/v1/chat/completions"
asked = urllib.request.Request(url, b'{_QUESTION}', {{"Content-Type": "application/json"}})
print(json.load(urllib.request.urlopen(asked, timeout=30))["choices"][0]["message"]["content"])
"""


@pytest.fixture
def on_13(host: Any) -> bool:
    """Whether the node is a Debian 13; defaults are turned round between the releases."""
    return bool(host.system_info.release.startswith("13"))


@pytest.fixture
def answer(host: Any) -> str:
    """What the model says to a question that the node itself asks."""
    return str(host.check_output("python3 -c %s", _ASK))
