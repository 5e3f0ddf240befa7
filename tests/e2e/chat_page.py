"""Use the chat page as a person does: open it in a browser, type a question, read the answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium")

#: Chromium looks for updates and for Google at its start; nothing may leave this machine.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions"),
)
#: A small model on two busy cores.
ANSWER_SECONDS = 180


def require_chromium() -> None:
    """Skip on a desk without Chromium; fail in CI, which installs it."""
    if CHROMIUM is None and os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail("chromium is missing: apt-get install chromium")
    if CHROMIUM is None:
        pytest.skip("apt-get install chromium")


@contextmanager
def opened(url: str, width: int = 1000, height: int = 640) -> Iterator[Page]:
    """Open ``url`` in headless Chromium of ``width`` by ``height`` pixels; close it afterwards."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(url, wait_until="load")
            yield page
        finally:
            browser.close()


def enter_key(page: Page, key: str) -> None:
    """Give the page the API key that it asks for."""
    page.get_by_role("button", name="Enter API Key").click()
    box = page.get_by_placeholder("Enter your API key")
    box.fill(key)
    # The page reloads with the key; text that is typed before that is lost.
    with page.expect_response(lambda answer: "/v1/models" in answer.url and answer.ok):
        box.press("Enter")


def ask(page: Page, question: str) -> str:
    """Type a question into llama.cpp's own page and return the text of the finished answer."""
    box = page.get_by_role("textbox").first
    box.wait_for(timeout=30_000)
    box.fill(question)
    box.press("Enter")
    answer = page.get_by_label("Assistant message with actions").last
    answer.locator(".markdown-content").first.wait_for(timeout=ANSWER_SECONDS * 1000)
    # The button is there for as long as the model writes.
    stop = page.get_by_label("Stop generation")
    stop.wait_for(state="detached", timeout=ANSWER_SECONDS * 1000)
    return answer.locator(".markdown-content").first.inner_text().strip()


def take_picture(page: Page, path: Path) -> None:
    """Write what the page shows as a PNG file."""
    page.screenshot(path=str(path))
