"""Keep a journal in a file: append records, read them, and know whose it is.

A file is locked (flock) by the process that owns it, as long as that lives; whoever gets the lock of a file that is
there has found one of a process that is gone. It is made under another name and gets its own once it is locked, so that
nobody takes a file that is just being made. Its head names the ledger that it belongs to: a folder may hold journals of
several. One thread appends and another reads; what is before `end` is whole. Appends are not synced: they outlive the
process, and `sync` is for when the database is away. Errors: OSError.
"""

import fcntl
import os
import uuid
from pathlib import Path
from typing import Self

SUFFIX = ".journal"
_MAGIC = b"bqgate journal 1 "


class JournalFile:
    """An open, locked file. `id` is its name in the database; records stand from `begin` to `end`."""

    def __init__(self, path: Path, descriptor: int, *, begin: int, end: int) -> None:
        self.path = path
        self.id = path.stem
        self.begin = begin
        self.end = end
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path, ledger_id: str) -> Self:
        """A new file, owned by this process, of a ledger's."""
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        unnamed = path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, head_of(ledger_id))
            unnamed.rename(path)
            _sync_folder(folder)
        except OSError:
            os.close(descriptor)
            unnamed.unlink(missing_ok=True)
            raise
        return cls(path, descriptor, begin=len(head_of(ledger_id)), end=len(head_of(ledger_id)))

    @classmethod
    def take_over(cls, path: Path, ledger_id: str) -> Self | None:
        """The file of a process that is gone; None: it lives, somebody else has taken it, or it is another ledger's."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_APPEND)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        head = head_of(ledger_id)
        if not path.exists() or os.pread(descriptor, len(head), 0) != head:  # finished a moment ago, or not of this one
            os.close(descriptor)
            return None
        return cls(path, descriptor, begin=len(head), end=os.fstat(descriptor).st_size)

    def append(self, record: bytes) -> None:
        """Write a record at the end, whole or not at all."""
        written = os.write(self._descriptor, record)
        if written < len(record):
            os.ftruncate(self._descriptor, self.end)
            raise OSError(f"only {written} of {len(record)} bytes were written")
        self.end += written

    def read(self, offset: int, bytes_max: int) -> bytes:
        """What stands from an offset on, up to the end or `bytes_max`."""
        return os.pread(self._descriptor, min(bytes_max, self.end - offset), offset)

    def sync(self) -> None:
        """Have the disk keep what was appended."""
        os.fdatasync(self._descriptor)

    def remove(self) -> None:
        """Delete the file: all of it is in the database."""
        self.path.unlink(missing_ok=True)
        self.close()

    def rename(self, suffix: str) -> None:
        """Keep the file under a name that nobody follows, and give it up."""
        self.path.rename(self.path.with_suffix(suffix))
        self.close()

    def close(self) -> None:
        """Give the file up; another process may take it over."""
        os.close(self._descriptor)


def head_of(ledger_id: str) -> bytes:
    """What the journals of a ledger begin with."""
    return _MAGIC + ledger_id.encode() + b"\n"


def files_in(folder: Path) -> list[Path]:
    """The journals in a folder, whosever they are, the oldest first."""
    found = [(path.stat().st_mtime_ns, path) for path in folder.glob(f"*{SUFFIX}") if path.exists()]
    return [path for _, path in sorted(found)]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
