"""How documents are printed: nothing is folded or cut where it is piped, and nothing is a formula or a markup."""

import csv
import io
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bqgate.cli.tables import print_csv, print_list, print_one, shown_usd

KEY: dict[str, Any] = {
    "id": "0123456789abcdef",
    "principal": "ann@acme.example",
    "created_at": "2026-11-24T12:00:00.123456Z",
    "reason": "a long sentence about why this was done, which takes more than one line of a narrow terminal",
    "job": f"acme-prod:US.bqjob_r{'5' * 40}_1",
}
COLUMNS = tuple(KEY)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Iterator[list[str]]:
    """Standard output as a terminal of some width; the lines that came there, once it is closed."""
    lines: list[str] = []
    master, slave = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(columns))
    with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield lines
        stream.flush()
        lines += os.read(master, 65_536).decode().replace("\r\n", "\n").splitlines()
    os.close(master)


def test_a_pipe_has_a_line_for_each_item(capsys: pytest.CaptureFixture[str]) -> None:
    """However long a cell is; each column begins at the same place, and an empty cell is one word."""
    other: dict[str, Any] = {
        "id": "f" * 16,
        "principal": None,
        "created_at": KEY["created_at"],
        "reason": "",
        "job": KEY["job"],
    }
    print_list([KEY, other], COLUMNS, as_json=False)
    heading, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("0123456789abcdef  ann@acme.example  2026-11-24T12:00:00Z  a long sentence")
    assert first.endswith(KEY["job"])
    assert second.split() == ["f" * 16, "-", "2026-11-24T12:00:00Z", "-", KEY["job"]]
    assert heading.index("created_at") == first.index("2026") == second.index("2026")


def test_numbers_stand_to_the_right_and_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """So that amounts can be compared, whatever customers are called."""
    rows: list[dict[str, Any]] = [
        {"who": "日本", "usd": "9.80"},
        {"who": "acme", "usd": "1200.00"},
        {"who": "x", "usd": None},
    ]
    print_list(rows, ("who", "usd"), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "who       usd",
        "日本     9.80",
        "acme  1200.00",
        "x           -",
    ]


def test_a_wide_terminal_has_the_same_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One style, on a terminal and in a pipe."""
    print_list([KEY], COLUMNS, as_json=False)
    piped = capsys.readouterr().out.splitlines()
    with terminal(monkeypatch, 300) as lines:
        print_list([KEY], COLUMNS, as_json=False)
    assert lines == piped


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_a_narrow_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Each item is a paragraph; sentences are folded between words, ids and dates nowhere."""
    with terminal(monkeypatch, columns) as lines:
        print_list([KEY, KEY], COLUMNS, as_json=False)
    words = [word for line in lines for word in line.split()]
    assert words.count(KEY["id"]) == words.count(KEY["job"]) == words.count("2026-11-24T12:00:00Z") == 2
    assert lines.count("") == 1
    assert all(len(line) <= columns or len(line.split()) == 1 for line in lines)


def test_one_item_is_shown_a_line_a_member(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What says nothing is left out."""
    item: dict[str, Any] = KEY | {"nothing": None, "none": [], "empty": ""}
    print_one(item, as_json=False)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(COLUMNS)
    with terminal(monkeypatch, 40) as lines:
        print_one(item, as_json=False)
    assert all(len(line) <= 40 or len(line.split()) == 1 for line in lines)


@pytest.mark.parametrize("name", ["[acme-prod]", "[bold]x[/bold]", ":smile:"])
def test_a_name_is_no_markup(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Brackets are brackets."""
    print_list([{"name": name}], ("name",), as_json=False)
    assert capsys.readouterr().out == f"name\n{name}\n"


def test_a_name_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are replaced."""
    print_list([{"name": "a\x1b[2Jb\nc"}], ("name",), as_json=False)
    assert capsys.readouterr().out == "name\na\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\n"


@pytest.mark.parametrize(
    "name", ["=1+1", '=HYPERLINK("http://x";"y")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\uff1d1+1"]
)
def test_no_cell_of_csv_is_a_formula(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Text of callers is text in a spreadsheet, too."""
    print_csv([{"name": name, "cost_usd": "-0.30"}], ("name", "cost_usd"))
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1] == [f"'{name}", "-0.30"]


def test_csv_is_what_the_rfc_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines end with CR LF, and cells with commas or quotes are quoted."""
    print_csv([{"a": 'x, "y"', "b": None}], ("a", "b"))
    assert capsys.readouterr().out == 'a,b\r\n"x, ""y""",\r\n'


def test_amounts_are_shown_in_cents() -> None:
    """What the API tells exactly is rounded for people: costs up, limits down; little is not nothing."""
    assert [shown_usd(text) for text in ("9.800000001", "9.80", "0.0000012345", "-0.30", None)] == [
        "9.81",
        "9.80",
        "0.00000124",
        "-0.30",
        None,
    ]
    assert shown_usd("9.809", rounds_up=False) == "9.80"
