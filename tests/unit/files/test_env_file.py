"""Merging the environment file: what a person wrote stays, secrets never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_runner.module_utils.dream_core.files import env_file, env_file_merge

SECRETS = {"A_SECRET": "hex:8", "B_SECRET": "sk-|hex:8"}
MANAGED = {"PORT": "1"}


def merged(text: str, managed: dict[str, str] | None = None) -> env_file_merge.Merged:
    return env_file_merge.merge(
        text, managed=managed or MANAGED, defaults={"TZ": "UTC"}, secrets=SECRETS
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300))
def test_whatever_stands_there_the_second_merge_asks_for_nothing(text: str) -> None:
    once = merged(text)
    again = merged(once.text)
    assert again.text == once.text
    assert not again.added + again.updated + again.generated


@given(st.text("ab=# \"'\t\r\x0b\u2028export$", max_size=60))
def test_a_line_that_is_not_ours_stays_to_the_byte(line: str) -> None:
    assert merged(f"KEPT=1\n{line}\nLAST=1\n").text.split("\n")[1] == line


def test_unmanaged_separators_do_not_break_lines() -> None:
    assert "X=a\x0bb\u2028c" in merged("X=a\x0bb\u2028c\n").text.split("\n")


def test_secrets_stay_through_every_change() -> None:
    first = env_file.parse(merged("").text)
    second = env_file.parse(merged(merged("").text, {"PORT": "2"}).text)
    assert second["PORT"] == "2"
    third = env_file.parse(merged(merged("A_SECRET=mine\n").text, {"PORT": "3"}).text)
    assert third["A_SECRET"] == "mine"
    assert first["B_SECRET"].startswith("sk-")
    assert first["A_SECRET"] != second["A_SECRET"]


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        ("", "nothing"),
        ("MINE=1\n", "all"),
        ("A_SECRET=a\nMINE=1\n", "one"),
        ("A_SECRET=a\nB_SECRET=\n", "value"),
    ],
)
def test_recovered_from_the_backup(now: str, lost: str) -> None:
    backup = "OLD=1\nA_SECRET=a\nB_SECRET=b\n"
    values = env_file.parse(env_file_merge.recover(now, backup, SECRETS))
    assert (values["A_SECRET"], values["B_SECRET"]) == ("a", "b"), lost
    assert ("OLD" in values) == ("A_SECRET" not in now)


@pytest.mark.parametrize("form", ["hex:8", "base64:16", "sk-|hex:8"])
def test_forms(form: str) -> None:
    assert env_file_merge.secret(form) != env_file_merge.secret(form)
    assert env_file_merge.PLAIN.match(env_file_merge.secret(form))


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_windows_editor_adds_changes_no_secret(mark: str, end: str) -> None:
    text = f"{mark}WEBUI_SECRET=old-secret-in-use{end}MY_KEY='a b'{end}"
    merged = env_file_merge.merge(
        text, managed={"A": "1"}, defaults={}, secrets={"WEBUI_SECRET": "hex:8"}
    )
    assert merged.generated == ()
    assert env_file.parse(merged.text)["WEBUI_SECRET"] == "old-secret-in-use"
    assert env_file.parse(merged.text)["MY_KEY"] == "a b"
    again = env_file_merge.merge(merged.text, managed={"A": "1"}, defaults={}, secrets={})
    assert not again.changed_from(merged.text)
    assert env_file_merge.missing_secrets(text, {"WEBUI_SECRET": "hex:8"}) == []
    recovered = env_file_merge.recover(mark + "MY_KEY=1" + end, text, {"WEBUI_SECRET": "hex:8"})
    assert env_file.parse(recovered)["WEBUI_SECRET"] == "old-secret-in-use"
