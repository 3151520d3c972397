"""Say how much to hold for a query, and the cap that BigQuery gets. Pure.

Called by admit.py with an estimate. A known estimate is bounded by BigQuery's rounding and minimums, plus headroom; an
unknown one follows a policy, and is held at no less than its dry run counts. The cap is what the hold covers, and never
more than the caller's own, which lowers a hold only where BigQuery enforces it. Slots are estimated from the customer's
past jobs, of a throttled query at no more than its tier's bounds allow; a caller's own bounds lower nothing, for
BigQuery only tries to keep them. Bytes are priced as those of the most expensive kind of statement that may occur: the
dry run's, or, in a script or where no dry run tells, a CREATE MODEL where the text does not rule it out. Bytes are
bytes, amounts nano-dollars, shares parts per million.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bqgate.admission.estimates.estimator import DRY_RUN_AWAY
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.pricing import PriceList, SlotHistory, SlotPrior, bytes_billed_at_most, with_headroom
from bqgate.domain.statements import is_single
from bqgate.domain.units import GIB, INT64_MAX, MINIMUM_BILLED_BYTES
from bqgate.wire.reservations import may_choose_reservation, may_run_on_demand

# The estimate of a query without a dry run.
_UNKNOWN = Estimate(0, "", 0)


class UnknownEstimate(StrEnum):
    """What to do with a query without an upper bound."""

    CAP = "cap"  # hold a set amount, or what its dry run counts where that is more, and cap the job at it
    REJECT = "reject"
    ALLOW = "allow"  # hold the same amount, but let the job bill what it will: an overrun is booked and counted


@dataclass(frozen=True, slots=True)
class HoldRules:
    """How holds are sized."""

    headroom_ppm: int = 50_000
    unknown: UnknownEstimate = UnknownEstimate.CAP
    unknown_hold_bytes: int = 100 * GIB
    slot_prior: SlotPrior = field(default_factory=SlotPrior)


@dataclass(frozen=True, slots=True)
class HoldSize:
    """How much to hold. `maximum_bytes_billed` None: the caller's own cap, if any, stays (policy allow).

    The job is priced later by the same price list (`prices_id`) and kind of statement (`priced_as`).
    `slot_ms_at_most` is the bound on slots that it relies on; None: it relies on none.
    """

    amount_nanos: int
    bytes_at_most: int
    maximum_bytes_billed: int | None
    prices_id: str | None = None
    priced_as: str | None = None
    slot_ms_at_most: int | None = None


def size_hold(
    request: QueryRequest,
    estimate: Estimate,
    *,
    rules: HoldRules,
    prices: PriceList,
    history: SlotHistory,
    slot_ms_at_most: int | None = None,
) -> HoldSize | None:
    """How much to hold; None where the policy refuses an unknown estimate.

    `slot_ms_at_most` is what the query may use of slots where it is slowed down; None: there is no such bound.
    """
    is_known = estimate.is_known
    if not is_known and rules.unknown is UnknownEstimate.REJECT:
        return None
    wanted = with_headroom(bytes_billed_at_most(estimate), rules.headroom_ppm)
    if not is_known:
        wanted = max(wanted, rules.unknown_hold_bytes)
    # BigQuery refuses any cap below its minimum charge, even for a query that bills nothing, and takes none past int64.
    wanted = min(max(wanted, MINIMUM_BILLED_BYTES), INT64_MAX)
    own_cap = request.maximum_bytes_billed or wanted
    covered = own_cap if own_cap < wanted and _is_capped(request, estimate) else wanted
    processed = estimate.bytes_processed if is_known else covered
    slot_ms = rules.slot_prior.slot_ms_for(processed, history) if prices.uses_slots else 0
    slot_ms = min(slot_ms, slot_ms_at_most or slot_ms)
    priced_as = most_expensive_kind(request, estimate)
    amount = prices.hold_cost(
        bytes_billed=covered,
        slot_ms=slot_ms,
        location=estimate.location or request.location,
        priced_as=priced_as,
        may_run_on_demand=_may_run_on_demand(request, prices),
    )
    # Without an answer to its dry run a query is capped, whatever the policy says.
    may_be_uncapped = not is_known and estimate.unknown_because != DRY_RUN_AWAY
    is_uncapped = may_be_uncapped and rules.unknown is UnknownEstimate.ALLOW
    cap = None if is_uncapped else min(covered, own_cap)
    return HoldSize(
        amount_nanos=amount,
        bytes_at_most=covered,
        maximum_bytes_billed=cap,
        prices_id=prices.id,
        priced_as=priced_as,
        slot_ms_at_most=slot_ms_at_most if prices.uses_slots else None,
    )


def _is_capped(request: QueryRequest, estimate: Estimate) -> bool:
    """Whether BigQuery enforces a cap on the query.

    It does not where another system is queried, as a view or a routine may do unseen, nor for the sum of a script's
    statements, nor in a reservation, where no bytes are billed; without a dry run nobody knows
    (https://cloud.google.com/bigquery/docs/federated-queries-intro).
    """
    if estimate.referenced_views or estimate.referenced_routines or may_choose_reservation(request):
        return False
    return estimate.is_known or estimate.unknown_because == "row_level_security"


def most_expensive_kind(request: QueryRequest, estimate: Estimate) -> str:
    """The kind of statement at whose price a query's bytes are held."""
    kind = estimate.statement_type
    if is_single(kind):
        return kind
    is_opaque = kind in {"CALL", "EXECUTE_IMMEDIATE"}
    return "CREATE_MODEL" if is_opaque or request.facts.may_create_model else "SELECT"


def _may_run_on_demand(request: QueryRequest, prices: PriceList) -> bool:
    """Whether the query may leave the reservation that capacity prices count on."""
    return prices.depends_on_reservation and may_run_on_demand(request)


def unknown_hold_nanos(request: QueryRequest, rules: HoldRules, prices: PriceList) -> int:
    """What the bytes of a query that no dry run bounds are held at."""
    return _bytes_hold(request, _UNKNOWN, rules.unknown_hold_bytes, prices)


def least_hold(request: QueryRequest, estimate: Estimate, *, prices: PriceList) -> HoldSize | None:
    """The smallest hold there is: BigQuery's minimum charge, for a query that should fail and cost nothing.

    None where no cap bounds what it bills should it run: as its text says, as what it runs may say, in a reservation of
    its choice, or in a script, each of whose statements may bill the minimum.
    """
    is_capped = request.facts.is_one_statement and not may_choose_reservation(request)
    if not is_capped or request.facts.unbounded_because is not None:
        return None
    covered = MINIMUM_BILLED_BYTES
    return HoldSize(
        amount_nanos=_bytes_hold(request, estimate, covered, prices),
        bytes_at_most=covered,
        maximum_bytes_billed=min(covered, request.maximum_bytes_billed or covered),
        prices_id=prices.id,
        priced_as=most_expensive_kind(request, estimate),
    )


def _bytes_hold(request: QueryRequest, estimate: Estimate, covered: int, prices: PriceList) -> int:
    return prices.hold_cost(
        bytes_billed=covered,
        slot_ms=0,
        location=estimate.location or request.location,
        priced_as=most_expensive_kind(request, estimate),
        may_run_on_demand=_may_run_on_demand(request, prices),
    )
