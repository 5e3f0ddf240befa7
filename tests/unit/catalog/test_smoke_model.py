"""The shipped model is what its script makes, and says what it is."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from dream_runner import paths

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_smoke_model.py"
SHIPPED = paths.catalog() / "smoke.gguf"


def test_same_bytes_every_time(tmp_path: Path) -> None:
    made = tmp_path / "smoke.gguf"
    subprocess.run([sys.executable, str(SCRIPT), "--output", str(made)], check=True, timeout=60)
    assert made.read_bytes() == SHIPPED.read_bytes()
    pin = json.loads((paths.catalog() / "smoke.gguf.json").read_text())
    assert pin == {
        "sha256": hashlib.sha256(SHIPPED.read_bytes()).hexdigest(),
        "size_bytes": SHIPPED.stat().st_size,
    }
    assert json.loads(Path(f"{made}.json").read_text()) == pin


def test_it_says_that_it_knows_nothing() -> None:
    head = SHIPPED.read_bytes()[:4096].decode("utf-8", "replace")
    assert head.startswith("GGUF")
    assert "smoke-test model (random weights)" in head
    assert "the answers mean nothing" in head


def test_check_tells_a_changed_file(tmp_path: Path) -> None:
    made = tmp_path / "smoke.gguf"
    made.write_bytes(SHIPPED.read_bytes()[:-1] + b"\1")
    Path(f"{made}.json").write_text((paths.catalog() / "smoke.gguf.json").read_text())
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check", "--output", str(made)], check=False, timeout=60
    )
    assert done.returncode == 1
