"""Log and record what placing a hold set off: a grace period began, or a cost breaker opened.

Called by admit.py after each placement. Alerts hang on the counters and log lines; the ledger's record lets a budget
store that lost its memory know it again. A ledger that does not answer is counted and changes no decision.
"""

from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold, Placement
from bqgate.ports import Ledger, Telemetry


async def record_breaker_events(placement: Placement, hold: Hold, *, ledger: Ledger, telemetry: Telemetry) -> None:
    """Count, log and record what placing `hold` set off."""
    for window in placement.grace_started_in:
        telemetry.count("grace_started_total", customer=hold.customer)
        telemetry.log("grace_started", customer=hold.customer, period=window.period.value, window=window.key)
    if placement.has_tripped:
        telemetry.count("breaker_trips_total", customer=hold.customer)
        telemetry.log(
            "cost_breaker_tripped", customer=hold.customer, refusal=placement.refusal, error="breaker tripped"
        )
    for event in _events(placement, hold):
        try:
            await ledger.record_breaker_event(event)
        except LedgerUnavailable:
            telemetry.count("failures_total", system="ledger", step="breaker")


def _events(placement: Placement, hold: Hold) -> list[BreakerEvent]:
    started = [(BreakerEventKind.GRACE_STARTED, window.period, window.key) for window in placement.grace_started_in]
    tripped = [(BreakerEventKind.TRIPPED, Period.DAY, hold.window_keys[Period.DAY])] if placement.has_tripped else []
    return [
        BreakerEvent(hold.customer, period, key, hold.placed_at, kind, hold.principal)
        for kind, period, key in (*started, *tripped)
    ]
