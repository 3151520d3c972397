"""Turn holds and entries into rows and back, losing nothing.

Used by writes (into rows) and sql_ledger (out of rows); pure. Moments cross as whole microseconds since 1970 UTC, in
integer arithmetic; a naive moment is a bug and raises TypeError.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import CostRow, Entry, EntryKind, Origin
from bqgate.domain.hold import Hold, HoldState
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.pricing import PriceList
from bqgate.domain.shadow_decision import ShadowDecision, ShadowDecisionRow
from bqgate.domain.spend import SpendRow, SpendTable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _micros_of(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _moment_of(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def hold_row(hold: Hold) -> dict[str, Any]:
    """An open hold as a row."""
    return {
        "id": hold.id,
        "customer": hold.customer,
        "principal": hold.principal,
        "project_id": hold.project_id,
        "amount_nanos": hold.amount_nanos,
        **_window_columns(hold.window_keys),
        "placed_at": to_micros(hold.placed_at),
        "deadline_at": to_micros(hold.deadline_at),
        "idempotency_key": hold.idempotency_key,
        **job_columns(hold.job),
        "workload": hold.workload,
        "maximum_bytes_billed": hold.maximum_bytes_billed,
        "estimate_bytes": hold.estimate_bytes,
        "estimate_nanos": hold.estimate_nanos,
        "decision": hold.decision,
        "fingerprint": hold.fingerprint,
        **_shadow_decision_columns(hold.shadow_decision),
        "labels": dict(hold.labels),
        "prices_id": hold.prices_id,
        "priced_as": hold.priced_as,
        "account": hold.account,
        "state": HoldState.HELD.value,
        "ended_at": None,
    }


def price_list_row(prices: PriceList, used_at: datetime) -> dict[str, Any]:
    """A price list that is used for the first time as a row."""
    return {"id": prices.id, "document": prices.document(), "first_used_at": to_micros(used_at)}


def breaker_event_row(event: BreakerEvent) -> dict[str, Any]:
    """A grace's start, or what became of a breaker, as a row."""
    return {
        "customer": event.customer,
        "period": event.period.value,
        "window_key": event.window_key,
        "at": to_micros(event.at),
        "kind": event.kind.value,
        "actor": event.actor,
    }


def hold_of(row: sa.Row[Any]) -> Hold:
    return Hold(
        id=row.id,
        customer=row.customer,
        principal=row.principal,
        project_id=row.project_id,
        amount_nanos=row.amount_nanos,
        window_keys=_window_keys_of(row),
        placed_at=from_micros(row.placed_at),
        deadline_at=from_micros(row.deadline_at),
        idempotency_key=row.idempotency_key,
        job=_job_of(row),
        workload=row.workload,
        maximum_bytes_billed=row.maximum_bytes_billed,
        estimate_bytes=row.estimate_bytes,
        estimate_nanos=row.estimate_nanos,
        decision=row.decision,
        fingerprint=row.fingerprint,
        shadow_decision=_shadow_decision_of(row),
        labels=row.labels or {},
        prices_id=row.prices_id,
        priced_as=row.priced_as,
        account=row.account,
    )


def entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind.value,
        "customer": entry.customer,
        "principal": entry.principal,
        "project_id": entry.project_id,
        "booked_at": to_micros(entry.booked_at),
        **_window_columns(entry.window_keys),
        "outcome": entry.outcome.value,
        "cost_nanos": entry.cost_nanos,
        "hold_id": entry.hold_id,
        "hold_nanos": entry.hold_nanos,
        "workload": entry.workload,
        **job_columns(entry.job),
        "job_region": None if entry.job is None else (entry.job.location or "").lower(),
        "decision": entry.decision,
        "reason": entry.reason,
        "estimate_bytes": entry.estimate_bytes,
        "estimate_nanos": entry.estimate_nanos,
        "bytes_processed": entry.bytes_processed,
        "bytes_billed": entry.bytes_billed,
        "slot_ms": entry.slot_ms,
        "statement_type": entry.statement_type,
        "cache_hit": entry.cache_hit,
        "fingerprint": entry.fingerprint,
        "labels": dict(entry.labels),
        **_shadow_decision_columns(entry.shadow_decision),
        "placed_at": _micros_of(entry.placed_at),
        "origin": entry.origin.value,
        "adjusts": entry.adjusts,
        "reservation": entry.reservation,
        "edition": entry.edition,
        "prices_id": entry.prices_id,
        "ended_at": _micros_of(entry.ended_at),
    }


