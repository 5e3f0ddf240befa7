"""Show ``install.sh --dry-run`` on a machine that has only Python.

Run as ``python3 -B -I dream_runner/install_preview.py`` from the checkout. The packages are not
installed yet and nothing may be written, so this file and its imports use only the
standard library. It shows the steps of install.sh and the host; the full plan needs the
packages.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.files import text_file
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.system import streams
from dream_runner.module_utils.dream_core.system.account import gather_session
from dream_runner.module_utils.dream_core.types.facts import Facts
from dream_runner.module_utils.dream_core.types.host import Session
from dream_runner.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the dry run; return the exit code."""
    streams.keep()
    options = parse(arguments)
    try:
        report = examine(options)
    except DreamError as error:
        return refuse(error, options.json)
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return install.sh's options; ``rest`` are the arguments that it would pass on."""
    parser = argparse.ArgumentParser(prog="install_preview.py")
    for name in ("venv", "python", "link", "lock"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--package", default="", help="missing Debian package, or empty")
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args(arguments)
    options.json = "--json" in options.rest
    return options


def examine(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report: the steps of install.sh, the user, and the host."""
    session = gather_session()
    return {
        "schema": "dream-runner.dry-run/1",
        "version": __version__,
        "dry_run": True,
        "complete": False,
        "bootstrap": {
            "python": options.python,
            "missing_package": options.package,
            "privilege": privilege(options.package, session),
            "environment": options.venv,
            "packages": pinned(options.lock),
            "link": options.link,
        },
        "arguments": options.rest,
        "session": session,
        "host": host(),
        "phases": list(PHASES),
    }


def pinned(lock: str) -> int:
    """Return the number of packages in the lock file."""
    lines = text_file.read(lock, 16 * text_file.LIMIT_BYTES).split("\n")
    return sum("==" in line and not line.startswith((" ", "#")) for line in lines)


def privilege(package: str, session: Session) -> str:
    """Return as text how this user would get the privileges to install ``package``."""
    if not package:
        return "none"
    words = {
        "root": "none: you are root",
        "passwordless": "sudo, without a password",
        "password": "sudo, with your password",
    }
    return words.get(
        session["sudo"], "needs root, which you do not have: install.sh would stop with exit code 4"
    )


def host() -> Facts:
    """Return the facts of this machine, from the cache or newly detected; save nothing."""
    from dream_runner.module_utils.dream_core.facts.cache import load_or_gather

    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return load_or_gather(os.path.join(base, "dream-runner"), __version__, save=False)[0]


def lines(report: dict[str, Any]) -> list[str]:
    """Return the report as lines of text."""
    steps = report["bootstrap"]
    text = [f"dream-runner {report['version']}: dry run, nothing is written", ""]
    text.append("install.sh would")
    if steps["missing_package"]:
        text.append(f"  install {steps['missing_package']} with apt ({steps['privilege']})")
    text += [
        f"  create a private Python environment in {steps['environment']} with {steps['python']}",
        f"  install {steps['packages']} packages into it, each verified by its sha256",
        f"  link the command to {steps['link']}",
        f"  run: dream-runner install {' '.join(report['arguments'])}",
        "",
        "this machine",
        *("  " + line for line in host_lines(report["host"])),
        "",
        f"{len(report['phases'])} steps would follow: {' '.join(report['phases'])}",
        "The packages are needed to choose the model and ports; a dry run does not download them.",
        "'./install.sh' shows the full plan and asks before it starts.",
    ]
    return text


def host_lines(facts: Facts) -> list[str]:
    """Return the host as short lines; unknown values are shown as "unknown"."""
    system, cpu, memory = facts["os"], facts["cpu"], facts["memory"]
    gpus = [str(gpu.get("name") or gpu.get("vendor")) for gpu in facts["gpus"]]
    text = [
        f"system   {said(system['pretty_name'])}, kernel {said(system['kernel'])}, {facts['arch']}",
        f"init     {facts['init']['system']}",
        f"cpu      {said(cpu['model'])}, {said(cpu['threads'])} threads",
        f"memory   {said(memory['usable_mb'])} MB usable of {said(memory['total_mb'])} MB",
        f"gpu      {', '.join(gpus) or 'none'} (backend {facts['backend']})",
    ]
    for finding in facts["findings"]:
        text.append(f"{finding['severity']:<8} {finding['what']}")
    return text


def said(value: Any) -> str:
    """Return a fact as text; None becomes "unknown"."""
    return "unknown" if value is None else str(value)


def refuse(error: DreamError, as_json: bool) -> int:
    """Print one error and return its exit code."""
    if as_json:
        print(json.dumps({"error": error.to_dict()}))
    print(f"error[{error.code}]: {error.what}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
