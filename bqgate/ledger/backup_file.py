"""Write and read a backup of the ledger: compressed lines of JSON that say themselves whether they are whole.

Used by backup and restore; knows files, no database. The format, version 1, is gzip around lines of UTF-8:

    {"format": "bqgate ledger backup", "version": 1, "revision": "0008", "made_at": "…", "database": "sqlite"}
    {"table": "holds", "columns": ["id", …]}
    ["h-1", …]                                     one row: texts, whole numbers, true, false, null
    {"end": "holds", "rows": 1, "sha256": "…"}     the sum of the rows' hashes, whatever their order
    …
    {"end": "backup", "rows": 1, "sha256": "…"}    of all bytes before this line

So a table's sum is the same for the same rows in either database, and a file that was cut or changed is known as such.
Memory stays flat: a line at a time. What leaves: rows, and BackupUnusable.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

FORMAT = "bqgate ledger backup"
FORMAT_VERSION = 1
_LINE_BYTES_MAX = 64 * 1024 * 1024
_COMPRESSION = 6
# zlib's name for a stream as gzip has it. Nothing is open while it is made, so whoever breaks off has nothing to close.
_GZIP = zlib.MAX_WBITS + 16

Row = Sequence[str | int | bool | None]


class BackupUnusable(Exception):
    """A backup that cannot be written, or a file that is none, or is not whole. The message says what to do."""


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """Of which version the tables were, when the snapshot was taken, and on which kind of database."""

    revision: str
    made_at: str
    database: str


@dataclass(frozen=True, slots=True)
class TableSum:
    """How many rows a table has, and what they add up to."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TableStart:
    """What follows are this table's rows, each with a value for each column."""

    name: str
    columns: tuple[str, ...]


class RowSum:
    """Adds up rows so that their order does not matter: the sum of their hashes, modulo 2**256."""

    def __init__(self) -> None:
        self._rows = 0
        self._sum = 0

    def add(self, line: bytes) -> None:
        self._rows += 1
        self._sum = (self._sum + int.from_bytes(sha256(line).digest(), "big")) % 2**256

    @property
    def total(self) -> TableSum:
        return TableSum(self._rows, f"{self._sum:064x}")


def row_line(row: Row) -> bytes:
    """A row as it stands in the file, and as it is hashed."""
    return json.dumps(list(row), separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


class BackupWriter:
    """Writes one backup into an open file. Call `finish`, or the file is no backup."""

    def __init__(self, file: IO[bytes], header: BackupHeader) -> None:
        self._file = file
        self._compressor = zlib.compressobj(_COMPRESSION, wbits=_GZIP)
        self._hash = sha256()
        self._rows = 0
        self._control(
            {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "revision": header.revision,
                "made_at": header.made_at,
                "database": header.database,
            }
        )

    def write_table(self, name: str, columns: Sequence[str], rows: Iterator[Row]) -> TableSum:
        """Write a table with all its rows."""
        self._control({"table": name, "columns": list(columns)})
        added = RowSum()
        for row in rows:
            line = row_line(row)
            added.add(line)
            self._write(line)
        total = added.total
        self._rows += total.rows
        self._control({"end": name, "rows": total.rows, "sha256": total.sha256})
        return total

    def finish(self) -> None:
        self._control({"end": "backup", "rows": self._rows, "sha256": self._hash.hexdigest()})
        try:
            self._file.write(self._compressor.flush())
            self._file.flush()
        except OSError as error:
            raise _unwritable(error) from error

    def _control(self, document: dict[str, Any]) -> None:
        self._write(json.dumps(document, separators=(",", ":")).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self._hash.update(line)
        try:
            self._file.write(self._compressor.compress(line))
        except OSError as error:
            raise _unwritable(error) from error


class BackupReader:
    """Reads a backup from its beginning, as often as `read` is called.

    Args:
        path: of the file.

    Raises:
        BackupUnusable: it cannot be read, or is no backup that this version knows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            first = json.loads(self._next_line(file))
            if not isinstance(first, dict) or first.get("format") != FORMAT:
                raise self._damaged("it does not begin as a backup does")
            if first.get("version") != FORMAT_VERSION:
                raise BackupUnusable(
                    f"{path} has a format of version {first.get('version')!r}, which this bqgate does not know. "
                    "Restore it with the bqgate that made it, or a later one."
                )
            self.header = BackupHeader(str(first["revision"]), str(first["made_at"]), str(first["database"]))

    def read(self) -> Iterator[TableStart | Row | TableSum]:
        """Each table's start, then its rows, then what they add up to.

        Raises:
            BackupUnusable: as soon as something is seen to be missing, added or changed; the last line says so at the
                latest. What was read before may be wrong as well.
        """
        with self._open() as file:
            hashed = sha256(self._next_line(file))
            row_count = 0
            while "table" in (start := self._control(line := self._next_line(file))):
                hashed.update(line)
                table = TableStart(str(start["table"]), tuple(map(str, start["columns"])))
                yield table
                added = RowSum()
                while (line := self._next_line(file)).startswith(b"["):
                    hashed.update(line)
                    added.add(line)
                    yield self._row(line, table)
                hashed.update(line)
                end = self._control(line)
                if end != {"end": table.name, "rows": added.total.rows, "sha256": added.total.sha256}:
                    raise self._damaged(f"the rows of {table.name} are not those that were written")
                row_count += added.total.rows
                yield added.total
            if start != {"end": "backup", "rows": row_count, "sha256": hashed.hexdigest()}:
                raise self._damaged("its last line does not fit what is before it")
            if file.read(1):
                raise self._damaged("something comes behind its end")

    @contextmanager
    def _open(self) -> Iterator[gzip.GzipFile]:
        try:
            with gzip.open(self._path, "rb") as file:
                yield file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged("it is cut off, or a part of it was changed") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged("a line of it is not what a backup has") from error
        except OSError as error:
            raise BackupUnusable(f"{self._path} cannot be read: {error.strerror or error}.") from error

    def _next_line(self, file: gzip.GzipFile) -> bytes:
        line = file.readline(_LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise self._damaged("it ends too early")
        return line

    def _control(self, line: bytes) -> dict[str, Any]:
        document = json.loads(line)
        if not isinstance(document, dict):
            raise self._damaged("a line of it is not where it belongs")
        return document

    def _row(self, line: bytes, table: TableStart) -> Row:
        row: list[str | int | bool | None] = json.loads(line)
        if len(row) != len(table.columns):
            raise self._damaged(f"a row of {table.name} has {len(row)} values for {len(table.columns)} columns")
        return row

    def _damaged(self, why: str) -> BackupUnusable:
        return BackupUnusable(f"{self._path} is damaged, or no backup: {why}. Nothing of it can be relied on.")


def _unwritable(error: OSError) -> BackupUnusable:
    return BackupUnusable(f"The backup cannot be written: {error.strerror or error}. Make room, or name another file.")
