"""Write a measured cost as an entry of the ledger. Pure.

Used by booking.py. The id follows from what names the cost, so whoever measures it, and however often, books it once.
Labels that callers cannot set tell what it is.
"""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from bqgate.domain.entry import BookedCharge, Entry, EntryKind, Origin
from bqgate.domain.job import Outcome
from bqgate.domain.place import Place
from bqgate.domain.tier import Customer
from bqgate.ports.cost_metrics import MeteredCost

# What stands for a decision in an entry that no gate has decided about.
METERED = "metered"
CORRECTED = "measured otherwise by now"
_ID_DIGITS = 32


def charge_of(
    cost: MeteredCost, *, metric: str, place: Place, customer: Customer, now: datetime, counts: bool
) -> Entry:
    """The charge of a measured cost.

    Args:
        cost: what was measured.
        metric: by which metric, by its name in the settings.
        place: where.
        customer: who pays.
        now: when it is booked.
        counts: whether it counts in budgets: in the day and the month in which its span began.
    """
    labels = {
        "bqgate_metric": metric,
        "bqgate_region": place.region,
        "bqgate_dataset": cost.dataset,
        "bqgate_table": cost.table,
        "bqgate_quantity": str(cost.quantity),
        "bqgate_unit": cost.unit,
        "bqgate_since": _moment(cost.since),
    }
    return Entry(
        id=_id_of(cost, metric, place),
        kind=EntryKind.CHARGE,
        customer=customer.id,
        principal=cost.principal or f"metric:{metric}",
        project_id=place.project_id,
        booked_at=now,
        window_keys={window.period: window.key for window in customer.windows(cost.since)} if counts else {},
        outcome=Outcome.DONE,
        cost_nanos=cost.cost_nanos,
        decision=METERED,
        labels={key: value for key, value in labels.items() if value},
        placed_at=cost.since.astimezone(UTC) if counts else None,
        origin=Origin.METERED,
        ended_at=cost.until.astimezone(UTC),
    )


def adjustment_of(booked: BookedCharge, charge: Entry) -> Entry:
    """The adjustment that brings what is booked to what is measured now, in the windows in which the charge counts."""
    return replace(
        booked.charge,
        id=booked.next_adjustment_id,
        kind=EntryKind.ADJUSTMENT,
        booked_at=charge.booked_at,
        cost_nanos=charge.cost_nanos - booked.cost_nanos,
        labels=charge.labels,
        reason=CORRECTED,
        adjusts=booked.charge.id,
    )


def _id_of(cost: MeteredCost, metric: str, place: Place) -> str:
    named = (
        metric,
        *(place.project_id, place.region),
        *(_moment(cost.since), _moment(cost.until)),
        *(cost.dataset, cost.table, cost.principal),
    )
    digest = sha256("\n".join(named).encode()).hexdigest()
    return f"metered-{digest[:_ID_DIGITS]}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
