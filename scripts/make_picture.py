"""Write docs/chat.png: the chat page of a real install, with an answer of the small model.

    python scripts/make_picture.py

Installs this checkout with the small model into a temporary HOME, asks one question in headless
Chromium, uninstalls and keeps the picture. Needs the package index and Chromium. An
end-to-end test uses the page in the same way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "chat.png"
QUESTION = "What is the capital of France?"


def main() -> None:
    """Install, ask, take the picture, uninstall."""
    sys.path.insert(0, str(ROOT / "tests"))
    from e2e.chat_page import ask, opened, take_picture

    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home}
        run("install", "--yes", "--model", "small", "--json", environment=environment)
        try:
            status = json.loads(run("status", "--json", environment=environment))
            with opened(status["access"]["chat"], height=560) as page:
                print(ask(page, QUESTION))
                take_picture(page, PICTURE)
        finally:
            run("uninstall", "--purge", "--yes", environment=environment)


def run(*words: str, environment: dict[str, str]) -> str:
    """Run the program of this checkout and return its output; raise if it fails."""
    command = [sys.executable, "-m", "dream_runner", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


if __name__ == "__main__":
    main()
