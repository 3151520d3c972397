"""Turn a pricing document and the tables of list prices into the domain's PriceList.

Called by compose. A price in the document is the same everywhere and stands in for the table; the blended model has its
own two prices, those of the design's default ($5.00 per TiB, $0.04 per slot-hour). Prices are nano-dollars.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.policies.models import PricingPolicy

BLENDED_NANOS_PER_TIB = 5_000_000_000
BLENDED_NANOS_PER_SLOT_HOUR = 40_000_000

# The table's row for a place or an edition that has none of its own.
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class PriceTables:
    """List prices: nano-dollars per TiB by location and per slot-hour by edition, each with a row ELSEWHERE."""

    by_location: Mapping[str, int]
    by_edition: Mapping[str, int]


def price_list(pricing: PricingPolicy, tables: PriceTables) -> PriceList:
    """What to charge."""
    tib, slot_hour = pricing.usd_per_tib, pricing.usd_per_slot_hour
    is_blended = pricing.model is PricingModel.BLENDED
    by_location = {} if is_blended or tib is not None else tables.by_location
    by_edition = {} if is_blended or slot_hour is not None else tables.by_edition
    return PriceList(
        model=pricing.model,
        nanos_per_tib=tib.nanos if tib else by_location.get(ELSEWHERE, BLENDED_NANOS_PER_TIB),
        nanos_per_slot_hour=slot_hour.nanos if slot_hour else by_edition.get(ELSEWHERE, BLENDED_NANOS_PER_SLOT_HOUR),
        nanos_per_tib_by_location={name: price for name, price in by_location.items() if name != ELSEWHERE},
        nanos_per_slot_hour_by_edition={name: price for name, price in by_edition.items() if name != ELSEWHERE},
    )
