"""Test the workflows (n8n 2.41): create one, run it, delete it."""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping

from .local_page import REQUEST_SECONDS, Failed, Page, Unproven

_PAUSE_SECONDS = 0.5


class Workflows:
    """The test of n8n, with the owner's account from ``.env``."""

    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        self._env = env
        self._flows = Page(url)

    def workflows(self) -> None:
        """Create a workflow with the owner's account, run it and delete it."""
        reply = self._flows.get("/rest/settings")
        deadline = time.monotonic() + REQUEST_SECONDS
        # While n8n migrates its database, it answers every request with a line of text.
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
                raise Unproven(
                    "its sign-in requires HTTPS, because its port is open to the network"
                )
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
            raise Failed("n8n cannot create a workflow: %s" % reply.reason())
        return str(flow_id)

    def _run_flow(self, flow_id: str) -> None:
        body = {
            "workflowData": {**_FLOW, "id": flow_id},
            "triggerToStartFrom": {"name": "Start"},
        }
        reply = self._flows.post("/rest/workflows/%s/run" % flow_id, body)
        run_id = reply.at("data", "executionId")
        if reply.status != 200 or not run_id:
            raise Failed("n8n cannot run a workflow: %s" % reply.reason())
        deadline = time.monotonic() + REQUEST_SECONDS
        state = ""
        while state not in ("success", "error", "crashed", "canceled"):
            if time.monotonic() > deadline:
                raise Failed(
                    "n8n's workflow does not finish; its state is %s" % (state or "unknown")
                )
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
