"""Write a secret into a file of its own that nobody else can read.

Used by the command keys. The file is made before the key is: what cannot be written is known before there is a key
that nobody would hold. A file that is there already is never touched.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import typer


@contextmanager
def reserved(path: Path, option: str) -> Iterator[TextIO]:
    """A new file, readable for its owner alone; it is gone again when what follows fails.

    Args:
        path: where.
        option: of the command line, for what is said when it cannot be.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise typer.BadParameter(f"{path} is there already, and is not overwritten", param_hint=option) from None
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
