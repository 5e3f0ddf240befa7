"""The report in a real browser: it draws, it complains of nothing, it reaches out to nobody.

The pictures are kept in DREAM_TEST_ARTIFACTS where that is set, to be looked at.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dream_runner.report import page, read
from unit.report import samples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--enable-logging=stderr", "--v=0"),
)
#: The page asks for no network, and this browser has none.
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"


@pytest.fixture(autouse=True)
def _needs_chromium() -> None:
    """Skip on a desk without it; in CI this must run."""
    if CHROMIUM is None and os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail("no browser in CI: apt-get install chromium")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")


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
    browse(tmp_path, *dark, f"--window-size={size}", f"--screenshot={picture}")
    # A blank page of this size takes a tenth of that.
    assert picture.stat().st_size > 30_000


def test_hundreds_of_hosts_print_on_few_sheets(tmp_path: Path) -> None:
    run = read.read(samples.fleet(tmp_path / "run", 300))
    (tmp_path / "report.html").write_text(page.render(run), encoding="utf-8")
    paper = artifacts(tmp_path) / "report-fleet-300.pdf"
    browse(tmp_path, f"--print-to-pdf={paper}")
    sheets = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    # With all that is folded it would be some thirty.
    assert 2 <= sheets <= 10


def test_a_page_that_complains_is_found_out(tmp_path: Path) -> None:
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    for body in ("<script>console.error('no')</script>", policy + "<img src=http://x.test/a>"):
        (tmp_path / "report.html").write_text(f"<!doctype html>{body}")
        with pytest.raises(AssertionError, match="CONSOLE"):
            browse(tmp_path, f"--screenshot={tmp_path / 'x.png'}")


def browse(folder: Path, *words: str) -> None:
    """Have the browser show ``report.html``, and assert that it complains of nothing."""
    ended = subprocess.run(
        [
            str(CHROMIUM), *QUIET, NOWHERE, f"--user-data-dir={folder / 'profile'}", *words,
            f"file://{folder}/report.html",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    complaints = re.findall(r".*(?:CONSOLE|Content Security Policy|Refused).*", ended.stderr)
    assert not complaints, complaints


def artifacts(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("DREAM_TEST_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
