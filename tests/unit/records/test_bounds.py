"""A record never leads to the removal of what the host does not confirm as ours, kind by kind."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.module_utils.dream_core.containers import (
    compose_project,
    daemon_options,
    engine_objects,
    project_containers,
)
from dream_runner.module_utils.dream_core.packages import removal
from dream_runner.module_utils.dream_core.records import bounds, install_mark, last_good, receipt
from dream_runner.module_utils.dream_core.resources import package
from dream_runner.module_utils.dream_core.system import filesystems
from dream_runner.module_utils.dream_core.undo.uninstall import remove

ROOT = Path(__file__).parents[3]
ME = pwd.getpwuid(os.geteuid()).pw_name
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("resource", "is_allowed"),
    [
        ({"kind": "tree", "path": "webui/venv"}, True),
        ({"kind": "tree", "path": "webui/wheels"}, True),
        ({"kind": "tree", "path": "webui/photos"}, False),
        ({"kind": "supervisor", "config": "webui/supervisor/supervisord.conf"}, True),
        ({"kind": "supervisor", "config": "other/supervisor/supervisord.conf"}, False),
    ],
)
def test_the_parts_of_open_webui_are_known(
    resource: dict[str, Any], is_allowed: bool, tmp_path: Path
) -> None:
    """Without the mark in the directory, only what the layout has is taken for ours."""
    place = Place(tmp_path)
    key = "path" if "path" in resource else "config"
    path = place.root / resource[key]
    path.mkdir(parents=True)
    (path / "content").write_text("x")
    refusal = place.refusal({"program": "webui", **resource, key: str(path)})
    assert (refusal == "") is is_allowed


class Place:
    """An install directory in a home, with or without the mark, and a state directory."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.root = self.home / "ai"
        self.state = tmp_path / "state"
        self.root.mkdir(parents=True)

    def mark(self, *made: list[Any]) -> None:
        document = {"schema": 1, "install_dir": str(self.root), "made": list(made)}
        (self.root / install_mark.NAME).write_text(json.dumps(document))

    def refusal(self, resource: dict[str, Any], install_dir: Any = None) -> str:
        limits = bounds.Bounds(
            str(self.root) if install_dir is None else install_dir, str(self.home)
        )
        return limits.refusal({"origin": "made", **resource})

    def uninstall(
        self, *resources: dict[str, Any], phase: str = "directories", install_dir: Any = None
    ) -> dict[str, list[str]]:
        document = {
            "schema": 2,
            "phase": phase,
            "state": "done",
            "install_dir": str(self.root) if install_dir is None else install_dir,
            "resources": [{"origin": "made", **item} for item in resources],
        }
        assert receipt.write(str(self.state), document) is None
        return remove(str(self.state), str(self.home), purge=True)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def precious(place: Place, name: str = "photos") -> Path:
    """Make a folder of the user's own with a file in it."""
    folder = place.home / name
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "one.jpg").write_text("precious")
    return folder


# --- the install directory that the record names -------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "data"])
@pytest.mark.parametrize("path", ["", "/inner", "/inner/../inner", "/."])
def test_a_record_does_not_make_a_folder_of_the_users_an_install(
    place: Place, kind: str, path: str
) -> None:
    folder = precious(place)
    answer = place.uninstall({"kind": kind, "path": f"{folder}{path}"}, install_dir=str(folder))
    assert len(answer["left"]) == 1
    assert (folder / "inner" / "one.jpg").read_text() == "precious"


@pytest.mark.parametrize("kind", ["file", "model"])
def test_a_file_that_no_install_left_like_this_stays(place: Place, kind: str) -> None:
    folder = precious(place)
    photo = folder / "inner" / "one.jpg"
    resource = {"kind": kind, "path": str(photo), "sha256": "0" * 64, "size_bytes": 1}
    answer = place.uninstall(resource, install_dir=str(folder))
    assert len(answer["left"]) == 1
    assert photo.read_text() == "precious"


@pytest.mark.parametrize(
    "install_dir",
    [
        *("/", "/etc", "/etc/ssh", "/usr", "/usr/lib/python3", "/usr/bin", "/var", "/home"),
        *("/root", "/home/other", "/boot", "/proc/self", "/sys", "/run/user", "/srv", "/opt"),
        *("", ".", "relative/dir", "/srv/../etc", "/srv/ai/", "//srv/ai", "/srv/a\nb", "/srv/./ai"),
        *(None, 7, True, [], ["/srv/ai"], {"a": 1}, 1e400),
    ],
)  # fmt: skip
def test_no_directory_of_the_system_or_of_no_form_is_an_install(
    place: Place, install_dir: Any
) -> None:
    limits = bounds.Bounds(install_dir, str(place.home))
    for kind in ("file", "model", "tree", "data", "directory"):
        path = f"{install_dir}/passwd" if isinstance(install_dir, str) else "/srv/ai/passwd"
        assert limits.refusal({"kind": kind, "path": path, "origin": "made"})


