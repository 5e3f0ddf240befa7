"""The fourteen phases, in run order, each with the words a person reads."""

from __future__ import annotations

#: Phase = role = tag = receipt key. A test keeps the order equal to playbooks/install.yml.
PHASES = (
    "preflight",
    "detection",
    "features",
    "requirements",
    "docker",
    "directories",
    "devtools",
    "images",
    "offline",
    "amd_tuning",
    "models",
    "services",
    "health",
    "summary",
)

#: Schema number of receipts. 2 added the inputs; one without them is of a phase to check again.
RECEIPT_SCHEMA = 2
