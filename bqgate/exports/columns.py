"""Declare the columns in which entries leave the ledger: for the mirror at BigQuery and for Parquet, once for both.

Used by mirror, table_changes and parquet_files; pure. Types are BigQuery's. A column is added at the end and is
NULLABLE or REPEATED, because tables and files of before have not got it; a column is never renamed, retyped or removed.
Text that not every system keeps (zero bytes, halves of surrogate pairs) is replaced by U+FFFD, so that an entry is
never refused for what a caller wrote.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bqgate.domain.budget import Period
from bqgate.domain.entry import Entry

PARTITIONED_BY = "booked_at"
CLUSTERED_BY = "customer"

_UNKEPT = re.compile("[\x00\ud800-\udfff]")
_NANO_DIGITS = 9
_COMPRESSION = 6
# zlib's name for a stream as gzip has it. Nothing is open while it is made, so whoever breaks off has nothing to close.
_GZIP = zlib.MAX_WBITS + 16

Value = str | int | bool | datetime | Decimal | list[dict[str, str]] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: BigQuery's type and mode, what it means, and where an entry has it."""

    name: str
    type: str
    meaning: str
    value_of: Callable[[Entry], Value]
    mode: str = "NULLABLE"

    @property
    def field(self) -> dict[str, Any]:
        """The column as BigQuery's REST API has it."""
        field: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "mode": self.mode,
            "description": self.meaning,
        }
        if self.type == "RECORD":
            field["fields"] = [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in ("key", "value")]
        return field


def _usd(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-_NANO_DIGITS)


def _pairs(entry: Entry) -> list[dict[str, str]]:
    kept = {_UNKEPT.sub("\ufffd", key): _UNKEPT.sub("\ufffd", str(value)) for key, value in entry.labels.items()}
    return [{"key": key, "value": value} for key, value in sorted(kept.items())]


COLUMNS = (
    Column("entry_id", "STRING", "Id of the entry; unique.", lambda entry: entry.id, "REQUIRED"),
    Column("kind", "STRING", "charge, refusal, or adjustment.", lambda entry: entry.kind.value, "REQUIRED"),
    Column("customer", "STRING", "Who pays.", lambda entry: entry.customer, "REQUIRED"),
    Column("principal", "STRING", "Who asked.", lambda entry: entry.principal),
    Column("project_id", "STRING", "Project in which it was asked.", lambda entry: entry.project_id),
    Column("booked_at", "TIMESTAMP", "When it was booked.", lambda entry: entry.booked_at, "REQUIRED"),
    Column("day_key", "STRING", "The customer's day.", lambda entry: entry.window_keys.get(Period.DAY)),
    Column("month_key", "STRING", "The customer's month.", lambda entry: entry.window_keys.get(Period.MONTH)),
    Column("outcome", "STRING", "How the job ended.", lambda entry: entry.outcome.value),
    Column("cost_nanos", "INTEGER", "Cost in nano-dollars.", lambda entry: entry.cost_nanos, "REQUIRED"),
    Column("cost_usd", "NUMERIC", "The same in dollars, exactly.", lambda entry: _usd(entry.cost_nanos), "REQUIRED"),
    Column("hold_id", "STRING", "The hold that it ended.", lambda entry: entry.hold_id),
    Column("hold_nanos", "INTEGER", "What was held, in nano-dollars.", lambda entry: entry.hold_nanos),
    Column("workload", "STRING", "Workload in the URL.", lambda entry: entry.workload),
    Column("job_project_id", "STRING", "The job's project.", lambda entry: entry.job.project_id if entry.job else None),
    Column("job_id", "STRING", "The job.", lambda entry: entry.job.job_id if entry.job else None),
    Column("job_location", "STRING", "Where it ran.", lambda entry: entry.job.location if entry.job else None),
    Column("decision", "STRING", "forward, throttle, or reject.", lambda entry: entry.decision),
    Column("reason", "STRING", "Why it was refused.", lambda entry: entry.reason),
    Column("estimate_bytes", "INTEGER", "Bytes that the dry run told.", lambda entry: entry.estimate_bytes),
    Column("estimate_nanos", "INTEGER", "Their cost, in nano-dollars.", lambda entry: entry.estimate_nanos),
    Column("bytes_processed", "INTEGER", "Bytes processed.", lambda entry: entry.bytes_processed),
    Column("bytes_billed", "INTEGER", "Bytes billed.", lambda entry: entry.bytes_billed),
    Column("slot_ms", "INTEGER", "Slot time in milliseconds.", lambda entry: entry.slot_ms),
    Column("statement_type", "STRING", "BigQuery's kind of statement.", lambda entry: entry.statement_type),
    Column("cache_hit", "BOOLEAN", "Whether the result came from the cache.", lambda entry: entry.cache_hit),
    Column("fingerprint", "STRING", "Tells queries apart; no SQL.", lambda entry: entry.fingerprint),
    Column("labels", "RECORD", "The caller's labels.", _pairs, "REPEATED"),
    Column(
        "shadow_reason",
        "STRING",
        "Where budgets were only observed: why it would have been refused.",
        lambda entry: entry.shadow_decision.reason if entry.shadow_decision else None,
    ),
    Column(
        "shadow_wait_ms",
        "INTEGER",
        "How long it would have waited.",
        lambda entry: entry.shadow_decision.wait_ms if entry.shadow_decision else None,
    ),
    Column(
        "shadow_budget",
        "STRING",
        "Whose limit it would have met.",
        lambda entry: entry.shadow_decision.budget if entry.shadow_decision else None,
    ),
    Column("placed_at", "TIMESTAMP", "When its hold was placed.", lambda entry: entry.placed_at),
    Column("ended_at", "TIMESTAMP", "When the job ended.", lambda entry: entry.ended_at),
    Column("origin", "STRING", "gate, bypass, metered, or own.", lambda entry: entry.origin.value),
    Column("adjusts", "STRING", "The entry that an adjustment corrects.", lambda entry: entry.adjusts),
    Column("reservation", "STRING", "Reservation that it ran in; empty: on demand.", lambda entry: entry.reservation),
    Column("edition", "STRING", "Edition of the reservation.", lambda entry: entry.edition),
    Column("prices_id", "STRING", "The prices by which it was priced.", lambda entry: entry.prices_id),
)


def value_in(column: Column, entry: Entry) -> Value:
    """What an entry has in a column, as everybody can keep it."""
    value = column.value_of(entry)
    return _UNKEPT.sub("\ufffd", value) if isinstance(value, str) else value


class JsonLines:
    """Entries as BigQuery loads them: a JSON object on each line, in gzip. The same entries give the same bytes."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._compressor = zlib.compressobj(_COMPRESSION, wbits=_GZIP)

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            row = {column.name: _json_value(value_in(column, entry)) for column in COLUMNS}
            self._packed += self._compressor.compress(json.dumps(row, separators=(",", ":")).encode() + b"\n")

    def finish(self) -> bytes:
        """Everything that was added."""
        return bytes(self._packed) + self._compressor.flush()


def _json_value(value: Value) -> Any:
    """Whole numbers travel as text, as in all of Google's JSON: no reader rounds them."""
    match value:
        case bool() | str() | list() | None:
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)
