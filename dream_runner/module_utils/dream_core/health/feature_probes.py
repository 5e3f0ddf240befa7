"""Test each feature of the stack once, in the way that a user would use it.

``wanted`` chooses the probes for a stack and is pure; ``run`` runs them. Documents, search, speech
and the agent are tested through the chat, which tests the wiring of the chat too; workflows are
tested through n8n. A probe removes everything that it creates.

The paths are those of Open WebUI 0.11 and n8n 2.41.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import re
import time
import uuid
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)
from urllib.parse import urlsplit

from ..system import env_file, text_file

#: A model on a processor reads a document of some hundred tokens in a minute or two.
ANSWER_SECONDS = 300.0
_REQUEST_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_LIMIT_BYTES = 32 * 1024 * 1024

_CHAT, _FLOWS = "open-webui", "n8n"

#: A small model cannot pass this probe; what is reported until the host's own model answers.
_AGENT = "agent"
_WAITS = "it waits for the model that is still being downloaded"
_UNUSED = "it was not tested with the present model; 'dream-runner doctor --deep' tests it"


class Probe(NamedTuple):
    """A test of a feature: its name in ``ready: ...``, the page asked, other services needed."""

    name: str
    page: str
    needs: Tuple[str, ...] = ()


#: In the order in which ``ready`` names them.
PROBES = (
    Probe("chat", _CHAT),
    Probe("documents", _CHAT, ("qdrant",)),
    Probe("search", _CHAT, ("searxng",)),
    Probe("voice", _CHAT, ("whisper", "tts")),
    Probe(_AGENT, _CHAT, ("hermes",)),
    Probe("workflows", _FLOWS, ("n8n",)),
)


def wanted(services: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the names of the probes that a stack with these services can run."""
    running = {str(item["id"]) for item in services}
    return [item.name for item in PROBES if {item.page, *item.needs} <= running]


class Failed(Exception):
    """A feature does not work; the message gives the reason."""


class Unproven(Exception):
    """A feature could not be tested; the message gives the reason."""


def run(
    services: Sequence[Mapping[str, Any]],
    model: str,
    env: Mapping[str, str],
    *,
    offline: bool = False,
    upgrading: bool = False,
    down: Collection[str] = (),
    answer_seconds: float = ANSWER_SECONDS,
) -> Dict[str, Any]:
    """Return ``{passed: [name], failed: {name: why}, unproven: {name: why}}``.

    ``env`` is the content of ``.env``, which has the accounts. ``upgrading`` means that a small
    model answers until the host's own is downloaded; ``down`` names the services that are not up.
    """
    urls = {str(item["id"]): str(item.get("url") or "") for item in services}
    probes = _Probes(urls, model, env, answer_seconds)
    found: Dict[str, Any] = {"passed": [], "failed": {}, "unproven": {}}
    reasons = _of_down(down)
    if upgrading:
        reasons[_AGENT] = _WAITS
    if offline:
        reasons.setdefault("search", "offline, so web search cannot be tested")
    for name in wanted(services):
        if name in reasons:
            found["unproven"][name] = reasons[name]
            continue
        try:
            probes.by_name[name]()
        except Unproven as error:
            found["unproven"][name] = str(error)
        except Failed as error:
            found["failed"][name] = str(error)
        else:
            found["passed"].append(name)
    return found


