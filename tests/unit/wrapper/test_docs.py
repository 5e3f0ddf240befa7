"""The user's pages say what the program does: every setting, and every error code."""

import re
from pathlib import Path

from dream_runner import paths, report
from dream_runner.module_utils.dream_core.errors import DreamError
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


#: A row of the page: the anchor that errors point at, and the code.
_ENTRY = re.compile(r"""^\| (?:<a id="([A-Z0-9_]+)"></a>)?`([A-Z0-9_]+)` \|""", re.MULTILINE)


def test_every_error_code_has_its_entry() -> None:
    listed = {code for _, code in _ENTRY.findall((USER / "troubleshooting.md").read_text())}
    assert codes() - listed == set(), "add these to docs/user/troubleshooting.md"


def test_every_entry_is_where_its_error_points() -> None:
    entries = _ENTRY.findall((USER / "troubleshooting.md").read_text())
    lost = [code for anchor, code in entries if anchor != code]
    assert lost == [], 'begin these rows with | <a id="CODE"></a>`CODE` |'
    names = [code for _, code in entries]
    assert len(names) == len(set(names))


def test_every_printed_error_names_its_place() -> None:
    for code in codes():
        line = report.error_text(DreamError("it went wrong", code=code)).splitlines()[-1]
        name, page, anchor = re.fullmatch(r"  (docs): (.+)#(.+)", line).groups()  # type: ignore[union-attr]
        assert (name, anchor) == ("docs", code)
        assert f'<a id="{code}"></a>' in Path(page).read_text()


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in USER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (Path(page).parent / target).exists(), f"{page.name}: {target}"