def test_the_home_and_what_holds_it_are_no_install_even_with_a_mark(place: Place) -> None:
    for folder in (place.home, place.home.parent):
        document = {"schema": 1, "install_dir": str(folder), "made": []}
        (folder / install_mark.NAME).write_text(json.dumps(document))
        limits = bounds.Bounds(str(folder), str(place.home))
        assert "home" in limits.refusal({"kind": "file", "path": f"{folder}/x", "origin": "made"})


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user: needs root")
@pytest.mark.parametrize("is_marked", [False, True])
def test_a_directory_of_another_user_is_theirs_whatever_their_mark_says(
    place: Place, is_marked: bool
) -> None:
    if is_marked:
        place.mark()
        os.chown(place.root / install_mark.NAME, 65534, 65534)
    os.chown(place.root, 65534, 65534)
    (place.root / "engine" / "venv").mkdir(parents=True)
    (place.root / "engine" / "venv" / "pyvenv.cfg").write_text("")
    answer = place.uninstall({"kind": "tree", "path": str(place.root / "engine" / "venv")})
    assert "another user" in answer["left"][0]
    assert (place.root / "engine" / "venv" / "pyvenv.cfg").exists()


def test_a_marked_install_goes_whole(place: Place) -> None:
    """The right value: with the mark, everything that was recorded goes, whatever is in it."""
    place.mark()
    (place.root / "engine" / "venv").mkdir(parents=True)
    (place.root / "engine" / "venv" / "any").write_text("x")
    (place.root / "log").write_text("x")
    answer = place.uninstall(
        {"kind": "directory", "path": str(place.root)},
        {"kind": "directory", "path": str(place.root / "engine")},
        {"kind": "tree", "path": str(place.root / "engine" / "venv")},
        {"kind": "file", "path": str(place.root / "log")},
    )
    assert answer["left"] == []
    assert not place.root.exists()


def test_a_marked_install_one_level_below_the_root_or_home_is_ours(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_mark, "read", lambda path: {"made": []})
    for root in ("/ai", "/home/ai"):
        assert place.refusal({"kind": "file", "path": f"{root}/x"}, install_dir=root) == ""


# --- links, dots and mounts ----------------------------------------------------------------


def test_a_link_in_the_middle_leads_nowhere(place: Place) -> None:
    place.mark()
    folder = precious(place)
    (place.root / "data").symlink_to(folder)
    answer = place.uninstall(
        {"kind": "data", "path": str(place.root / "data" / "inner")},
        {"kind": "file", "path": str(place.root / "data" / "inner" / "one.jpg")},
    )
    assert len(answer["left"]) == 2
    assert (folder / "inner" / "one.jpg").read_text() == "precious"


def test_an_install_that_became_a_link_needs_its_mark_there(place: Place) -> None:
    place.mark()
    (place.root / "x").write_text("x")
    moved = place.home / "disk"
    place.root.rename(moved)
    place.root.symlink_to(moved)
    assert place.refusal({"kind": "file", "path": str(place.root / "x")}) == ""
    (moved / install_mark.NAME).unlink()
    assert place.refusal({"kind": "file", "path": str(place.root / "x")})


@pytest.mark.parametrize("path", ["{root}/../photos/one", "{root}/a/../../photos", "photos", "~/x"])
def test_dots_and_relative_paths_are_refused(place: Place, path: str) -> None:
    place.mark()
    for kind in ("file", "model", "tree", "data", "directory"):
        assert place.refusal({"kind": kind, "path": path.format(root=place.root)})


def test_a_mount_on_the_way_is_not_ours(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mark()
    (place.root / "data" / "inner").mkdir(parents=True)
    inner = place.root / "data" / "inner" / "one.jpg"
    inner.write_text("precious")
    resource = {"kind": "file", "path": str(inner)}
    assert place.refusal(resource) == ""
    monkeypatch.setattr(filesystems, "mount_points", lambda: ["/", str(place.root / "data")])
    assert "mount" in place.refusal(resource)
    # The install directory may well be a disk of its own.
    monkeypatch.setattr(filesystems, "mount_points", lambda: ["/", str(place.root)])
    assert place.refusal(resource) == ""


def test_mount_points_with_blanks_and_other_letters_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my disk"
    folder.mkdir()
    real = open

    def opened(path: Any, *args: Any, **more: Any) -> Any:
        if path != "/proc/self/mountinfo":
            return real(path, *args, **more)
        listed = tmp_path / "mountinfo"
        point = str(folder / "ü\u00a0x").replace(" ", "\\040")
        listed.write_text(f"36 35 98:0 / {point} rw - ext4 /dev/root rw\n")
        return real(listed, *args, **more)

    monkeypatch.setattr("builtins.open", opened)
    assert filesystems.mounts_below(str(folder)) == [str(folder / "ü\u00a0x")]


# --- outside the install directory -----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("/etc/systemd/system/dream-runner-engine.service", True),
        ("/etc/sysctl.d/99-dream-runner.conf", True),
        ("/etc/modprobe.d/dream-runner-amdgpu.conf", True),
        ("/etc/systemd/system/ssh.service", False),
        ("/etc/systemd/system/not-dream-runner-engine.service", False),
        ("/etc/systemd/system/dream-runner-engine.service.d/x.conf", False),
        ("/etc/sysctl.d/dream-runner", False),
        ("/etc/passwd", False),
        ("/etc/docker/daemon.json", False),
    ],
)
def test_files_of_the_system(place: Place, path: str, is_ours: bool) -> None:
    place.mark()
    assert (place.refusal({"kind": "file", "path": path}) == "") is is_ours


