"""Walk over every command of the command line, groups included."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from bqgate.cli import app


def commands() -> dict[str, Any]:
    """Each command by what is typed, like "bqgate keys create"; groups and "bqgate" itself too."""
    return dict(_below("bqgate", get_command(app)))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _below(f"{words} {name}", each.load() if hasattr(each, "load") else each)


def parameters(command: Any) -> list[Any]:
    """Its options and arguments, but --help."""
    return [each for each in command.params if each.name != "help"]
