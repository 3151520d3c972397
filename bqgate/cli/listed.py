"""List commands without importing them: help, version and completion are there at once, whatever a command needs.

Made by the package's list of commands. Of a command that is only listed, its name, its heading and its one line are
known; what it needs (settings, SQL, Google's libraries) is imported when it is called, or asked for its own help. Help
is plain text: no markup is read in it, so that brackets are brackets, and it fits terminals narrower than 80 columns.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from bqgate.cli.collector import importing

WIDTH_MAX = 80
WIDTH_MIN = 40


class PlainContext(typer.Context):
    """Shapes help for the terminal, narrow ones too, for which the formatter's own minimum is too wide."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        width = max(WIDTH_MIN, min(shutil.get_terminal_size().columns, WIDTH_MAX))
        super().__init__(*arguments, **{"terminal_width": width, **attributes})

    def make_formatter(self) -> Any:
        """Where there is little room, most of it is for what an option means, below its name if need be."""
        formatter: Any = super().make_formatter()
        if formatter.width < WIDTH_MAX * 3 // 4:
            formatter.write_dl = partial(formatter.write_dl, col_max=formatter.width // 4)
        return formatter


class PlainGroup(TyperGroup):
    """A group whose help has the whole first sentence of each command; the terminal's width cuts nothing off."""

    context_class = PlainContext

    def format_commands(self, _context: Any, formatter: Any) -> None:
        """A heading, and below it a line for each command."""
        self.format_lines(formatter, "Commands", self.commands.values())

    def format_lines(self, formatter: Any, heading: str, commands: Iterable[Any]) -> None:
        """One heading with its commands; names take the same room under every heading."""
        room = max(map(len, self.commands))
        with formatter.section(heading):
            formatter.write_dl([(each.name.ljust(room), first_sentence(each.help)) for each in commands])


class ListedCommand(TyperCommand):
    """A command, or a group of them, that is known by name. `check-config` is `check_config` in check_config.py.

    Args:
        heading: under which help lists it.
        name: what is typed.
        summary: the first sentence of its own help.
    """

    def __init__(self, heading: str, name: str, summary: str) -> None:
        super().__init__(name, help=summary, rich_markup_mode=None)
        self.heading = heading

    def load(self) -> Any:
        """The command itself: what a function of its name does, or the group of that name."""
        word = str(self.name).replace("-", "_")
        with importing():
            found = getattr(import_module(f"{__package__}.{word}"), word)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name, cls=PlainGroup)
        else:
            holder.command(self.name)(found)
        loaded = get_group(holder).commands[str(self.name)]
        for command in (loaded, *getattr(loaded, "commands", {}).values()):
            command.context_class = PlainContext
        return loaded


class ListingGroup(PlainGroup):
    """The commands that `listed` names, shown under their headings."""

    listed: Sequence[ListedCommand] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.listed:
            self.add_command(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called is the one that must be there."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, ListedCommand) else command, rest

    def format_commands(self, _context: Any, formatter: Any) -> None:
        """Headings and commands in the order of the list."""
        for heading in dict.fromkeys(command.heading for command in self.listed):
            self.format_lines(formatter, heading, (each for each in self.listed if each.heading == heading))


def first_sentence(text: str | None) -> str:
    """The first sentence of a help text, on one line."""
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]
