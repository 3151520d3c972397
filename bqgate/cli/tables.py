"""Print documents of the control plane: as tables for people, as JSON and CSV for programs.

Used by every command that asks a running gate. A table is columns of plain text, a row a line, and nothing in it is
folded or cut: ids, dates and amounts can be copied and piped. On a terminal that is too narrow for it each item becomes
a paragraph, a line for each of its members. Names come from whoever chose them, so nothing in them is taken for markup,
for a terminal's control sequence, or for a spreadsheet's formula.
"""

import csv
import io
import json
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from bqgate.domain.money import NANOS_PER_USD, show_usd

_GAP = "  "
_NOTHING = "-"  # so that a row has as many words as its table has columns
_NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?%?")
_FRACTION = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d+(?=Z$)")
# What makes a spreadsheet take a cell for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV (RFC 4180), for spreadsheets.")]


def print_list(items: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """One row for each item, one column for each of its members that is named; JSON has all members."""
    if as_json:
        print_json(items)
        return
    rows = [[shown(item.get(column)) or _NOTHING for column in columns] for item in items]
    _print(columns, rows)


def print_one(item: Mapping[str, Any], *, as_json: bool) -> None:
    """One line for each member of an item that says something."""
    if as_json:
        print_json(item)
        return
    said = {name: shown(value) for name, value in item.items() if value is not None and value not in ([], {}, "")}
    typer.echo("\n".join(paragraph(list(said), list(said.values()), width=_width())))


def print_json(content: object) -> None:
    """JSON to read and to parse."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_csv(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A line of headings, and one for each item, as spreadsheets and RFC 4180 want them."""
    text = io.StringIO()
    writer = csv.writer(text)  # its lines end as the RFC says, and cells with commas, quotes and lines are quoted
    writer.writerow(columns)
    writer.writerows([[_csv_cell(item.get(column)) for column in columns] for item in items])
    typer.echo(text.getvalue(), nl=False)


def shown(value: object) -> str:
    """A value in a cell: words for true and false, nothing for null, lists with commas, moments to the second."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(shown(each) for each in value)
        case dict():
            return " ".join(f"{name}={shown(each)}" for name, each in value.items() if each not in (None, ""))
        case _:
            text = _FRACTION.sub("", str(value))
            return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def shown_usd(text: str | None, *, rounds_up: bool = True) -> str | None:
    """An amount of the API's, which is exact, as people read it; domain.money.show_usd says how it is rounded."""
    return None if text is None else show_usd(int(Decimal(text) * NANOS_PER_USD), rounds_up=rounds_up)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: columns as wide as their widest cell, numbers to the right."""
    columns = list(zip(headings, *rows, strict=True))
    shapes = [(max(map(_cells, column)), _is_of_numbers(column[1:])) for column in columns]
    lines = []
    for row in (headings, *rows):
        cells = []
        for cell, (width, is_number) in zip(row, shapes, strict=True):
            room = " " * (width - _cells(cell))
            cells.append(room + cell if is_number else cell + room)
        lines.append(_GAP.join(cells).rstrip())
    return lines


def paragraph(names: Sequence[str], values: Sequence[str], *, width: int | None) -> list[str]:
    """One item, a line for each member; `width` folds long sentences between words, None folds nothing."""
    room = max(map(_cells, names), default=0)
    lines = []
    for name, value in zip(names, values, strict=True):
        head = name + " " * (room - _cells(name)) + _GAP
        if width is None or _cells(head + value) <= width:
            lines.append((head + value).rstrip())
            continue
        indent = head if max(map(_cells, value.split() or [""])) + len(head) <= width else _GAP
        folded = textwrap.wrap(
            value,
            max(width, len(indent) + 1),
            initial_indent=" " * len(indent),
            subsequent_indent=" " * len(indent),
            break_long_words=False,
            break_on_hyphens=False,
        )
        is_beside = indent == head
        lines += [head + folded[0].lstrip(), *folded[1:]] if is_beside else [head.rstrip(), *folded]
    return lines


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines, width = table(headings, rows), _width()
    if width is not None and rows and max(map(_cells, lines)) > width:
        lines = [line for row in rows for line in (*paragraph(headings, row, width=width), "")][:-1]
    typer.echo("\n".join(lines))


def _width() -> int | None:
    """How wide the terminal is; None: it is none, and a line is as long as it is."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only who prints such a text waits for its tables

    return cell_len(text)


def _is_of_numbers(cells: Sequence[str]) -> bool:
    said = [cell for cell in cells if cell != _NOTHING]
    return bool(said) and all(map(_NUMBER.fullmatch, said))


def _csv_cell(value: object) -> str:
    text = shown(value)
    # Some spreadsheets take the wide forms of these characters for the same.
    if unicodedata.normalize("NFKC", text[:1]).startswith(_FORMULA_BEGINS) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
