"""Know which datasets and tables there are, who owns them, and what changed when.

The Warehouse and the planner ask it; it holds values only, the rows are in the storage. Every method is atomic under
one lock. Answers are TableInfo and DatasetInfo, or NotFound, Duplicate, ResourceInUse, AccessDenied in BigQuery's
wording.

Shared datasets belong to no project: they are seen in every project that has no dataset of that name, and only read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from bqgate.sandbox.warehouse.errors import AccessDenied, Duplicate, NotFound, ResourceInUse
from bqgate.sandbox.warehouse.tables import DatasetInfo, TableInfo, TableRef

SHARED = ""


@dataclass(frozen=True)
class Found:
    """A table as the asker names it (`info.ref`) and as it is stored (`stored`, project "" when shared)."""

    info: TableInfo
    stored: TableRef


class Catalog:
    """Datasets and tables by name.

    Attributes:
        now: What time it is, for `created_at` and expiration.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._datasets: dict[tuple[str, str], DatasetInfo] = {}
        self._tables: dict[TableRef, TableInfo] = {}
        self._version = 0

    def add_dataset(self, info: DatasetInfo) -> None:
        with self._lock:
            if (info.project, info.dataset) in self._datasets:
                raise Duplicate(f"Already Exists: Dataset {info.project}:{info.dataset}")
            self._datasets[info.project, info.dataset] = info

    def dataset(self, project: str, dataset: str) -> DatasetInfo:
        with self._lock:
            found = self._datasets.get((project, dataset)) or self._datasets.get((SHARED, dataset))
            if found is None:
                raise NotFound(f"Not found: Dataset {project}:{dataset} was not found in location US")
            return replace(found, project=project)

    def datasets(self, project: str) -> list[DatasetInfo]:
        with self._lock:
            names = {d: info for (p, d), info in self._datasets.items() if p == SHARED}
            names |= {d: info for (p, d), info in self._datasets.items() if p == project}
            shown = sorted(name for name in names if not name.startswith("_"))
            return [replace(names[name], project=project) for name in shown]

    def remove_dataset(self, project: str, dataset: str, *, delete_contents: bool) -> list[TableRef]:
        """Forget a dataset and return the tables that were in it."""
        with self._lock:
            if self.owner(project, dataset) == SHARED:
                raise AccessDenied(
                    f"Access Denied: Dataset {project}:{dataset}: the sandbox's example data is read-only"
                )
            inside = [ref for ref in self._tables if (ref.project, ref.dataset) == (project, dataset)]
            if inside and not delete_contents:
                raise ResourceInUse(f"Dataset {project}:{dataset} is still in use")
            for ref in inside:
                del self._tables[ref]
            del self._datasets[project, dataset]
            return inside

    def owner(self, project: str, dataset: str) -> str:
        """Return the project that a dataset is stored under: the project itself, or "" for shared data."""
        with self._lock:
            if (project, dataset) in self._datasets:
                return project
            self.dataset(project, dataset)
            return SHARED

    def find(self, ref: TableRef) -> Found:
        """Look a table up, or raise NotFound naming the dataset or the table."""
        with self._lock:
            stored = replace(ref, project=self.owner(ref.project, ref.dataset))
            info = self._tables.get(stored)
            if info is None or (info.expires_at is not None and info.expires_at <= self._now()):
                raise NotFound(f"Not found: Table {ref} was not found in location US")
            return Found(replace(info, ref=ref, read_only=stored.project == SHARED), stored)

    def exists(self, ref: TableRef) -> bool:
        try:
            self.find(ref)
        except NotFound:
            return False
        return True

    def tables(self, project: str, dataset: str) -> list[TableInfo]:
        with self._lock:
            owner = self.owner(project, dataset)
            names = sorted(ref.table for ref in self._tables if (ref.project, ref.dataset) == (owner, dataset))
            refs = [TableRef(project, dataset, name) for name in names]
            return [self.find(ref).info for ref in refs if self.exists(ref)]

    def writable(self, ref: TableRef) -> TableRef:
        """Return where a table of that name is or would be stored; refuse the shared data."""
        with self._lock:
            if self.owner(ref.project, ref.dataset) == SHARED:
                raise AccessDenied(f"Access Denied: Table {ref}: the sandbox's example data is read-only")
            return ref

    def put(self, stored: TableRef, info: TableInfo) -> TableInfo:
        """Add or replace a table with a new version number."""
        with self._lock:
            self._version += 1
            known = self._tables.get(stored)
            created_at = known.created_at if known else self._now()
            fresh = replace(info, version=self._version, created_at=created_at, modified_at=self._now())
            self._tables[stored] = fresh
            return fresh

    def touch(self, stored: TableRef, *, num_rows: int) -> None:
        """Note that the content of a table has changed."""
        with self._lock:
            self.put(stored, replace(self._tables[stored], num_rows=num_rows))

    def multiply(self, stored: TableRef, row_multiplier: int) -> None:
        """Declare how many rows each row of a table counts as."""
        with self._lock:
            self.put(stored, replace(self._tables[stored], row_multiplier=row_multiplier))

    def remove(self, ref: TableRef) -> TableRef:
        with self._lock:
            stored = self.writable(ref)
            if stored not in self._tables:
                raise NotFound(f"Not found: Table {ref} was not found in location US")
            del self._tables[stored]
            return stored
