"""What this machine is: looked at, read from the cache, and as Ansible gathers it."""

from __future__ import annotations

from pathlib import Path

from rerun.bench import ROOT, Bench, playbook_command, single_task

_TASK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - {module}: {arguments}
"""


def facts(bench: Bench, directory: Path, rounds: int) -> None:
    """Print the table of ways to know the hardware; each is one task, or one command."""
    bench.environment["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    state = bench.home / "facts-state"
    state.mkdir()

    def play(name: str, module: str, arguments: str = "{}") -> list[str]:
        path = directory / f"{name}.yml"
        path.write_text(_TASK.format(module=module, arguments=arguments))
        return [*playbook_command(bench), str(path)]

    ours = bench.program("dream-runner")
    bench.table(
        "Facts",
        {
            "ansible-playbook, one module task": single_task(bench, directory),
            "ansible.builtin.setup": play("setup", "ansible.builtin.setup"),
            "dream_facts, looking": play(
                "cold", "dream_facts", f"{{state_dir: {state}, force: true}}"
            ),
            "dream_facts, from its cache": play("cached", "dream_facts", f"{{state_dir: {state}}}"),
            "dream-runner facts --fresh": [ours, "facts", "--fresh", "--json"],
            "dream-runner facts, from its cache": [ours, "facts", "--json"],
        },
        rounds,
    )
