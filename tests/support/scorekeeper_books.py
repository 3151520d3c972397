"""Say what a query would do, and what BigQuery would bill for it: the memory and the arithmetic of the scorekeeper.

A query tells of itself in comments of its SQL, so that whoever reads a test sees what it costs. Shares no code with the
gate: where the two disagree about money, one of them is wrong.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MIB = 2**20
GIB = 2**30
_TIB = 2**40
_LEAST_BYTES = 10 * MIB
_COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)
_READS_ONLY = frozenset({"SELECT"})
_WORDS = {"bytes", "ms", "type", "fails", "billed", "external", "said", "accuracy", "tables", "script", "unseen"}
_WORDS |= {"cached"}


@dataclass(frozen=True)
class Work:
    """What a query does. Sizes in bytes, duration in milliseconds.

    `billed_bytes` stands for an amount that follows no rule; `said_bytes` is what a dry run says instead of the size,
    `accuracy` how sure it says it is, and `is_unseen` has it refuse to say anything. `is_cached`: its results are there
    already, which a dry run that asks for no cached ones does not tell.
    """

    size_bytes: int = 0
    ms: int = 0
    statement_type: str = "SELECT"
    fails: bool = False
    billed_bytes: int | None = None
    is_external: bool = False
    said_bytes: int | None = None
    accuracy: str = "PRECISE"
    tables: int = 1
    is_unseen: bool = False
    is_cached: bool = False
    children: "tuple[Work, ...]" = ()

    @property
    def is_mutating(self) -> bool:
        """Whether a repeat of its requestId is recognised."""
        return self.statement_type not in _READS_ONLY

    @property
    def billable_bytes(self) -> int:
        """What it is billed: whole MiB, at least 10 for each table; nothing where nothing is read or it fails."""
        if self.billed_bytes is not None:
            return self.billed_bytes
        if self.children:
            return sum(child.billable_bytes for child in self.children)
        if self.fails or self.is_cached or not self.size_bytes:
            return 0
        return max(_LEAST_BYTES * self.tables, -(-self.size_bytes // MIB) * MIB)


def work_in(sql: str) -> Work:
    """Read `/*bytes=1000000000 ms=50 type=INSERT fails billed=5 external said=0 accuracy=UNKNOWN tables=2 unseen*/`.

    `cached` is one more such word. Behind `/*script*/` each such comment is a statement of the script. Other comments
    say nothing.
    """
    found = [dict(_pair(word) for word in text.split()) for text in _COMMENT.findall(sql)]
    works = [said for said in found if said and set(said) <= _WORDS]
    if not works:
        return Work()
    first, *others = works
    if "script" not in first:
        return _work(first)
    children = tuple(_work(said) for said in others)
    return Work(
        size_bytes=sum(child.size_bytes for child in children),
        ms=sum(child.ms for child in children),
        statement_type=first.get("type", "SCRIPT"),
        fails=any(child.fails for child in children),
        said_bytes=0,
        accuracy="UNKNOWN",
        children=children,
    )


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _work(said: Mapping[str, str]) -> Work:
    return Work(
        size_bytes=int(said.get("bytes", "0")),
        ms=int(said.get("ms", "0")),
        statement_type=said.get("type", "SELECT"),
        fails="fails" in said,
        billed_bytes=int(said["billed"]) if "billed" in said else None,
        is_external="external" in said,
        said_bytes=int(said["said"]) if "said" in said else None,
        accuracy=said.get("accuracy", "PRECISE"),
        tables=int(said.get("tables", "1")),
        is_unseen="unseen" in said,
        is_cached="cached" in said,
    )


def bytes_billed_error(cap: int, needed: int) -> dict[str, str]:
    """BigQuery's own refusal of what is dearer than its cap."""
    message = f"Query exceeded limit for bytes billed: {cap}. {needed} or higher required."
    return {"reason": "bytesBilledLimitExceeded", "message": message}


@dataclass
class Ran:
    """A job that ran, or runs. Moments are milliseconds since 1970. `job_id` None: a query without a job.

    `bytes_by_type` is what was billed: bytes by statement type, empty while it runs; `statements` are those of a
    script that ran.
    """

    project_id: str
    job_id: str | None
    location: str
    configuration: dict[str, Any]
    work: Work
    created_ms: int
    ended_ms: int | None = None
    error: dict[str, str] | None = None
    bytes_by_type: dict[str, int] = field(default_factory=dict)
    statements: list[Work] = field(default_factory=list)
    deleted_ms: int | None = None
    parent_id: str | None = None
    query_id: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.configuration.get("labels") or {}
        return labels

    @property
    def bytes_billed(self) -> int:
        return sum(self.bytes_by_type.values())

    def end(self, now_ms: int, error: dict[str, str] | None = None) -> None:
        """It ends now, by itself or because it was stopped, which costs as much.

        A script ends with its first statement that fails, or that would take it past its cap.
        """
        if self.ended_ms is not None:
            return
        self.ended_ms, self.error = now_ms, error
        query = self.configuration.get("query") or {}
        budget = int((query.get("scriptOptions") or {}).get("statementByteBudget") or 0)
        cap = int(query.get("maximumBytesBilled") or 0)
        for statement in self.work.children or (self.work,):
            billable = statement.billable_bytes
            needed = self.bytes_billed + billable
            if self.work.children and ((cap and needed > cap) or (budget and billable > budget)):
                self.error = bytes_billed_error(cap or budget, needed)
                break
            kind = statement.statement_type
            self.bytes_by_type[kind] = self.bytes_by_type.get(kind, 0) + billable
            self.statements.append(statement)
            if statement.fails and self.error is None:
                self.error = {"reason": "invalidQuery", "message": "Division by zero: it was told to fail."}
                break
        self.done.set()

    def refuse(self, now_ms: int, error: dict[str, str]) -> None:
        """It ends before it did anything."""
        self.ended_ms, self.error = now_ms, error
        self.done.set()


@dataclass(frozen=True)
class Prices:
    """Nano-dollars per TiB, by location where they differ; a model costs fifty times as much."""

    nanos_per_tib: int
    by_location: Mapping[str, int] = field(default_factory=dict)
    model_factor: int = 50

    def cost_nanos(self, ran: Ran) -> int:
        """The bill of one job, rounded up to a nano-dollar."""
        price = self.by_location.get(ran.location, self.nanos_per_tib)
        weighed = sum(
            size * (self.model_factor if kind == "CREATE_MODEL" else 1) for kind, size in ran.bytes_by_type.items()
        )
        return -(-weighed * price // _TIB)
