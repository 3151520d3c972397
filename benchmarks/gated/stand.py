"""What every measurement stands on: BigQuery's stub, the stores, and a folder on the disk."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gated.gates import Stores
from benchmarks.gated.processes import serving, stay_aside


@dataclass(frozen=True)
class Stand:
    """`stack` ends what is started on it; `folder` is not in memory, where the present folder is not."""

    stub_port: int
    stores: Stores
    folder: Path
    stack: ExitStack


@contextmanager
def open_stand() -> Iterator[Stand]:
    """A stand; this process stays aside of what is measured from now on."""
    stay_aside()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())))
        _, stub_port = stack.enter_context(serving("stub_bigquery.py"))
        yield Stand(stub_port, Stores(folder, stack), folder, stack)
