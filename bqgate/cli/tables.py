"""Print documents of the control plane: as tables for people, as JSON for programs.

Used by the commands keys, tiers and customers. Names come from whoever chose them, so nothing in them is taken for
markup or for a terminal's control sequence.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

# A log file has no width of its own, and must not fold an id.
_WIDTH_OF_A_FILE = 200

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_list(items: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """One row for each item, one column for each of its members that is named; JSON has all members."""
    if as_json:
        print_json(items)
        return
    rows = [[shown(item.get(column)) for column in columns] for item in items]
    _print_table(columns, rows)


def print_one(item: Mapping[str, Any], *, as_json: bool) -> None:
    """One row for each member of an item that says something."""
    if as_json:
        print_json(item)
        return
    said = {name: value for name, value in item.items() if value is not None and value not in ([], {})}
    _print_table(("", ""), [[name, shown(value)] for name, value in said.items()])


def print_json(content: object) -> None:
    """JSON to read and to parse."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def shown(value: object) -> str:
    """A value in a cell: words for true and false, nothing for null, lists with commas."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(shown(each) for each in value)
        case dict():
            return " ".join(f"{name}={shown(each)}" for name, each in value.items())
        case _:
            return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value))


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE  # noqa: PLC0415 - only who prints a table waits for it
    from rich.console import Console  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OF_A_FILE)
    table = Table(box=SIMPLE, show_header=any(headings), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
