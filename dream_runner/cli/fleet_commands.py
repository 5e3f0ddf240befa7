"""The commands of ``dream-runner fleet``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from ..settings.values import Given
from . import reporting
from .options import Answers, Json, Locked, Ui, Yes, verb

_HELP = """\
Turn many machines into private AI servers, over SSH.

For example:

\b
    dream-runner fleet plan -i inventory.yml                  show what install would do
    dream-runner fleet install -i inventory.yml               install: a canary first, then in waves
    dream-runner fleet install -i inventory.yml --limit gpu   continue with unfinished hosts
    dream-runner fleet status -i inventory.yml                show whether each model is ready
    dream-runner fleet exec-doctor -i inventory.yml           find problems and how to fix them

Hosts need sshd, Python 3.9 and, if packages are missing, sudo. Settings are variables of the
inventory (dream_profile, dream_tier, ...), per group or host; a flag applies to all hosts. Exit
codes: as for one machine, and 13 when some hosts failed.
"""

app: typer.Typer = typer.Typer(
    help=_HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HOSTS = "Hosts"

Inventory = Annotated[
    list[str],
    typer.Option(
        "--inventory",
        "-i",
        help="Ansible inventory: file, directory, script, or 'host,'; may be repeated.",
        metavar="PATH",
        rich_help_panel=_HOSTS,
    ),
]
Limit = Annotated[
    str,
    typer.Option("--limit", "-l", help="Work only on these hosts or groups.", metavar="PATTERN"),
]
Forks = Annotated[
    int,
    typer.Option(
        "--forks", help="Number of hosts to work on in parallel (0: 4 per CPU core).", metavar="N"
    ),
]
Vault = Annotated[
    list[str],
    typer.Option("--vault-password-file", help="Ansible Vault password file; may be repeated.",
                 metavar="FILE"),
]  # fmt: skip
AcceptKeys = Annotated[
    bool,
    typer.Option(
        "--accept-new-host-keys",
        help="Trust unknown host keys in this run; changed keys are still refused.",
    ),
]
AskPass = Annotated[bool, typer.Option("--ask-pass", "-k", help="Ask for the SSH password.")]
PasswordFile = Annotated[
    str,
    typer.Option("--password-file", help="File with the SSH password.", metavar="FILE|/dev/fd/N"),
]
AskBecomePass = Annotated[
    bool, typer.Option("--ask-become-pass", "-K", help="Ask for the sudo password.")
]
BecomePasswordFile = Annotated[
    str,
    typer.Option(
        "--become-password-file", help="File with the sudo password.", metavar="FILE|/dev/fd/N"
    ),
]


@dataclass(frozen=True)
class HostOptions:
    """Options that select the hosts and configure the SSH login."""

    inventory: Inventory
    limit: Limit = ""
    forks: Forks = 0
    accept_new_host_keys: AcceptKeys = False
    ask_pass: AskPass = False
    password_file: PasswordFile = ""
    vault_password_file: Vault = field(default_factory=list)

    def access(self) -> Any:
        """Return the access to the hosts, with absolute paths: a run changes its directory."""
        from ..fleet.inventory.hosts import Source
        from ..fleet.session import HostAccess

        source = Source(
            tuple(os.path.abspath(item) if "," not in item else item for item in self.inventory),
            self.limit,
            tuple(os.path.abspath(item) for item in self.vault_password_file),
        )
        return HostAccess(
            source, self.forks, self.accept_new_host_keys, self.ask_pass, self.password_file
        )


@dataclass(frozen=True)
class SudoOptions(HostOptions):
    """Options that select the hosts and configure login and sudo."""

    ask_become_pass: AskBecomePass = False
    become_password_file: BecomePasswordFile = ""

    def access(self) -> Any:
        """Return the access to the hosts, with sudo."""
        return replace(
            super().access(),
            ask_become_pass=self.ask_become_pass,
            become_password_file=self.become_password_file,
        )


def _finish(outcome: Any, ui: str, json: bool) -> int:
    error = outcome.error
    if error is not None:
        sys.stderr.write(reporting.error_text(error) + "\n")
    form = reporting.form(json, ui)
    reporting.print_result(outcome.to_dict(), outcome.as_text(), form)
    return error.exit_code if error else 0


def _print_hosts(verb: str, found: Any, code: int, json: bool) -> int:
    from ..commands.fleet import host_report

    document = host_report.as_json(verb, found, code)
    reporting.print_result(document, host_report.as_text(found), reporting.form(json))
    return code


@verb(app, "install", "Install, resume, repair or change the hosts.")
def install(
    flags: dict[str, Given],
    hosts: SudoOptions,
    answers: Answers = None,
    canary: Annotated[
        str,
        typer.Option("--canary", help="Number of hosts to install first.", metavar="N|N%"),
    ] = "1",
    waves: Annotated[
        str,
        typer.Option("--waves", help="Total hosts started after each wave.", metavar="N|N%,..."),
    ] = "10%,50%,100%",
    max_fail: Annotated[
        str,
        typer.Option(
            "--max-fail", help="Stop when more hosts than this have failed.", metavar="N|N%"
        ),
    ] = "10%",
    direct: Annotated[
        bool, typer.Option("--direct", help="Download the model from its origin on every host.")
    ] = False,
    serve: Annotated[
        str,
        typer.Option(
            "--serve",
            help="Address of this machine on which to serve the model files.",
            metavar="IP[:PORT]",
        ),
    ] = "",
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Allow hosts that have the model files to serve them to others."
        ),
    ] = False,
    share_port: Annotated[
        int,
        typer.Option(
            "--share-port",
            help="Port for --share (0: any free port).",
            metavar="PORT",
            min=0,
            max=65535,
        ),
    ] = 0,
    install_python: Annotated[
        bool, typer.Option("--install-python", help="Install Python on hosts that lack it.")
    ] = False,
    yes: Yes = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; finished downloads are kept.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Like --fresh, but also ignore existing installs.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Run every phase on every host.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify every model file again.")
    ] = False,
    locked: Locked = False,
    ui: Ui = "auto",
    json: Json = False,
) -> int:
    """Install, resume, repair or change the hosts: a canary first, then in waves.

    All hosts are checked before the first one is changed. Run it again to continue.
    """
    from ..commands.fleet import install as command
    from ..commands.fleet.serve_files import Sources
    from ..fleet import view, wave_order

    options = command.Options(
        order=wave_order.parse(canary, waves, max_fail),
        fresh=fresh or force,
        force=force,
        full=full,
        verify=verify,
        install_python=install_python,
        sources=Sources(direct, serve, share, share_port),
        yes=yes or force,
        locked=locked,
    )
    shown = view.make(ui, json_result=json)
    try:
        outcome = command.run(flags, answers, os.environ, hosts.access(), options, shown)
    finally:
        shown.close()
    return _finish(outcome, ui, json)


@verb(app, "uninstall", "Remove what dream-runner installed on the hosts.")
def uninstall(
    hosts: SudoOptions,
    yes: Yes = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove models, secrets and data.")
    ] = False,
    ui: Ui = "auto",
    json: Json = False,
) -> int:
    """Remove what dream-runner installed on the hosts, and nothing else."""
    from ..commands.fleet import uninstall as command
    from ..fleet import view

    shown = view.make(ui, json_result=json)
    try:
        outcome = command.run(os.environ, hosts.access(), shown, purge=purge, yes=yes)
    finally:
        shown.close()
    return _finish(outcome, ui, json)


@verb(app, "plan", "Show what install would do on each host.")
def plan(
    flags: dict[str, Given],
    hosts: SudoOptions,
    answers: Answers = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 20 if a host would change.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Same as for install.")] = False,
    locked: Locked = False,
    json: Json = False,
) -> int:
    """Show what install would do on each host and why; change nothing anywhere."""
    from ..commands.fleet import host_report
    from ..commands.fleet import plan as command
    from ..fleet import view

    shown, access = view.make("quiet"), hosts.access()
    found = command.run(flags, answers, os.environ, access, shown, force=force, locked=locked)
    code = host_report.exit_code(found, ("due", "up to date"))
    if not code and exit_code and any(host.state == "due" for host in found):
        code = 20
    return _print_hosts("plan", found, code, json)


@verb(app, "status", "Show whether the models are ready.")
def status(hosts: HostOptions, json: Json = False) -> int:
    """Show whether the model of each host is ready, by asking it one question.

    Exit codes: 0 all are ready, 13 some are not.
    """
    from ..commands.fleet import host_report
    from ..commands.fleet import status as command
    from ..fleet import view

    found = command.run(os.environ, hosts.access(), view.make("quiet"))
    return _print_hosts("status", found, host_report.exit_code(found, ("ready",)), json)


@verb(app, "exec-doctor", "Find problems on the hosts and how to fix them.")
def exec_doctor(hosts: HostOptions, json: Json = False) -> int:
    """Find problems on the hosts: hardware, drift, engine, disk.

    Reads every file again. Exit codes: 0 no errors, 13 errors on some host.
    """
    from ..commands.fleet import doctor as command
    from ..commands.fleet import host_report
    from ..fleet import view

    found = command.run(os.environ, hosts.access(), view.make("quiet"))
    code = host_report.exit_code(found, ("ok", "warning"))
    return _print_hosts("exec-doctor", found, code, json)
