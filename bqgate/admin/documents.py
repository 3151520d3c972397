"""Fill the models of schemas from domain values: money as decimal strings, moments in RFC 3339, the domain's own words.

Called by the views. Pure.
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from bqgate.admin.schemas import (
    BalanceDocument,
    CostDocument,
    EntryDocument,
    HoldDocument,
    JobDocument,
    ShadowDecisionDocument,
    TotalDocument,
)
from bqgate.domain.budget import Balance
from bqgate.domain.entry import CostRow, Entry
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.money import format_usd
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecision
from bqgate.domain.units import PPM


def answer_document(
    document: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A model as an answer that no cache may keep."""
    return _answer(document.model_dump_json().encode(), status, headers)


def answer_json(
    document: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON that is made already, as an answer that no cache may keep."""
    return _answer(json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"), status, headers)


def write_moment(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond where there are any."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def write_balance(balance: Balance) -> BalanceDocument:
    """One window of a budget."""
    limit_nanos, balance_nanos = balance.limit_nanos, balance.balance_nanos
    return BalanceDocument(
        period=balance.window.period,
        key=balance.window.key,
        limit_usd=None if limit_nanos is None else format_usd(limit_nanos),
        carried_usd=format_usd(balance.carried_nanos),
        spent_usd=format_usd(balance.captured_nanos),
        held_usd=format_usd(balance.held_nanos),
        balance_usd=None if balance_nanos is None else format_usd(balance_nanos),
        used_ratio=balance.used_ppm / PPM,
        resets_at=write_moment(balance.window.resets_at),
    )


def write_entry(entry: Entry) -> EntryDocument:
    """One line of the ledger."""
    return EntryDocument(
        id=entry.id,
        kind=entry.kind,
        origin=entry.origin,
        adjusts=entry.adjusts,
        customer=entry.customer,
        principal=entry.principal,
        workload=entry.workload,
        project_id=entry.project_id,
        job=_write_job(entry.job),
        booked_at=write_moment(entry.booked_at),
        ended_at=None if entry.ended_at is None else write_moment(entry.ended_at),
        outcome=entry.outcome,
        decision=entry.decision,
        reason=entry.reason,
        cost_usd=format_usd(entry.cost_nanos),
        estimate_usd=format_usd(entry.estimate_nanos),
        hold_id=entry.hold_id,
        hold_usd=format_usd(entry.hold_nanos),
        estimate_bytes=entry.estimate_bytes,
        bytes_processed=entry.bytes_processed,
        bytes_billed=entry.bytes_billed,
        slot_ms=entry.slot_ms,
        statement_type=entry.statement_type,
        cache_hit=entry.cache_hit,
        reservation=entry.reservation,
        edition=entry.edition,
        prices_id=entry.prices_id,
        fingerprint=entry.fingerprint,
        labels=dict(entry.labels),
        would_have=_write_shadow_decision(entry.shadow_decision),
    )


def write_hold(hold: Hold, now: datetime) -> HoldDocument:
    """One open hold."""
    return HoldDocument(
        id=hold.id,
        amount_usd=format_usd(hold.amount_nanos),
        customer=hold.customer,
        principal=hold.principal,
        workload=hold.workload,
        project_id=hold.project_id,
        job=_write_job(hold.job),
        decision=hold.decision,
        age_s=max(0, (now - hold.placed_at) // timedelta(seconds=1)),
        placed_at=write_moment(hold.placed_at),
        deadline_at=write_moment(hold.deadline_at),
    )


def write_cost(row: CostRow) -> CostDocument:
    """What one principal spent, of one origin."""
    return CostDocument(
        customer=row.customer,
        principal=row.principal,
        origin=row.origin,
        cost_usd=format_usd(row.cost_nanos),
        bytes_billed=row.bytes_billed,
        slot_ms=row.slot_ms,
        job_count=row.job_count,
    )


def write_total(rows: Collection[CostRow]) -> TotalDocument:
    """What all of them spent together."""
    return TotalDocument(
        cost_usd=format_usd(sum(row.cost_nanos for row in rows)),
        bytes_billed=sum(row.bytes_billed for row in rows),
        slot_ms=sum(row.slot_ms for row in rows),
        job_count=sum(row.job_count for row in rows),
    )


def _answer(body: bytes, status: int, headers: Mapping[str, str] | None) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "no-store"} | dict(headers or {}),
    )


def _write_shadow_decision(shadow_decision: ShadowDecision | None) -> ShadowDecisionDocument | None:
    if shadow_decision is None:
        return None
    reason = None if shadow_decision.reason is None else RejectReason(shadow_decision.reason)
    return ShadowDecisionDocument(reason=reason, wait_ms=shadow_decision.wait_ms, budget=shadow_decision.budget)


def _write_job(job: JobRef | None) -> JobDocument | None:
    if job is None:
        return None
    return JobDocument(project_id=job.project_id, job_id=job.job_id, location=job.location)
