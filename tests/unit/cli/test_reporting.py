"""What stands below an error: where the log is, and its end."""

from pathlib import Path

from dream_runner.cli import reporting

LOG = """\
TASK [models : Record that the phase is running] ****
ok: [localhost]

TASK [models : Fetch the model] ****
[ERROR]: Task failed: Module failed: no route
Origin: /x/roles/models/tasks/main.yml:8:3

6     resources: "{{ __models_resources }}"
7
8 - name: Fetch the model
    ^ column 3

failed: [localhost] => {"msg": "%s"}

PLAY RECAP ****
localhost : ok=43 failed=1
"""


def test_the_end_is_of_the_task_that_failed() -> None:
    lines = reporting.end_of_log(LOG % ("x" * 500))
    assert lines[0] == "[ERROR]: Task failed: Module failed: no route"
    assert lines[1].startswith('failed: [localhost] => {"msg": "xxx')
    assert lines[1].endswith(" ...")
    assert len(lines) == 2
    assert max(map(len, lines)) == 160


def test_a_log_without_tasks_has_a_short_end() -> None:
    assert reporting.end_of_log("") == []
    text = "\n".join(["first", *("line " + "a" * n for n in range(20))])
    assert len(reporting.end_of_log(text)) == 6


def test_a_log_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert reporting.log_lines(str(path)) == []
    path.write_text(LOG % "no")
    assert reporting.log_lines(str(path))[:2] == [
        f"  log: {path}",
        "    | [ERROR]: Task failed: Module failed: no route",
    ]
