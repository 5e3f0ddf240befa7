"""Test the features that a user reaches through the chat (Open WebUI 0.11).

Documents, search, speech and the agent are tested through the chat, which tests the wiring of the
chat, too. Each test removes what it creates.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
import uuid
from typing import Any, Mapping, Optional, Set, Tuple

from . import recording
from .local_page import Answer, Failed, Page, Unproven, value_at

_PAUSE_SECONDS = 0.5


class Chat:
    """The tests of the chat; the first one that needs an account signs in.

    ``vectors`` is the vector database, which the chat may keep documents in.
    """

    def __init__(
        self, url: str, vectors: str, model: str, env: Mapping[str, str], answer_seconds: float
    ) -> None:
        self._model = model
        self._env = env
        self._answer_seconds = answer_seconds
        self._chat = Page(url)
        self._vectors = Page(vectors)
        self._no_sign_in: Optional[str] = None

    def _sign_in(self) -> None:
        if self._no_sign_in is None:
            self._no_sign_in = self._try_sign_in()
        if self._no_sign_in:
            raise Unproven(self._no_sign_in)

    def _try_sign_in(self) -> str:
        """Sign in; return why that failed, or an empty string."""
        if self._chat.get("/api/version").at("version") is None:
            return "the program at %s does not answer like Open WebUI" % self._chat.url
        account = {
            "email": self._env.get("WEBUI_ADMIN_EMAIL") or "admin@dream-runner.local",
            "password": self._env.get("WEBUI_ADMIN_PASSWORD", ""),
        }
        reply = self._chat.post("/api/v1/auths/signin", account)
        token = reply.at("token")
        if reply.status != 200 or not token:
            return (
                "the chat does not accept WEBUI_ADMIN_EMAIL and WEBUI_ADMIN_PASSWORD from .env;"
                " enter those of an administrator there"
            )
        self._chat.headers["Authorization"] = "Bearer %s" % token
        return ""

    def _ask(self, question: str, **more: Any) -> Answer:
        """Return the chat's complete response to one question."""
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "stream": False,
            "max_tokens": 200,
            "temperature": 0,
            **more,
        }
        reply = self._chat.post("/api/chat/completions", body, self._answer_seconds)
        if reply.status != 200 or not isinstance(reply.json, dict):
            raise Failed("the chat gave no answer: %s" % reply.reason())
        return reply

    def _knows(self, model: str) -> None:
        rows = self._chat.get("/api/models").at("data")
        names = [str(value_at(item, "id")) for item in (rows if isinstance(rows, list) else ())]
        if model not in names:
            listed = ", ".join(names) or "none"
            raise Failed("the chat does not offer the model %s (it has: %s)" % (model, listed))

    def chat(self) -> None:
        """Get a text answer from the model through the chat."""
        self._sign_in()
        self._knows(self._model)
        if not _text(self._ask("Say hello.")):
            raise Failed("the chat's answer has no text")

    def documents(self) -> None:
        """Upload a document with a random fact, and ask for that fact through the chat."""
        self._sign_in()
        fact = "blue-%s" % uuid.uuid4().hex[:10]
        text = "The code word of the lighthouse keeper is %s. He wrote it on the door.\n" % fact
        file = self._upload("dream-runner-probe.txt", text)
        try:
            self._wait_processed(file)
            found = self._chat.post(
                "/api/v1/retrieval/query/collection",
                {"collection_names": ["file-" + file], "query": "code word", "k": 3},
            )
            if found.status != 200 or fact not in json.dumps(found.json):
                raise Failed("the vector database does not have the document: %s" % found.reason())
            if self._vectors.url:
                self._is_in_vectors("file-" + file)
            answer = self._ask(
                "What is the code word of the lighthouse keeper?",
                files=[{"type": "file", "id": file}],
            )
            # A small model may not repeat the fact; then the answer cites the document.
            if fact not in _text(answer) and fact not in json.dumps(answer.at("sources")):
                raise Failed("the chat's answer neither uses nor cites the document")
        finally:
            self._chat.request("DELETE", "/api/v1/files/" + file)

    def _is_in_vectors(self, tenant: str) -> None:
        """Find the document's points in Qdrant; without Qdrant the chat uses a built-in store."""
        self._vectors.headers["api-key"] = self._env.get("QDRANT_API_KEY", "")
        body = {"filter": {"must": [{"key": "tenant_id", "match": {"value": tenant}}]}}
        reply = self._vectors.post("/collections/open-webui_files/points/count", body)
        if reply.status != 200 or not reply.at("result", "count"):
            raise Failed("the document's vectors are not in Qdrant: %s" % reply.reason())

    def _upload(self, name: str, text: str) -> str:
        body, kind = _form("file", name, "text/plain", text.encode())
        reply = self._chat.request("POST", "/api/v1/files/", body, kind)
        found = reply.at("id")
        if reply.status != 200 or not found:
            raise Failed("the chat does not accept a document upload: %s" % reply.reason())
        return str(found)

    def _wait_processed(self, file: str) -> None:
        deadline = time.monotonic() + self._answer_seconds
        while True:
            reply = self._chat.get("/api/v1/files/%s/process/status" % file)
            state = reply.at("status")
            if state == "completed":
                return
            if state == "failed" or reply.status != 200 or time.monotonic() > deadline:
                whole = self._chat.get("/api/v1/files/" + file)
                reason = whole.at("data", "error") or state or reply.reason()
                raise Failed("the chat could not process the document: %s" % reason)
            time.sleep(_PAUSE_SECONDS)

    def search(self) -> None:
        """Get results of the search engine through the chat."""
        self._sign_in()
        reply = self._chat.post(
            "/api/v1/retrieval/process/web/search",
            {"queries": ["lighthouse"]},
            self._answer_seconds,
        )
        if reply.status != 200 or not (reply.at("filenames") or reply.at("items")):
            raise Failed("the chat's web search found nothing: %s" % reply.reason())

    def voice(self) -> None:
        """Turn a sentence into speech through the chat, and that speech back into text."""
        self._sign_in()
        spoken = self._chat.post(
            "/api/v1/audio/speech",
            # The sentence is new each time, because the chat caches speech.
            {"input": "Green apples cost %d dollars." % random.randint(100, 999_999), "voice": ""},
            self._answer_seconds,
        )
        kind = spoken.kind
        if spoken.status != 200 or not kind.startswith("audio/") or len(spoken.content) < 100:
            raise Failed("the chat's text-to-speech failed: %s" % spoken.reason())
        ending = "wav" if "wav" in kind else "mp3"
        text = self.transcribe("probe." + ending, kind, spoken.content)
        if not {"green", "apples"} & _words(text):
            raise Failed("the chat recognized other words: %.120s" % text)

    def dictation(self) -> None:
        """Turn a recorded sentence into text through the chat."""
        text = self.transcribe(recording.NAME, recording.KIND, recording.content())
        wanted = _words(recording.SENTENCE)
        if len(wanted & _words(text)) < 0.8 * len(wanted):
            raise Failed("the chat recognized other words: %.120s" % text)

    def transcribe(self, name: str, kind: str, content: bytes) -> str:
        """Return the text of a recording, a file of this name and media type."""
        self._sign_in()
        body, form = _form("file", name, kind, content)
        reply = self._chat.request(
            "POST", "/api/v1/audio/transcriptions", body, form, self._answer_seconds
        )
        text = str(reply.at("text") or "").strip()
        if reply.status != 200 or not text:
            raise Failed("the chat's speech recognition failed: %s" % reply.reason())
        return text

    def agent(self) -> None:
        """Ask the agent for the digest of a random word, which needs a tool."""
        self._sign_in()
        self._knows("hermes-agent")
        word = uuid.uuid4().hex
        wanted_text = hashlib.sha256(word.encode()).hexdigest()[:16]
        answer = self._ask(
            "Use your terminal to run: printf %s " + word + " | sha256sum\n"
            "Reply with the first 16 characters of its output.",
            model="hermes-agent",
        )
        if wanted_text not in _text(answer):
            raise Failed("the agent used no tool; its answer: %.120s" % (_text(answer) or "none"))


def _words(text: str) -> Set[str]:
    return set(re.findall("[a-z]+", text.lower()))


def _text(answer: Answer) -> str:
    """Return the text of a chat response; reasoning models may put it in another field."""
    choices = answer.at("choices")
    message = value_at(choices[0] if isinstance(choices, list) and choices else None, "message")
    return str(value_at(message, "content") or value_at(message, "reasoning_content") or "").strip()


def _form(field: str, name: str, kind: str, content: bytes) -> Tuple[bytes, str]:
    """Return the body of an upload of one file, and its content type."""
    mark = uuid.uuid4().hex
    head = 'Content-Disposition: form-data; name="%s"; filename="%s"' % (field, name)
    lines = ["--" + mark, head, "Content-Type: " + kind, "", ""]
    body = "\r\n".join(lines).encode() + content + ("\r\n--%s--\r\n" % mark).encode()
    return body, "multipart/form-data; boundary=" + mark
