"""The filters that roles describe their resources with."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from dream_runner.plugins.filter.dream_parts import parts
from dream_runner.plugins.filter.dream_resources import FilterModule, resources


def test_paths_become_files() -> None:
    assert resources(["/a", "/b"], "file", mode="0644") == [
        {"kind": "file", "path": "/a", "mode": "0644"},
        {"kind": "file", "path": "/b", "mode": "0644"},
    ]


def test_what_has_no_path_has_a_name() -> None:
    assert resources(("x",), "package") == [{"kind": "package", "name": "x"}]
    assert resources(["x"], "group", key="group") == [{"kind": "group", "group": "x"}]


def test_dictionaries_keep_their_parts() -> None:
    item = {"path": "/a", "mode": "0700"}
    assert resources([item], "directory") == [{"kind": "directory", "path": "/a", "mode": "0700"}]
    assert resources([{**item, "kind": "x"}], "data", owner="me")[0] == {
        "kind": "data", "path": "/a", "mode": "0700", "owner": "me"
    }  # fmt: skip
    assert item == {"path": "/a", "mode": "0700"}


def test_a_file_in_a_folder() -> None:
    item = {"file": "m.gguf", "sha256": "0", "urls": ["u"]}
    found = resources(parts([item], "file", "sha256"), "model", folder="/models", coming=True)
    assert found == [{"kind": "model", "path": "/models/m.gguf", "sha256": "0", "coming": True}]


def test_nothing_becomes_nothing() -> None:
    assert resources([], "file") == []
    assert parts([], "file") == []


@pytest.mark.parametrize("items", ["/etc/passwd", {"path": "/etc/passwd"}])
def test_one_text_is_not_a_list_of_its_letters(items: object) -> None:
    with pytest.raises(AnsibleFilterError, match="needs a list"):
        FilterModule().filters()["dream_resources"](items, "file")


def test_a_part_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        parts([{"file": "a"}], "size_bytes")
