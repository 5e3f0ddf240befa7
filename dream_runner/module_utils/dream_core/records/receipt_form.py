"""The form of a receipt: the fields that its readers may rely on.

A resource with another form is not ours and is put aside; a receipt with another form is ignored,
and its phase is checked again on the host.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping

from .. import forms

_NAMED = {"name": forms.name}
#: The required fields of each kind of resource.
REQUIRED: Dict[str, Mapping[str, forms.Form]] = {
    "file": {"path": forms.path},
    "directory": {"path": forms.path},
    "tree": {"path": forms.path},
    "data": {"path": forms.path},
    "model": {"path": forms.path, "sha256": forms.name},
    "unit": {"scope": forms.name, "name": forms.name},
    "supervisor": {"config": forms.path, "program": forms.name},
    "background": {"path": forms.path, "name": forms.name, "program": forms.path},
    "port": {"port": forms.port},
    "package": _NAMED,
    "linger": {"user": forms.name},
    "sysctl": _NAMED,
    "group": {"group": forms.name, "user": forms.name},
    "options": {"path": forms.path, "set": forms.map_of(forms.anything)},
    "container": {"project": forms.name, "service": forms.name},
    "image": {"reference": forms.name},
    "network": _NAMED,
    "volume": _NAMED,
}
_RIGHTS = {"mode": forms.mode, "uid": forms.whole, "gid": forms.whole}
ORIGINAL = {
    "file": forms.fields(dict(_RIGHTS, sha256=forms.name), {"backup": forms.flag}),
    "directory": forms.fields(_RIGHTS),
}
_OPTIONAL: Dict[str, forms.Form] = {
    "mode": forms.mode,
    "address": forms.maybe(forms.name),
    "also": forms.maybe(forms.name),
    "owner": forms.maybe(forms.name),
    "sha256": forms.maybe(forms.name),
    "size_bytes": forms.maybe(forms.whole),
    "seen": forms.maybe(forms.fields({"present": forms.flag}, {"unknown": forms.flag})),
    **dict.fromkeys(("coming", "volatile", "secret", "shared", "retries"), forms.flag),
}

_TEXTS = forms.map_of(forms.text)
_SERVICES = forms.list_of(forms.fields({"id": forms.name}, {"core": forms.flag, "url": forms.text}))
_PROOF = {
    "profile": forms.name,
    "url": forms.name,
    "health_path": forms.name,
    "api_path": forms.name,
    "model": forms.name,
    "deadline_seconds": forms.number,
    "project": forms.name,
    "services": _SERVICES,
    "watch": forms.map_of(forms.name),
}
_KEY_FILE = {"key_file": forms.maybe(forms.name)}
#: A rollback needs all fields of a proof; other readers use the fields that exist.
WHOLE_PROOF = forms.fields(_PROOF, _KEY_FILE)
PROOF = forms.fields({}, {**_PROOF, **_KEY_FILE})
_UPGRADE = forms.fields(
    {
        "model": forms.name,
        "until": forms.name,
        "sha256": forms.name,
        "unit": forms.name,
        "scope": forms.name,
        "files": forms.list_of(
            forms.fields({"file": forms.name}, {"size_bytes": forms.maybe(forms.whole)})
        ),
    }
)
_ASSIGNMENT = forms.fields(
    {},
    {
        "engine": forms.maybe(forms.list_of(forms.name)),
        "helpers": forms.maybe(forms.map_of(forms.list_of(forms.name))),
    },
)
#: The facts of a phase that later phases and runs read.
_FACTS: Dict[str, Mapping[str, forms.Form]] = {
    "detection": {"backend": forms.name, "gpu_assignment": forms.maybe(_ASSIGNMENT)},
    "features": {"settings": forms.maybe(forms.map_of(forms.anything))},
    "requirements": {
        "engine_port": forms.maybe(forms.port),
        "bind_address": forms.name,
        "ports": forms.maybe(forms.map_of(forms.port)),
    },
    "docker": {"command": forms.name, "become": forms.flag, "version": forms.text},
    "directories": {"env_file": forms.name, "install_dir": forms.name},
    "images": {"versions": forms.maybe(_TEXTS)},
    "models": {"path": forms.name, "sha256": forms.name, "upgrade": forms.maybe(_UPGRADE)},
    "health": {"url": forms.name, "model": forms.name, "proof": forms.maybe(PROOF)},
    "summary": {"urls": forms.maybe(_TEXTS), "model": forms.maybe(forms.map_of(forms.anything))},
}
_DEGRADED = {"degraded": forms.maybe(_TEXTS)}


def problem(document: Any, phase: str) -> str:
    """Return why ``document`` is not a usable receipt of ``phase``, or an empty string."""
    facts = forms.fields({}, {**_DEGRADED, **_FACTS.get(phase, {})})
    texts = ("version", "run_id", "install_dir", "started_at", "finished_at")
    return forms.fields(
        {"schema": forms.whole},
        {
            "resources": forms.list_of(forms.anything),
            "facts": facts,
            "inputs": forms.maybe(_TEXTS),
            "foreign": forms.maybe(forms.list_of(forms.anything)),
            **dict.fromkeys(texts, forms.maybe(forms.name)),
        },
    )(document)


def is_resource(item: Any) -> bool:
    """Return whether ``item`` has the form of a resource of a known kind."""
    kind = item.get("kind") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in REQUIRED:
        return False
    optional = {"original": forms.maybe(ORIGINAL.get(kind, forms.anything))}
    required = {key: form for key, form in REQUIRED[kind].items() if key in item or key != "set"}
    return not forms.fields(required, {**_OPTIONAL, **optional})(item)