@pytest.mark.parametrize(
    "unit",
    [
        {"name": "ssh.service", "scope": "system"},
        {"name": "docker.service", "scope": "system"},
        {"name": "dream-runner.service.d", "scope": "system"},
        {"name": "--now", "scope": "system"},
        {"name": "dream-runner-engine.service", "scope": "global"},
        {"name": "x-dream-runner-engine.service", "scope": "user"},
    ],
)
def test_units_that_are_not_ours(place: Place, unit: dict[str, str]) -> None:
    place.mark()
    assert place.refusal({"kind": "unit", **unit})


def test_a_unit_of_another_install_is_theirs(place: Place) -> None:
    folder = place.home / ".config" / "systemd" / "user"
    folder.mkdir(parents=True)
    unit = {"kind": "unit", "name": "dream-runner-engine.service", "scope": "user"}
    file = {"kind": "file", "path": str(folder / "dream-runner-engine.service")}
    assert place.refusal(unit) == ""
    for text, is_ours in (
        (f"[Service]\nWorkingDirectory={place.root}\n", True),
        ("[Service]\nWorkingDirectory=/srv/their ai\n", False),
    ):
        (folder / "dream-runner-engine.service").write_text(text)
        assert (place.refusal(unit) == "") is is_ours
        assert (place.refusal(file) == "") is is_ours


def test_the_line_that_tells_a_units_install_stands_in_both_templates() -> None:
    for role, name in (("services", "engine"), ("models", "upgrade")):
        text = (ROOT / "roles" / role / "templates" / f"dream-runner-{name}.service.j2").read_text()
        assert "WorkingDirectory={{ dream_install_dir | replace('%', '%%') }}" in text


@pytest.mark.parametrize("user", ["root", "nobody", "daemon", ME])
def test_lingering_and_membership_are_the_accounts_own(place: Place, user: str) -> None:
    place.mark()
    is_me = user == ME
    assert (place.refusal({"kind": "linger", "user": user}) == "") is is_me
    assert (place.refusal({"kind": "group", "group": "docker", "user": user}) == "") is is_me
    assert place.refusal({"kind": "group", "group": "sudo", "user": user})


@pytest.mark.parametrize(
    "config", ["/etc/supervisor/supervisord.conf", "/home/other/ai/supervisor/supervisord.conf"]
)
def test_another_supervisor_is_not_stopped(place: Place, config: str) -> None:
    place.mark()
    resource = {"kind": "supervisor", "program": "engine"}
    assert place.refusal({**resource, "config": config})
    assert place.refusal({**resource, "config": f"{place.root}/supervisor/supervisord.conf"}) == ""


def test_options_are_taken_from_the_daemons_file_only(place: Place) -> None:
    place.mark()
    resource = {"kind": "options", "set": {"log-driver": "json-file"}}
    assert place.refusal({**resource, "path": daemon_options.DAEMON_FILE}) == ""
    assert place.refusal({**resource, "path": "/etc/docker/key.json"})
    assert place.refusal({**resource, "path": daemon_options.DAEMON_FILE, "set": ["x"]})


