"""Examples for ``--help`` and the man page, by command.

A test parses every command line here.
"""

from __future__ import annotations

#: What is typed after ``dream-runner``, and what it does.
Example = tuple[str, str]

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "install": (
        ("install --yes", "install without asking"),
        ("install --model https://host/model.gguf --sha256 HEX", "use your own model"),
        ("install --lan --engine-port 8080", "let other computers use it"),
        ("install --resume", "continue without asking"),
        ("install --dry-run", "show what would happen"),
    ),
    "plan": (
        ("plan", "show what install would do, and why"),
        ("plan --tier 2", "the same for another tier"),
        ("plan --exit-code --json", "print JSON; exit with 20 if something would change"),
    ),
    "status": (
        ("status", "show whether the model is ready"),
        ("status --json", "print the status as JSON"),
    ),
    "open": (
        ("open", "open the chat page"),
        ("open --json", "print the address as JSON"),
    ),
    "doctor": (
        ("doctor", "find problems"),
        ("doctor --bundle help.tar.gz", "write an archive for support, without secrets"),
    ),
    "uninstall": (
        ("uninstall --dry-run", "show what would be removed"),
        ("uninstall", "keep models, secrets and your data"),
        ("uninstall --purge --yes", "remove everything, without asking"),
    ),
    "rotate-secrets": (
        ("rotate-secrets --dry-run", "show which secrets would change"),
        ("rotate-secrets", "replace the secrets; then run 'dream-runner install'"),
    ),
    "fetch": (
        ("fetch https://host/m.gguf --sha256 HEX -o m.gguf", "fetch; run it again to continue"),
        ("fetch https://a/m.gguf https://b/m.gguf --sha256 HEX -o m.gguf", "use b if a fails"),
    ),
    "lock": (
        ("lock", "look up the images of the enabled features"),
        ("lock n8n qdrant/qdrant:v1.16.3", "look up only these images"),
        ("lock --check --all", "check that every pinned digest still exists"),
        ("lock --models phi4-q4", "show commit, digest and size of a model's files"),
        ("lock --bundle DIR -o lock.json", "read a bundle, write another file"),
    ),
    "facts": (
        ("facts", "show this machine"),
        ("facts --capture this.yml", "write a file without names, for support"),
        ("facts --from-capture this.yml", "show the machine in that file"),
    ),
    "explain": (
        ("explain", "explain the tier and the model; list all models"),
        ("explain DISK_FULL", "explain an error and its remedy"),
        ("explain --memory-limit-mb 16000", "the choice with less memory"),
    ),
    "report": (
        ("report", "write a report of the newest run"),
        ("report 20261123T22 -o report.html", "another run, another file"),
    ),
    "init": (
        ("init site.yml", "write every setting, with an explanation"),
        ("install --answers site.yml", "install with it"),
    ),
    "bundle create": (
        ("bundle create DIR --profile native", "create a bundle for machines without a network"),
        (
            "bundle create DIR --tier 2 --sign ~/.ssh/id_ed25519",
            "create a signed bundle for one tier",
        ),
    ),
    "bundle verify": (
        ("bundle verify DIR", "verify every file"),
        ("bundle verify DIR --signers allowed_signers", "verify the signature too"),
    ),
    "bundle list": (("bundle list DIR", "list the files"),),
    "fleet install": (
        ("fleet install -i inventory.yml", "a canary first, then in waves"),
        ("fleet install -i inventory.yml --limit gpu", "only these hosts"),
        ("fleet install -i inventory.yml --max-fail 5%", "stop when more than 5 % fail"),
    ),
    "fleet uninstall": (("fleet uninstall -i inventory.yml", "models and data stay"),),
    "fleet plan": (
        ("fleet plan -i inventory.yml", "show what install would do on each host"),
        ("fleet plan -i inventory.yml --exit-code", "exit with 20 if a host would change"),
    ),
    "fleet status": (("fleet status -i inventory.yml", "show whether each model is ready"),),
    "fleet exec-doctor": (("fleet exec-doctor -i inventory.yml", "find problems on each host"),),
}


def text(words: str) -> str:
    """Return the examples of a command as the last part of its help."""
    rows = [(f"dream-runner {typed}", meant) for typed, meant in EXAMPLES.get(words, ())]
    wide = max((len(typed) for typed, _ in rows), default=0)
    # \b turns off line wrapping.
    lines = [f"    {typed:{wide}}  {meant}" for typed, meant in rows]
    return "\n".join(["For example:", "", "\b", *lines])
