"""Put the writes of one transaction in order: what each hold's writes come to, in the order in which they came. Pure.

Used by group_statements, which does a group as six statements, each with many rows. Opened before attached before
closed before ended, so that each hold ends as if its writes had been done one by one: what is ended is not opened,
attached to or ended again. Within a statement rows are sorted by what is locked (a job, a hold), so that two processes
rarely wait for each other in a circle; when they do, one is ended by PostgreSQL and done again (lost_races).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bqgate.domain.entry import Booking, EntryKind
from bqgate.domain.hold import HoldState
from bqgate.ledger.writes import HOLD_ENDED_AT, Write, WriteKind

Row = dict[str, Any]

_OF_ENTRY_AND_HOLD = (
    "customer",
    "principal",
    "project_id",
    "day_key",
    "month_key",
    "job_project_id",
    "job_id",
    "job_location",
    "workload",
    "estimate_bytes",
    "estimate_nanos",
    "decision",
    "fingerprint",
    "would_have",
    "would_wait_ms",
    "would_budget",
    "labels",
)


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """An entry to write, whose outcome belongs to the write at `place` of the group."""

    place: int
    row: Mapping[str, Any]
    hold_ended_at: int

    @property
    def hold_id(self) -> str | None:
        return self.row.get("hold_id")


@dataclass(slots=True)
class WriteGroup:
    """The rows of a group. `opened`, `attached` and `closed` are by their hold's id."""

    price_lists: list[Row] = field(default_factory=list)
    opened: dict[str, Row] = field(default_factory=dict)
    attached: dict[str, Row] = field(default_factory=dict)
    closed: dict[str, Row] = field(default_factory=dict)
    entries: list[PlacedEntry] = field(default_factory=list)
    breaker_events: list[Row] = field(default_factory=list)

    def hold_rows(self, outcomes: Mapping[int, Booking]) -> list[Row]:
        """Holds that were opened, and those that entries end: opened before this group, or never recorded open."""
        rows = {hold_id: dict(row) for hold_id, row in self.opened.items()}
        for entry in self.entries:
            outcome = outcomes[entry.place]
            if entry.hold_id is None or outcome is Booking.HOLD_ALREADY_BOOKED:
                continue
            state = _state_after(entry.row, outcome)
            row = rows.get(entry.hold_id)
            if row is None:
                rows[entry.hold_id] = _ended_hold_row(entry.row, state=state, ended_at=entry.hold_ended_at)
            elif "ended_at" not in row:
                row |= {"state": state.value, "ended_at": entry.hold_ended_at}
        return sorted(rows.values(), key=lambda row: str(row["id"]))


def group_writes(writes: Sequence[Write]) -> WriteGroup:
    """What a group of writes comes to."""
    group = WriteGroup()
    booked: set[str] = set()
    for place, write in enumerate(writes):
        row = dict(write.row)
        match write.kind:
            case WriteKind.KEEP_PRICES:
                group.price_lists.append(row)
            case WriteKind.OPEN_HOLD:
                group.opened.setdefault(row["id"], row)
            case WriteKind.ATTACH_JOB if row["id"] not in booked:
                _attach(group, row)
            case WriteKind.CLOSE_HOLD if row["id"] not in booked:
                _close(group, row)
            case WriteKind.BOOK:
                entry = PlacedEntry(place, row, row.pop(HOLD_ENDED_AT))
                group.entries.append(entry)
                if entry.hold_id is not None:
                    booked.add(entry.hold_id)
            case WriteKind.RECORD_BREAKER_EVENT:
                group.breaker_events.append(row)
    if len(booked) == sum(entry.hold_id is not None for entry in group.entries):  # else they stay as they came
        group.entries.sort(key=lambda entry: (entry.row.get("job_id") or "", entry.hold_id or ""))
    return group


def _attach(group: WriteGroup, row: Row) -> None:
    """Note a job; a later note replaces an earlier. A hold that is opened again here may be known and open."""
    opened = group.opened.get(row["id"])
    if opened is not None and "ended_at" not in opened:
        opened |= row
    if row["id"] not in group.closed:
        group.attached[row["id"]] = row


def _close(group: WriteGroup, row: Row) -> None:
    """End a hold that is open by now: in this group, or before it."""
    opened = group.opened.get(row["id"])
    if opened is None:
        group.closed.setdefault(row["id"], row)
    elif "ended_at" not in opened:
        opened |= {"state": HoldState.VOIDED.value, "ended_at": row["ended_at"]}


def _state_after(entry: Mapping[str, Any], outcome: Booking) -> HoldState:
    """How a hold ends: a charge captures it; a job that another hold's entry covers leaves it void."""
    if outcome is Booking.BOOKED and entry["kind"] == EntryKind.CHARGE.value:
        return HoldState.CAPTURED
    return HoldState.VOIDED


def _ended_hold_row(entry: Mapping[str, Any], *, state: HoldState, ended_at: int) -> Row:
    """The hold that an entry's row ends, as far as the entry knows it; in rows, what is absent is null.

    Written only where the hold was never recorded open; it keeps a late open_hold from opening it.
    """
    return {
        **{name: entry[name] for name in _OF_ENTRY_AND_HOLD if name in entry},
        "id": entry["hold_id"],
        "amount_nanos": entry["hold_nanos"],
        "placed_at": entry.get("placed_at", entry["booked_at"]),
        "deadline_at": entry["booked_at"],
        "state": state.value,
        "ended_at": ended_at,
    }
