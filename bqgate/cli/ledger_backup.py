"""Back up the ledger into a file, and restore it: ``bqgate ledger backup FILE | restore FILE``.

Called through cli.ledger. Gates go on while a backup is taken; none may run on a database into which one is restored.
Exit status 1: the database did not answer, the file cannot be written, is damaged or fits nowhere. Nothing is left half
done: a backup appears under its name when it is whole, a restore is one transaction.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import fail, ledger_told, load_or_exit
from bqgate.clock import SystemClock

NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup; a new file.", show_default=False)]
BackupFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The backup.", show_default=False, exists=True, dir_okay=False),
]


def backup(file: NewFile, config: ConfigFile = None) -> None:
    """Write everything in the ledger's database into a file, as of one moment, while gates go on.

    The file is readable for its owner alone: it has customers' names, principals, and hashes of tokens. Do not run
    `bqgate migrate` meanwhile.
    """
    from bqgate.ledger.backup import write_backup  # noqa: PLC0415 - half a second that help need not wait
    from bqgate.ledger.backup_file import BackupUnusable  # noqa: PLC0415 - the same

    settings = load_or_exit(config, to_serve=False)
    made_at = SystemClock().now().astimezone(UTC).isoformat(timespec="seconds")
    with ledger_told(settings), _progress() as progress:
        task = progress.add_task("Writing rows", total=None)

        def show(written: int, total: int) -> None:
            progress.update(task, completed=written, total=total)

        try:
            with appearing(file) as open_file:
                sums = write_backup(settings.ledger.url.reveal(), open_file, made_at=made_at, on_rows=show)
        except BackupUnusable as unusable:
            fail(str(unusable))
    for name, each in sums.items():
        typer.echo(f"{name}: {each.rows} rows, {each.sha256}")
    typer.echo(f"The ledger at {settings.ledger.url} as of {made_at} is in {file} ({file.stat().st_size} bytes).")


def restore(file: BackupFile, config: ConfigFile = None) -> None:
    """Fill an empty ledger from a backup, of SQLite or PostgreSQL into either; all of it, or nothing.

    A PostgreSQL database needs `bqgate migrate` before. Start no gate on it until this has ended.
    """
    from bqgate.ledger.backup_file import BackupUnusable  # noqa: PLC0415 - as above
    from bqgate.ledger.restore import restore_backup  # noqa: PLC0415 - as above

    settings = load_or_exit(config, to_serve=False)
    with ledger_told(settings), _progress() as progress:
        task = progress.add_task("reading", total=None)

        def show(what: str, count: int) -> None:
            progress.update(task, description=f"{what} rows: {count}")

        try:
            header, sums = restore_backup(settings.ledger.url.reveal(), file, on_rows=show)
        except BackupUnusable as unusable:
            fail(str(unusable))
    for name, each in sums.items():
        typer.echo(f"{name}: {each.rows} rows, {each.sha256}")
    typer.echo(
        f"The ledger at {settings.ledger.url} is what {file} has: as of {header.made_at}, from {header.database}, "
        f"tables of version {header.revision}. All rows were read again and are the same."
    )


@contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that has its name once it is whole and on disk; until then it has one that nobody else writes to."""
    if path.name in {"", "-"}:
        raise typer.BadParameter("name a file: standard output has what the tables add up to", param_hint="FILE")
    _refuse_present(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise typer.BadParameter(f"{path.parent}: {error.strerror}", param_hint="FILE") from None
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_present(path)  # another backup may have been faster
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _refuse_present(path: Path) -> None:
    if path.exists():
        raise typer.BadParameter(f"{path} is there already, and is not overwritten", param_hint="FILE")


def _progress() -> Progress:
    """A bar on a terminal alone, so that standard output stays clean."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
