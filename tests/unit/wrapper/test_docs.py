"""The user's pages say what the program does: every setting, and every error code."""

import re
from pathlib import Path

from dream_runner import paths
from dream_runner.settings import SETTINGS, Setting

ROOT = paths.PACKAGE.parent
USER = ROOT / "docs" / "user"
#: The ways in which the sources name a code: a keyword, a rule of outcome.py, a fault of a source.
_CODES = (
    re.compile(r"""code[=:] ?["']([A-Z][A-Z0-9_]{3,})["']"""),
    re.compile(r"""(?:Error|Degraded|RebootRequired),\s+"([A-Z][A-Z_]{3,})\""""),
    re.compile(r"""SourceFault\(\s*"([A-Z][A-Z_]{3,})\""""),
)


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


def codes() -> set[str]:
    """Return every error code that the sources can give."""
    files = (
        path
        for directory in ("dream_runner", "library", "roles")
        for path in (ROOT / directory).rglob("*")
        if path.suffix in (".py", ".yml") and path.is_file()
    )
    return {code for path in files for rule in _CODES for code in rule.findall(path.read_text())}


def test_every_error_code_has_its_entry() -> None:
    page = (USER / "troubleshooting.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", page, re.MULTILINE))
    assert codes() - listed == set(), "add these to docs/user/troubleshooting.md"


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in USER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (Path(page).parent / target).exists(), f"{page.name}: {target}"
