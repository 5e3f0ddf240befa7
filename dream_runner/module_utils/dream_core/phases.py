"""The fourteen phases in run order, each with its title."""

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

#: Schema number of receipts. Schema 2 added the inputs; a phase without recorded inputs is checked
#: again.
RECEIPT_SCHEMA = 2
