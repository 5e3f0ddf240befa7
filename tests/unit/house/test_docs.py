"""The pages agree with the program: settings, checks, services. Codes: tests/unit/errors."""

import re
from pathlib import Path

import pytest

from dream_runner import catalog, paths
from dream_runner.commands import doctor
from dream_runner.diagnose import checks
from dream_runner.settings.table import SETTINGS, Setting

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


#: A file or folder of this tree: a Python file, or a path that begins with a root.
_PLACE = re.compile(
    r"`([\w/.-]+\.py|(?:dream_core|dream_runner|library|playbooks|roles|scripts|tests)/[\w/.-]+)[`:]"
)


def test_files_that_the_developers_pages_name_exist() -> None:
    roots = ("docs", "dream_runner", "library", "playbooks", "roles", "scripts", "tests")
    tree = {f"/{path.relative_to(ROOT)}" for root in roots for path in (ROOT / root).rglob("*")}
    known = {path[at:] for path in tree for at, sign in enumerate(path) if sign == "/"}
    for page in (ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "developer").glob("*.md")):
        named = {f"/{name.rstrip('/')}" for name in _PLACE.findall(page.read_text())}
        assert named - known == set(), page.name


def test_the_contracts_list_every_module() -> None:
    page = (ROOT / "docs" / "developer" / "contracts.md").read_text()
    section = page.partition("\n## Modules\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    files = [*(ROOT / "library").glob("*.py"), *(paths.PACKAGE / "plugins" / "action").glob("*.py")]
    assert sorted(listed) == sorted({path.stem for path in files})


#: Pages that answer one question, in the reader's minute.
ANSWERS = (
    *("another-computer", "api-key", "my-own-model", "stop-and-start", "logs"),
    *("back-up", "move", "behind-a-proxy", "amd", "index"),
)


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (USER / "index.md").read_text()))
    assert linked == {page.name for page in USER.glob("*.md")} - {"index.md"}


def test_a_page_that_answers_begins_with_its_question_and_a_command() -> None:
    for name in ANSWERS:
        lines = (USER / f"{name}.md").read_text().splitlines()
        assert re.fullmatch(r"# .+\?", lines[0]), name
        assert name == "index" or "```" in lines[:7], name
        assert [line for line in lines if len(line) > 110] == [], name


SERVICES = "roles/services/vars/main.yml"
MODELS = "roles/models/vars/main.yml"
ENGINE = "playbooks/group_vars/all/engine.yml"


@pytest.mark.parametrize(
    ("made_in", "what", "page", "named"),
    [
        (SERVICES, "/logs/engine.log", "logs", "`logs/engine.log`"),
        (MODELS, "/logs/upgrade.log", "logs", "`logs/upgrade.log`"),
        (SERVICES, "supervisord.log", "logs", "`supervisor/supervisord.log`"),
        (ENGINE, "dream-runner-engine.service", "logs", "--unit dream-runner-engine"),
        (ENGINE, "dream-runner-engine.service", "stop-and-start", "stop dream-runner-engine"),
        (ENGINE, "program: engine", "stop-and-start", "supervisord.conf stop engine"),
        (MODELS, "dream-runner-upgrade.service", "logs", "`dream-runner-upgrade`"),
        (
            SERVICES,
            "/supervisor/supervisord.conf",
            "stop-and-start",
            "-c supervisor/supervisord.conf",
        ),
    ],
)
def test_what_a_page_names_is_what_a_role_writes(
    made_in: str, what: str, page: str, named: str
) -> None:
    """A reader must find each log and unit under the name that the page gives."""
    assert what in (ROOT / made_in).read_text()
    assert named in (USER / f"{page}.md").read_text()


#: A line that cannot be broken: a row of a table, an image, or a heading.
_WHOLE = ("|", "!", "#")


def too_long(page: Path) -> list[str]:
    """Return the lines of a page, code included, that have more than 110 characters."""
    lines = page.read_text().splitlines()
    return [line for line in lines if len(line) > 110 and not line.startswith(_WHOLE)]


def test_lines_have_at_most_110_characters() -> None:
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    found = {str(page.relative_to(ROOT)): too_long(page) for page in pages}
    assert {name: lines for name, lines in found.items() if lines} == {}


def table(page: str) -> dict[str, list[str]]:
    """Return the rows of the first table of a user's page: other cells by the first one."""
    text = (USER / f"{page}.md").read_text()
    found = re.search(r"^\|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert found, page
    rows = [line.strip("| ").split(" | ") for line in found.group().splitlines()[2:]]
    return {row[0]: [cell.strip() for cell in row[1:]] for row in rows}


def test_the_services_page_agrees_with_the_catalogue() -> None:
    loaded = catalog.load().services
    listed = table("services")
    known = {item["id"]: item for item in loaded["services"]}
    own = {name for name, item in known.items() if not item.get("part_of")}
    assert own <= set(listed) <= set(known)
    for name, (_, _, port, lan, _, image) in listed.items():
        ports = known[name].get("ports") or []
        assert image == f"`{known[name]['image']}`", name
        assert port == (", ".join(str(item["host"]) for item in ports) or "none"), name
        is_open = any(item["exposure"] == "page" for item in ports)
        assert lan == ("open" if is_open else "closed" if ports else "no port"), name
    page = (USER / "services.md").read_text()
    for item in loaded["not_included"]:
        assert re.search(rf"\b{item['id']}\b", page), item["id"]


def test_the_doctors_page_lists_every_check() -> None:
    sources = ("commands/doctor.py", "diagnose/checks.py", "diagnose/host_checks.py")
    named = {"features", *checks.CHECKS, *doctor.CHECKS}
    for name in sources:
        text = (paths.PACKAGE / name).read_text()
        named |= set(re.findall(r'Finding\(\s*"([a-z-]+)"', text))
    ids = re.findall(r"`([a-z-]+)`", " ".join(table("doctor")))
    assert sorted(ids) == sorted(named)
