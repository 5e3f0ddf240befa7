"""How a fleet run ended, in one exit code and as few lines as it takes."""

from dream_runner.fleet.results import FleetOutcome
from dream_runner.module_utils.dream_core.errors import DiskError, RebootRequired
from dream_runner.run.results import HostResult, groups


def result(name: str, state: str = "done", what: str = "") -> HostResult:
    kind = RebootRequired if state == "reboot" else DiskError
    error = kind(what, code="DISK_FULL", where="phase models") if what else None
    return HostResult(name, state, "wave 1", error)


def outcome(*hosts: HostResult, **fields: object) -> FleetOutcome:
    return FleetOutcome("install", "run", "/runs/run", hosts, **fields)  # type: ignore[arg-type]


def code(*hosts: HostResult, **fields: object) -> int:
    error = outcome(*hosts, **fields).error
    return error.exit_code if error else 0


def test_exit_codes() -> None:
    assert code(result("a"), result("b", "unchanged")) == 0
    assert code(result("a"), result("b", "failed", "full")) == 13
    assert code(result("a"), result("b", "untouched")) == 13
    assert code(result("a"), result("b", "reboot", "driver")) == 10
    assert code(result("a", "degraded", "n8n")) == 11
    assert code(result("a", "failed", "x"), interrupted=True) == 130


def test_equal_errors_are_one_group_whatever_host_and_number_they_name() -> None:
    hosts = [
        result("web1", "failed", "web1: 12 MB free, 900 MB needed"),
        result("web2", "failed", "web2: 7 MB free, 900 MB needed"),
        result("web3", "failed", "read-only"),
        result("web4"),
    ]
    assert [group.hosts for group in groups(hosts)] == [("web1", "web2"), ("web3",)]
    text = outcome(*hosts).as_text()
    assert "2 hosts: DISK_FULL" in text
    assert "1 done, 3 failed" in text


def test_the_report_counts_every_state() -> None:
    report = outcome(result("a"), result("b", "failed", "full"), stopped="too many").to_dict()
    assert report["counts"]["done"] == report["counts"]["failed"] == 1
    assert report["exit_code"] == 13
    assert report["hosts"][1]["error"]["code"] == "DISK_FULL"
    assert "too many" in report["error"]["what"]
