"""The user's pages say what the program does: every setting. Codes: tests/unit/errors."""

import re
from pathlib import Path

from dream_runner import paths
from dream_runner.settings import SETTINGS, Setting

ROOT = paths.PACKAGE.parent
USER = ROOT / "docs" / "user"


def settings_tables() -> str:
    """Return the tables of docs/user/settings.md as the program has them."""
    groups = dict.fromkeys(setting.group for setting in SETTINGS)
    return "\n".join(f"## {group}\n\n{_table(group)}" for group in groups)


def _table(group: str) -> str:
    rows = [_row(setting) for setting in SETTINGS if setting.group == group]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows, ""])


def _row(setting: Setting) -> str:
    words = ", ".join(f"`{flag}`" for flag in (setting.flag, *setting.flags))
    value = setting.metavar.replace("|", " ") if setting.form != "boolean" else ""
    return (
        f"| {words}{f' *{value}*' if value else ''} | {_words(setting.default)} | {setting.help} |"
    )


def _words(default: object) -> str:
    return "no" if default is False else "none" if default in ("", []) else str(default)


def test_the_settings_page_is_complete() -> None:
    assert (USER / "settings.md").read_text().endswith(settings_tables())


def anchors(page: Path) -> set[str]:
    """Return the places of a page that a link can name."""
    text = page.read_text()
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            place = page.parent / name if name else page
            assert place.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(place), f"{page.name}: {target}"
