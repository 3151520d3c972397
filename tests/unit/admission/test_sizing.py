import pytest

from bqgate.admission.sizing import HoldRules, size_hold
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.pricing import PriceList, PricingModel, SlotHistory, SlotPrior
from bqgate.domain.units import GIB, MS_PER_HOUR, TIB

# A slot-hour is a dollar, a GiB a cent; a hundred GiB are believed to take ten slot-hours.
USD, CENT = 10**9, 10**7
RULES = HoldRules(headroom_ppm=0, slot_prior=SlotPrior(slot_ms_per_gib=MS_PER_HOUR // 10))
ESTIMATE = Estimate(100 * GIB, "SELECT", 1)


@pytest.mark.parametrize(
    ("model", "max_slots", "timeout_ms", "held_nanos"),
    [
        (PricingModel.BLENDED, None, None, 11 * USD),
        (PricingModel.BLENDED, 2, MS_PER_HOUR, 3 * USD),
        (PricingModel.BLENDED, 200, MS_PER_HOUR, 11 * USD),
        (PricingModel.CAPACITY, None, None, 10 * USD),
        (PricingModel.CAPACITY, 2, MS_PER_HOUR, 2 * USD),
        (PricingModel.AUTO, 2, MS_PER_HOUR, 2 * USD),
        (PricingModel.ON_DEMAND, 2, MS_PER_HOUR, 1 * USD),
    ],
)
def test_slots_that_a_query_cannot_use_are_not_held(
    model: PricingModel, max_slots: int | None, timeout_ms: int | None, held_nanos: int
) -> None:
    """MaxSlots times jobTimeoutMs bounds the slot cost of a hold, and never raises it; bytes are held as ever."""
    bound = max_slots * timeout_ms if max_slots and timeout_ms else None
    request = QueryRequest(Method.QUERY, "p", {}, "SELECT 1", slot_ms_at_most=bound)
    prices = PriceList(model, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, ESTIMATE, rules=RULES, prices=prices, history=SlotHistory())
    assert size is not None
    assert size.amount_nanos == held_nanos
    assert size.maximum_bytes_billed == 100 * GIB