@pytest.mark.parametrize(
    "name", ["python3", "python3.11-minimal", "sudo", "openssh-server", "systemd", "docker-ce"]
)
def test_packages_that_the_host_lives_by_stay_although_a_mark_lists_them(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mark(["package", name])
    asked: list[Any] = []
    monkeypatch.setattr(removal, "plan", lambda names: asked.append(names))
    monkeypatch.setattr(package, "installed", frozenset)
    answer = place.uninstall({"kind": "package", "name": name}, phase="requirements")
    assert asked == []
    assert answer["kept"] == [f"package {name} (the host needs it)"]


def test_packages_go_if_a_role_installs_them_or_the_mark_lists_them(place: Place) -> None:
    place.mark(["package", "jq"])
    wanted = {"libgomp1": True, "jq": True, "htop": False, "--purge": False, "a b": False}
    for name, is_ours in wanted.items():
        assert (place.refusal({"kind": "package", "name": name}) == "") is is_ours


def test_the_packages_known_by_name_are_those_of_the_role() -> None:
    text = (ROOT / "roles" / "requirements" / "vars" / "debian.yml").read_text()
    assert set(yaml.safe_load(text)["__requirements_packages"].values()) == bounds.PACKAGES


@pytest.mark.parametrize(
    ("reference", "also", "is_ours"),
    [
        (f"ghcr.io/x/engine@{DIGEST}", None, True),
        (f"ghcr.io/x/engine@{DIGEST}", DIGEST, True),
        (f"ghcr.io/x/theirs@{DIGEST}", None, False),
        ("postgres:16", None, False),
        ("postgres", DIGEST, False),
        (f"ghcr.io/x/engine@{DIGEST}", "postgres:16", False),
        ("--force", None, False),
    ],
)
def test_images(place: Place, reference: str, also: str | None, is_ours: bool) -> None:
    place.mark(["image", f"ghcr.io/x/engine@{DIGEST}"])
    resource = {"kind": "image", "reference": reference, "also": also}
    assert (place.refusal(resource) == "") is is_ours


def test_containers_networks_and_volumes_of_other_projects(place: Place) -> None:
    place.mark()
    for project, is_ours in {"dream-runner": True, "nextcloud": False, "dream": False}.items():
        box = {"kind": "container", "project": project, "service": "web"}
        assert (place.refusal(box) == "") is is_ours
        for kind in ("network", "volume"):
            resource = {"kind": kind, "name": f"{project}_data"}
            assert (place.refusal(resource) == "") is is_ours


def test_the_projects_are_those_of_the_catalogue_and_of_the_trial() -> None:
    catalogue = yaml.safe_load((ROOT / "dream_runner" / "catalog" / "services.yml").read_text())
    assert {catalogue["project"], "dream-runner-trial"} == set(bounds.PROJECTS)


@pytest.mark.parametrize(
    ("directory", "is_ours"),
    [("{root}", True), ("{root}/upgrade", True), ("/srv/other", False), ("{root}-2", False)],
)
def test_a_container_of_our_name_from_another_directory_is_theirs(
    place: Place, monkeypatch: pytest.MonkeyPatch, directory: str, is_ours: bool
) -> None:
    found = [{"service": "web", "directory": directory.format(root=place.root), "id": "1"}]
    monkeypatch.setattr(project_containers, "look", lambda command, project: found)
    box = {"kind": "container", "project": "dream-runner", "service": "web"}
    assert (engine_objects.of_another_install(box, str(place.root)) == "") is is_ours


def test_a_volume_of_our_name_without_our_label_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = {"kind": "volume", "name": "dream-runner_data"}
    for labels, is_ours in (
        ({"com.docker.compose.project": "dream-runner"}, True),
        ({"com.docker.compose.project": "nextcloud"}, False),
        (None, False),
    ):
        known = [{"Name": "dream-runner_data", "Labels": labels}]
        monkeypatch.setattr(compose_project.engine, "inspect", lambda *_, known=known: known)
        assert (engine_objects.of_another_install(volume, "/srv/ai") == "") is is_ours


def test_every_kind_of_resource_has_a_rule() -> None:
    assert set(bounds.RULES) == set(receipt.IDENTITY)


# --- what else acts on records ---------------------------------------------------------------


def test_packages_of_another_directory_are_neither_put_back_nor_let_go(place: Place) -> None:
    folder = precious(place)
    (place.home / "photos.former").mkdir()
    (place.home / "photos.former" / "old.jpg").write_text("precious")
    receipts = {
        "services": {
            "install_dir": str(place.home),
            "resources": [{"kind": "tree", "path": str(folder), "origin": "made"}],
        }
    }
    assert last_good.put_trees_back(receipts, str(place.home)) == []
    assert last_good.keep(str(place.state), receipts, {}, str(place.home)) == []
    assert (folder / "inner" / "one.jpg").read_text() == "precious"
    assert (place.home / "photos.former" / "old.jpg").read_text() == "precious"


def test_a_manifest_does_not_put_files_anywhere(place: Place) -> None:
    target = place.home / ".bashrc"
    target.write_text("mine")
    original = {"mode": "0644", "uid": os.getuid(), "gid": os.getgid(), "sha256": "0" * 64}
    item = {"kind": "file", "path": str(target), "original": original}
    kept = {"install_dir": str(place.root), "files": [item]}
    assert last_good.differing(kept, str(place.home)) == []
    inside = dict(item, path=str(place.root / "config.json"))
    assert last_good.differing(dict(kept, files=[inside]), str(place.home)) == [inside]
