"""Examples for ``--help`` and the man page, by the words of the command.

Every command line here is parsed by a test, so that none can go stale.
"""

from __future__ import annotations

#: What is typed after ``dream-runner``, and what that is for.
Example = tuple[str, str]

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "install": (
        ("install --yes", "without a question"),
        ("install --model https://host/model.gguf --sha256 HEX", "a model of your own"),
        ("install --lan --engine-port 8080", "for everybody in the network"),
        ("install --resume", "continue without asking"),
        ("install --dry-run", "only say what would happen"),
    ),
    "plan": (
        ("plan", "what install would do, and why"),
        ("plan --tier T2", "the same with another choice"),
        ("plan --exit-code --json", "for a program: 20 when something would change"),
    ),
    "status": (
        ("status", "is it ready?"),
        ("status --json", "the same for a program"),
    ),
    "open": (
        ("open", "chat in the browser"),
        ("open --json", "the address for a program"),
    ),
    "doctor": (
        ("doctor", "what is wrong here"),
        ("doctor --bundle help.tar.gz", "an archive for a helper, without secrets"),
    ),
    "uninstall": (
        ("uninstall --dry-run", "what would go, and what stays"),
        ("uninstall", "models, secrets and your data stay"),
        ("uninstall --purge --yes", "everything goes"),
    ),
    "rotate-secrets": (
        ("rotate-secrets --dry-run", "which would be made anew"),
        ("rotate-secrets", "then: dream-runner install"),
    ),
    "fetch": (
        ("fetch https://host/m.gguf --sha256 HEX -o m.gguf", "again continues it"),
        ("fetch https://a/m.gguf https://b/m.gguf --sha256 HEX -o m.gguf", "b where a fails"),
    ),
    "lock": (
        ("lock", "ask the registries"),
        ("lock --bundle DIR -o lock.json", "read a bundle instead; write another file"),
    ),
    "facts": (
        ("facts", "as install sees this machine"),
        ("facts --capture this.yml", "to a file, without names, to show to a helper"),
        ("facts --from-capture this.yml", "of the machine in that file"),
    ),
    "explain": (
        ("explain", "why this tier and this model; all models and which fit"),
        ("explain DISK_FULL", "what an error means and what to do"),
        ("explain --memory-limit-mb 16000", "if there was only this much memory"),
    ),
    "report": (
        ("report", "of the newest run; prints the path of the page"),
        ("report 20261123T22 -o report.html", "of another, to a file of your own"),
    ),
    "init": (
        ("init site.yml", "every setting, explained"),
        ("install --answers site.yml", "use it"),
    ),
    "bundle create": (
        ("bundle create DIR --profile native", "for machines without a network"),
        ("bundle create DIR --tier T2 --sign ~/.ssh/id_ed25519", "for one tier, signed"),
    ),
    "bundle verify": (
        ("bundle verify DIR", "every file is read"),
        ("bundle verify DIR --signers allowed_signers", "and one of these signed it"),
    ),
    "bundle list": (("bundle list DIR", "what is in it"),),
    "fleet install": (
        ("fleet install -i inventory.yml", "a canary first, then in waves"),
        ("fleet install -i inventory.yml --limit gpu", "only these; again goes on"),
        ("fleet install -i inventory.yml --max-fail 5%", "stop when more than that fail"),
    ),
    "fleet uninstall": (("fleet uninstall -i inventory.yml", "models and data stay"),),
    "fleet plan": (
        ("fleet plan -i inventory.yml", "what would happen, on which host"),
        ("fleet plan -i inventory.yml --exit-code", "20 when a host would change"),
    ),
    "fleet status": (("fleet status -i inventory.yml", "asks each model"),),
    "fleet exec-doctor": (("fleet exec-doctor -i inventory.yml", "what is wrong on each host"),),
}


def text(words: str) -> str:
    """Return the examples of a command as the end of its help."""
    rows = [(f"dream-runner {typed}", meant) for typed, meant in EXAMPLES.get(words, ())]
    wide = max((len(typed) for typed, _ in rows), default=0)
    # \b keeps the lines as they are.
    lines = [f"    {typed:{wide}}  {meant}" for typed, meant in rows]
    return "\n".join(["For example:", "", "\b", *lines])
