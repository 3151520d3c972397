"""Turn bytes and slots into nano-dollars: before a query runs (hold) and after (cost).

Called by admission to size a hold and by settlement to book a cost; pure. Rules with their sources:
rounding up to MiB and 10 MiB minimums per query and referenced table
(https://cloud.google.com/bigquery/docs/best-practices-costs), CREATE MODEL at 50 times the price of a query
(Google's own reconciliation query, https://cloud.google.com/bigquery/docs/information-schema-jobs), cached results and
errors free. One division per amount, always rounded up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bqgate.domain.job import Estimate, Usage
from bqgate.domain.money import check_nanos
from bqgate.domain.units import GIB, MINIMUM_BILLED_BYTES, MS_PER_HOUR, PPM, TIB, ceil_div, ceil_mib

# 312.50 against 6.25 dollars per TiB.
CREATE_MODEL_FACTOR = 50


class PricingModel(StrEnum):
    """What a job is charged for: blended bytes and slots; on_demand bytes; capacity slots; auto by what it ran on."""

    BLENDED = "blended"
    ON_DEMAND = "on_demand"
    CAPACITY = "capacity"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices, with the regional table as data. A price given in the settings stands in for the table."""

    model: PricingModel
    nanos_per_tib: int
    nanos_per_slot_hour: int
    nanos_per_tib_by_location: Mapping[str, int] = field(default_factory=dict)
    nanos_per_slot_hour_by_edition: Mapping[str, int] = field(default_factory=dict)

    def tib_price(self, location: str | None) -> int:
        """Nano-dollars per TiB where the job runs. Multi-regions come in capitals, regions in small letters.

        A region that the table does not know costs as much as the dearest that it knows: never too little.
        """
        if location is None or not self.nanos_per_tib_by_location:
            return self.nanos_per_tib
        known = self.nanos_per_tib_by_location.get(location.lower())
        return known if known is not None else max(self.nanos_per_tib, *self.nanos_per_tib_by_location.values())

    def slot_price(self, edition: str | None) -> int:
        """Nano-dollars per slot-hour of an edition."""
        if edition is None:
            return self.nanos_per_slot_hour
        return self.nanos_per_slot_hour_by_edition.get(edition.lower(), self.nanos_per_slot_hour)

    def cost_of(self, usage: Usage, *, location: str | None) -> int:
        """What a finished job cost, in nano-dollars. Bytes hidden by BigQuery (None) are the caller's case to name.

        Raises:
            ValueError: bytes are what this job is charged for, and they are unknown.
        """
        if not usage.is_billable or usage.cache_hit:
            return 0
        by_bytes = self._charges_bytes(is_reserved=usage.reservation is not None)
        by_slots = self._charges_slots(is_reserved=usage.reservation is not None)
        if by_bytes and usage.bytes_billed is None:
            raise ValueError("bytes_billed is hidden; the cost of this job is unknown")
        cost = 0
        if by_bytes:
            cost += self.bytes_cost(usage.bytes_billed or 0, location=location, statement_type=usage.statement_type)
        if by_slots:
            cost += ceil_div(usage.slot_ms * self.slot_price(usage.edition), MS_PER_HOUR)
        return check_nanos(cost)

    def bytes_cost(self, bytes_billed: int, *, location: str | None, statement_type: str = "") -> int:
        """The price of bytes alone, rounded up to a nano-dollar."""
        factor = CREATE_MODEL_FACTOR if statement_type == "CREATE_MODEL" else 1
        return ceil_div(bytes_billed * self.tib_price(location) * factor, TIB)

    def hold_cost(self, *, bytes_billed: int, slot_ms: int, location: str | None, statement_type: str = "") -> int:
        """What must be set aside for a query that bills at most this much. Under `auto`, the dearer of the two."""
        bytes_nanos = self.bytes_cost(bytes_billed, location=location, statement_type=statement_type)
        slot_nanos = ceil_div(slot_ms * self.nanos_per_slot_hour, MS_PER_HOUR)
        match self.model:
            case PricingModel.BLENDED:
                return bytes_nanos + slot_nanos
            case PricingModel.ON_DEMAND:
                return bytes_nanos
            case PricingModel.CAPACITY:
                return slot_nanos
            case PricingModel.AUTO:
                return max(bytes_nanos, slot_nanos)

    def bytes_affordable(self, nanos: int, *, location: str | None, statement_type: str = "") -> int:
        """How many bytes a sum pays for at the most: the inverse of bytes_cost, rounded down to MiB."""
        price = self.tib_price(location) * (CREATE_MODEL_FACTOR if statement_type == "CREATE_MODEL" else 1)
        if price == 0:
            return TIB * PPM
        affordable = nanos * TIB // price
        return affordable - affordable % (2**20)

    @property
    def uses_slots(self) -> bool:
        """Whether a hold must foresee slot time."""
        return self.model is not PricingModel.ON_DEMAND

    def _charges_bytes(self, *, is_reserved: bool) -> bool:
        match self.model:
            case PricingModel.BLENDED | PricingModel.ON_DEMAND:
                return True
            case PricingModel.CAPACITY:
                return False
            case PricingModel.AUTO:
                return not is_reserved

    def _charges_slots(self, *, is_reserved: bool) -> bool:
        match self.model:
            case PricingModel.BLENDED | PricingModel.CAPACITY:
                return True
            case PricingModel.ON_DEMAND:
                return False
            case PricingModel.AUTO:
                return is_reserved


def bytes_billed_at_most(estimate: Estimate) -> int:
    """The most that BigQuery can bill for a known estimate, in bytes.

    A dry run gives one total T over n tables. Each table is rounded up to at least 10 MiB on its own, so in the worst
    case n - 1 tables hold next to nothing: ceil_mib(T) + 10 MiB * (n - 1), and never less than 10 MiB a table. With
    one table that is exact; a query that reads no table at all and processes nothing bills nothing.
    """
    tables = estimate.table_count
    if tables == 0 and estimate.bytes_processed == 0:
        return 0
    least = MINIMUM_BILLED_BYTES * max(tables, 1)
    return max(least, ceil_mib(estimate.bytes_processed) + MINIMUM_BILLED_BYTES * (max(tables, 1) - 1))


def with_headroom(size_bytes: int, headroom_ppm: int) -> int:
    """Add a share (parts per million) to a bound, rounded up to MiB; exact for a headroom of 0 on whole MiB."""
    return ceil_mib(ceil_div(size_bytes * (PPM + headroom_ppm), PPM))


@dataclass(frozen=True, slots=True)
class SlotHistory:
    """What a customer's jobs used so far: the base of the next slot estimate."""

    slot_ms: int = 0
    bytes_processed: int = 0


@dataclass(frozen=True, slots=True)
class SlotPrior:
    """What is believed of a customer with no history: slot-milliseconds per GiB, and how many GiB that belief weighs.

    The default, 10 slot-seconds per GiB, is what a plain scan with an aggregate takes; with `weight_gib` 100, a
    customer's own jobs outweigh it after 100 GiB.
    """

    slot_ms_per_gib: int = 10_000
    weight_gib: int = 100

    def slot_ms_for(self, size_bytes: int, history: SlotHistory) -> int:
        """Expected slot time of a query that processes this much, rounded up; history and prior weighed by bytes."""
        known_ms = history.slot_ms + self.slot_ms_per_gib * self.weight_gib
        known_bytes = history.bytes_processed + self.weight_gib * GIB
        return ceil_div(size_bytes * known_ms, known_bytes) if known_bytes else 0