def entry_of(row: sa.Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        kind=EntryKind(row.kind),
        customer=row.customer,
        principal=row.principal,
        project_id=row.project_id,
        booked_at=from_micros(row.booked_at),
        window_keys=_window_keys_of(row),
        outcome=Outcome(row.outcome),
        cost_nanos=row.cost_nanos,
        hold_id=row.hold_id,
        hold_nanos=row.hold_nanos,
        workload=row.workload,
        job=_job_of(row),
        decision=row.decision,
        reason=row.reason,
        estimate_bytes=row.estimate_bytes,
        estimate_nanos=row.estimate_nanos,
        bytes_processed=row.bytes_processed,
        bytes_billed=row.bytes_billed,
        slot_ms=row.slot_ms,
        statement_type=row.statement_type,
        cache_hit=row.cache_hit,
        fingerprint=row.fingerprint,
        labels=row.labels,
        shadow_decision=_shadow_decision_of(row),
        placed_at=_moment_of(row.placed_at),
        origin=Origin.GATE if row.origin is None else Origin(row.origin),
        adjusts=row.adjusts,
        reservation=row.reservation,
        edition=row.edition,
        prices_id=row.prices_id,
        ended_at=_moment_of(row.ended_at),
    )


def job_columns(job: JobRef | None) -> dict[str, str | None]:
    if job is None:
        return {"job_project_id": None, "job_id": None, "job_location": None}
    return {"job_project_id": job.project_id, "job_id": job.job_id, "job_location": job.location}


def _job_of(row: sa.Row[Any]) -> JobRef | None:
    if row.job_id is None:
        return None
    return JobRef(project_id=row.job_project_id, job_id=row.job_id, location=row.job_location)


def shadow_decision_row_of(row: sa.Row[Any]) -> ShadowDecisionRow:
    return ShadowDecisionRow(
        customer=row.customer,
        principal=row.principal,
        reason=row.would_have,
        budget=row.would_budget,
        query_count=int(row.query_count),
        cost_nanos=int(row.cost_nanos),
        delayed_count=int(row.delayed_count),
        wait_ms=int(row.wait_ms),
        longest_wait_ms=int(row.longest_wait_ms),
    )


def cost_row_of(row: sa.Row[Any]) -> CostRow:
    return CostRow(
        customer=row.customer,
        principal=row.principal,
        origin=Origin(row.origin),
        cost_nanos=int(row.cost_nanos),
        bytes_billed=int(row.bytes_billed),
        slot_ms=int(row.slot_ms),
        job_count=int(row.job_count),
    )


def spend_table_of(rows: Sequence[sa.Row[Any]]) -> SpendTable:
    """Rows of spend_queries, whose periods are days and, of months, their first seven characters."""
    if not rows:
        return SpendTable()
    found = tuple(
        SpendRow(
            starts_on=date.fromisoformat(row.period if len(row.period) > len("2026-11") else f"{row.period}-01"),
            customer=row.customer,
            value=row.value,
            cost_nanos=int(row.cost_nanos),
            bytes_billed=int(row.bytes_billed),
            slot_ms=int(row.slot_ms),
            job_count=int(row.job_count),
        )
        for row in rows
    )
    one = rows[0]
    return SpendTable(
        rows=found,
        row_count=int(one.row_count),
        cost_nanos=int(one.all_cost_nanos),
        bytes_billed=int(one.all_bytes_billed),
        slot_ms=int(one.all_slot_ms),
        job_count=int(one.all_job_count),
    )


def _shadow_decision_columns(shadow_decision: ShadowDecision | None) -> dict[str, str | int | None]:
    if shadow_decision is None:
        return {"would_have": None, "would_wait_ms": None, "would_budget": None}
    return {
        "would_have": shadow_decision.reason,
        "would_wait_ms": shadow_decision.wait_ms,
        "would_budget": shadow_decision.budget,
    }


def _shadow_decision_of(row: sa.Row[Any]) -> ShadowDecision | None:
    if row.would_wait_ms is None:
        return None
    return ShadowDecision(reason=row.would_have, wait_ms=row.would_wait_ms, budget=row.would_budget)


def _window_columns(window_keys: Mapping[Period, str]) -> dict[str, str | None]:
    return {"day_key": window_keys.get(Period.DAY), "month_key": window_keys.get(Period.MONTH)}


def _window_keys_of(row: sa.Row[Any]) -> dict[Period, str]:
    columns = {Period.DAY: row.day_key, Period.MONTH: row.month_key}
    return {period: key for period, key in columns.items() if key is not None}