def since(found: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what ``run`` found while ``upgrading``, worded for the time after the upgrade."""
    told = {_WAITS: _UNUSED}
    unproven = found.get("unproven") or {}
    return dict(found, unproven={name: told.get(why, why) for name, why in unproven.items()})


def _of_down(down: Collection[str]) -> Dict[str, str]:
    """Return the probes that need one of these services, with the reason to leave them out."""
    found = {}
    for item in PROBES:
        missing = sorted({item.page, *item.needs} & set(down))
        if missing:
            found[item.name] = "%s is not up" % " and ".join(missing)
    return found


def read_env(path: str) -> Dict[str, str]:
    """Return the content of an ``.env`` file; empty if it cannot be read."""
    try:
        return env_file.parse(text_file.read(path, errors="surrogateescape"))
    except text_file.Unreadable:
        return {}


def sentence(found: Mapping[str, Any]) -> str:
    """Return what passed, what failed and what was not tested, for a person."""
    parts = ["ready: " + " ".join(found["passed"])] if found.get("passed") else []
    parts += ["%s failed: %s" % item for item in sorted((found.get("failed") or {}).items())]
    parts += ["%s not tested: %s" % item for item in sorted((found.get("unproven") or {}).items())]
    return "; ".join(parts)


# --- the probes ------------------------------------------------------------------------


class _Probes:
    """The probes of a stack; the first one that needs an account signs in."""

    def __init__(
        self, urls: Mapping[str, str], model: str, env: Mapping[str, str], answer_seconds: float
    ) -> None:
        self._model = model
        self._env = env
        self._answer_seconds = answer_seconds
        self._chat = _Page(urls.get(_CHAT, ""))
        self._flows = _Page(urls.get(_FLOWS, ""))
        self._vectors = _Page(urls.get("qdrant", ""))
        self._no_sign_in: Optional[str] = None
        self.by_name: Dict[str, Callable[[], None]] = {
            "chat": self.chat,
            "documents": self.documents,
            "search": self.search,
            "voice": self.voice,
            _AGENT: self.agent,
            "workflows": self.workflows,
        }

    # --- the chat

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

    def _ask(self, question: str, **more: Any) -> "Answer":
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
        names = [str(_at(item, "id")) for item in (rows if isinstance(rows, list) else ())]
        if model not in names:
            listed = ", ".join(names) or "none"
            raise Failed("the chat does not offer the model %s (it has: %s)" % (model, listed))

    def chat(self) -> None:
        """Get an answer with text from the model through the chat."""
        self._sign_in()
        self._knows(self._model)
        if not _text(self._ask("Say hello.")):
            raise Failed("the chat's answer has no text")

    def documents(self) -> None:
        """Upload a document with a random fact, and get that fact back through the chat."""
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
            raise Failed("the chat does not accept a document: %s" % reply.reason())
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
            # The chat caches speech, so the sentence is a new one.
            {"input": "Green apples cost %d dollars." % random.randint(100, 999_999), "voice": ""},
            self._answer_seconds,
        )
        kind = spoken.kind
        if spoken.status != 200 or not kind.startswith("audio/") or len(spoken.content) < 100:
            raise Failed("the chat does not speak: %s" % spoken.reason())
        ending = "wav" if "wav" in kind else "mp3"
        body, form = _form("file", "probe." + ending, kind, spoken.content)
        reply = self._chat.request(
            "POST", "/api/v1/audio/transcriptions", body, form, self._answer_seconds
        )
        text = str(reply.at("text") or "")
        if reply.status != 200 or not {"green", "apples"} & set(re.findall("[a-z]+", text.lower())):
            raise Failed("the chat does not understand its own speech: %s" % reply.reason())

    def agent(self) -> None:
        """Ask the agent for the digest of a random word, which only a tool can compute."""
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

    # --- workflows

    def workflows(self) -> None:
        """Create a workflow with the owner's account, run it and delete it."""
        reply = self._flows.get("/rest/settings")
        deadline = time.monotonic() + _REQUEST_SECONDS
        # While n8n migrates its database, it answers every path with a line of text.
        while reply.status and reply.json is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            reply = self._flows.get("/rest/settings")
        if reply.status != 200 or not isinstance(reply.at("data"), dict):
            raise Unproven("the program at %s does not answer like n8n" % self._flows.url)
        account = {
            "emailOrLdapLoginId": self._env.get("N8N_USER", ""),
            "password": self._env.get("N8N_PASS", ""),
        }
        reply = self._flows.post("/rest/login", account)
        if reply.status != 200:
            raise Failed("n8n does not accept N8N_USER and N8N_PASS from .env: %s" % reply.reason())
        if not self._flows.take_cookie(reply):
            if self._env.get("N8N_SECURE_COOKIE") == "true":
                raise Unproven("its sign-in needs HTTPS, because its port is open to the network")
            raise Failed("n8n's sign-in sets no cookie that a browser sends back over http")
        flow_id = self._create_flow()
        try:
            self._run_flow(flow_id)
        finally:
            self._flows.post("/rest/workflows/%s/archive" % flow_id, {})
            self._flows.request("DELETE", "/rest/workflows/%s" % flow_id)

    def _create_flow(self) -> str:
        """Return the id of a new workflow."""
        reply = self._flows.post("/rest/workflows", _FLOW)
        flow_id = reply.at("data", "id")
        if reply.status != 200 or not flow_id:
            raise Failed("n8n does not create a workflow: %s" % reply.reason())
        return str(flow_id)

    def _run_flow(self, flow_id: str) -> None:
        body = {
            "workflowData": {**_FLOW, "id": flow_id},
            "triggerToStartFrom": {"name": "Start"},
        }
        reply = self._flows.post("/rest/workflows/%s/run" % flow_id, body)
        run_id = reply.at("data", "executionId")
        if reply.status != 200 or not run_id:
            raise Failed("n8n does not run a workflow: %s" % reply.reason())
        deadline = time.monotonic() + _REQUEST_SECONDS
        state = ""
        while state not in ("success", "error", "crashed", "canceled"):
            if time.monotonic() > deadline:
                raise Failed("n8n's workflow does not end; it is %s" % (state or "unknown"))
            time.sleep(_PAUSE_SECONDS)
            reply = self._flows.get("/rest/executions/%s" % run_id)
            state = str(reply.at("data", "status") or "")
        if state != "success":
            raise Failed("n8n's workflow ended with %s" % state)


_FLOW: Dict[str, Any] = {
    "name": "dream-runner probe",
    "nodes": [
        {
            "id": "a1", "name": "Start", "type": "n8n-nodes-base.manualTrigger",
            "typeVersion": 1, "position": [0, 0], "parameters": {},
        },
        {
            "id": "a2", "name": "End", "type": "n8n-nodes-base.noOp",
            "typeVersion": 1, "position": [200, 0], "parameters": {},
        },
    ],
    "connections": {"Start": {"main": [[{"node": "End", "type": "main", "index": 0}]]}},
    "settings": {"executionOrder": "v1"},
}  # fmt: skip


def _text(answer: "Answer") -> str:
    """Return the text of a chat response; reasoning models may put it in another field."""
    choices = answer.at("choices")
    message = _at(choices[0] if isinstance(choices, list) and choices else None, "message")
    return str(_at(message, "content") or _at(message, "reasoning_content") or "").strip()


def _at(value: Any, *path: str) -> Any:
    """Return the value at a path of keys in data of any type, or None."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _form(field: str, name: str, kind: str, content: bytes) -> Tuple[bytes, str]:
    """Return the body of an upload of one file, and its content type."""
    mark = uuid.uuid4().hex
    head = 'Content-Disposition: form-data; name="%s"; filename="%s"' % (field, name)
    lines = ["--" + mark, head, "Content-Type: " + kind, "", ""]
    body = "\r\n".join(lines).encode() + content + ("\r\n--%s--\r\n" % mark).encode()
    return body, "multipart/form-data; boundary=" + mark


# --- asking ----------------------------------------------------------------------------


class Answer(NamedTuple):
    """The response of a page; ``status`` is 0 if there was none, ``problem`` is then the reason."""

    status: int
    content: bytes
    kind: str
    cookies: Tuple[str, ...] = ()
    problem: str = ""

    @property
    def json(self) -> Any:
        """Return the body as data, or None."""
        try:
            return json.loads(self.content.decode("utf-8"))
        except ValueError:
            return None

    def at(self, *path: str) -> Any:
        """Return the value at a path of keys in the JSON body, or None."""
        return _at(self.json, *path)

    def reason(self) -> str:
        """Return the response for an error message: the page's own reason, if it gives one."""
        if self.problem:
            return self.problem
        reason = self.at("detail") or self.at("message")
        text = str(reason) if reason else self.content[:120].decode("utf-8", "replace").strip()
        return "status %d, %s" % (self.status, text[:200] or "an empty body")


class _Page:
    """A server on this host, with the headers that sign in there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers: Dict[str, str] = {}

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Any, seconds: float = _REQUEST_SECONDS) -> Answer:
        content = json.dumps(body).encode()
        return self.request("POST", path, content, "application/json", seconds)

    def request(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        kind: str = "",
        seconds: float = _REQUEST_SECONDS,
    ) -> Answer:
        headers = dict(self.headers, **({"Content-Type": kind} if kind else {}))
        parts = urlsplit(self.url)
        try:
            # Without a proxy: the server is on this host.
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=seconds
            )
            with contextlib.closing(connection):
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                content = response.read(_LIMIT_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: another program's answer made a header that cannot be sent.
            return Answer(0, b"", "", problem=str(error) or type(error).__name__)
        cookies = tuple(response.msg.get_all("Set-Cookie") or ())
        media = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return Answer(response.status, content, media, cookies)

    def take_cookie(self, reply: Answer) -> bool:
        """Keep the cookies that a browser sends back over http; tell whether there are any."""
        kept = [item.partition(";")[0] for item in reply.cookies if not _is_secure(item)]
        self.headers["Cookie"] = "; ".join(kept)
        return bool(kept)


def _is_secure(cookie: str) -> bool:
    return any(part.strip().lower() == "secure" for part in cookie.split(";")[1:])
