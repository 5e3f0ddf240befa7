"""The report in a real browser: it draws, it complains of nothing, it reaches out to nobody.

The pictures are kept in DREAM_TEST_ARTIFACTS where that is set, to be looked at.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import samples

from dream_runner.html import page, read

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--enable-logging=stderr", "--v=0"),
)
#: The page asks for no network, and this browser has none.
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize(
    ("name", "size", "is_dark"),
    [
        ("one", "1200,2600", False),
        ("one", "420,2600", True),
        ("fleet", "1200,2600", True),
        ("fleet", "420,2600", False),
    ],
)
def test_it_draws_without_complaint(name: str, size: str, is_dark: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = samples.one(folder, fails_in="health") if name == "one" else samples.fleet(folder, 20)
    (tmp_path / "report.html").write_text(page.render(read.read(run)), encoding="utf-8")
    picture = artifacts(tmp_path) / f"report-{name}-{size}{'-dark' if is_dark else ''}.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if is_dark else []
    ended = subprocess.run(
        [
            str(CHROMIUM), *QUIET, NOWHERE, *dark, f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={size}", f"--screenshot={picture}", f"file://{tmp_path}/report.html",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not re.findall(r".*(?:CONSOLE|Content Security Policy|Refused).*", ended.stderr)
    # A blank page of this size takes a tenth of that.
    assert picture.stat().st_size > 30_000


def artifacts(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("DREAM_TEST_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
