"""Write a settings file to begin with: ``bqgate init [FILE]``, which asks nothing and overwrites nothing.

The texts are part of the package: config/bqgate.starter.yaml, or with --all-keys config/bqgate.example.yaml. Both run
as they are and hold no secret. What leaves: the file, and on standard output what to do next; with "-" the file's text
is the standard output. Exit status 2: the file is there already, or cannot be written.
"""

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bqgate.settings.shipped import shipped_file

DEFAULT_FILE = Path("bqgate.yaml")


class Upstream(StrEnum):
    """What stands behind the gate."""

    SANDBOX = "sandbox"
    GOOGLE = "google"


_KEYS = {
    Upstream.SANDBOX: {"url": "http://127.0.0.1:9050", "credentials": "anonymous"},
    Upstream.GOOGLE: {"url": "https://bigquery.googleapis.com", "credentials": "caller"},
}


def init(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Where to write it; - is standard output.", allow_dash=True),
    ] = DEFAULT_FILE,
    *,
    upstream: Annotated[
        Upstream,
        typer.Option(help="What stands behind the gate: the sandbox of this machine, or Google's BigQuery."),
    ] = Upstream.SANDBOX,
    all_keys: Annotated[
        bool, typer.Option("--all-keys", help="Write every key with its default, and customers to learn from.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where there is one.")] = False,
) -> None:
    """Write a settings file to begin with.

    It runs as it is and says in comments what to change. No file is overwritten unless --force says so.
    """
    template = "bqgate.example.yaml" if all_keys else "bqgate.starter.yaml"
    text = with_upstream(shipped_file(template).read_text(encoding="utf-8"), upstream)
    if str(file) == "-":
        typer.echo(text, nl=False)
        return
    _write(file, text, is_forced=force)
    typer.echo(_next_steps(file, upstream))


def with_upstream(text: str, upstream: Upstream) -> str:
    """Settings whose section upstream has the keys of this one; comments behind them stay in their column."""
    head, section, rest = re.split(r"^(upstream:.*\n(?:[ #].*\n)*)", text, maxsplit=1, flags=re.MULTILINE)
    for key, value in _KEYS[upstream].items():
        line = re.search(rf"^(  {key}: \S+ *)(#.*)?$", section, flags=re.MULTILINE)
        assert line is not None, f"both templates have upstream.{key}"
        given, comment = line.group(1), line.group(2)
        written = f"  {key}: {value}" + ("" if comment is None else "  ")
        section = section.replace(line[0], written.ljust(len(given)) + comment if comment else written)
    return head + section + rest


def _write(file: Path, text: str, *, is_forced: bool) -> None:
    try:
        with file.open("w" if is_forced else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise typer.BadParameter(
            f"{file} is there already; --force replaces it, another FILE leaves it alone", param_hint="FILE"
        ) from None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None


def _next_steps(file: Path, upstream: Upstream) -> str:
    name = shlex.quote(str(file))
    steps = {f"bqgate check-config -c {name}": "shows all settings as they take effect"}
    if upstream is Upstream.SANDBOX:
        steps["bqgate sandbox"] = "in a terminal of its own: a BigQuery stand-in"
    steps[f"bqgate serve -c {name}"] = "the gate, at http://127.0.0.1:8080"
    room = max(map(len, steps))
    lines = [f"  {command.ljust(room)}  # {meaning}" for command, meaning in steps.items()]
    return "\n".join([f"Wrote {file}; its comments say what to change.", "", "Next:", *lines])
