"""Turn bytes and slots into nano-dollars: before a query runs (hold) and after (cost).

Called by admission to size a hold and by settlement to book a cost; pure. Rules with their sources:
rounding up to MiB and 10 MiB minimums per query and referenced table
(https://cloud.google.com/bigquery/docs/best-practices-costs), CREATE MODEL (domain.statements), scripts as the sum of
their statements' jobs (https://cloud.google.com/bigquery/docs/multi-statement-queries). What a job is reported to have
billed is its cost, however it ended; what is not reported costs the most that it may. One division per amount, always
rounded up.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum, auto
from hashlib import sha256
from typing import Any, Self

from bqgate.domain.job import Estimate, Usage
from bqgate.domain.money import MAX_NANOS, check_nanos
from bqgate.domain.script_parts import billed_parts
from bqgate.domain.statements import BYTES_FACTORS, buys, is_known, is_multi_statement, is_single
from bqgate.domain.units import GIB, MINIMUM_BILLED_BYTES, MS_PER_HOUR, PPM, TIB, ceil_div, ceil_mib

# Of a SHA-256 in hexadecimal: enough to tell all price lists apart that anybody will ever write.
_ID_LENGTH = 32


class PricingModel(StrEnum):
    """What a job is charged for: blended bytes and slots; on_demand bytes; capacity and auto by what it ran on.

    Those two differ before the query runs: capacity expects a reservation, auto either.
    """

    BLENDED = "blended"
    ON_DEMAND = "on_demand"
    CAPACITY = "capacity"
    AUTO = "auto"


class CostUnknown(ValueError):
    """A finished job does not tell what it cost. `lacks` names the fields; it cost `at_least_nanos`."""

    def __init__(self, lacks: tuple[str, ...], at_least_nanos: int) -> None:
        super().__init__(f"The cost of this job is unknown without {', '.join(lacks)}.")
        self.lacks = lacks
        self.at_least_nanos = at_least_nanos


class _Charge(Enum):
    """What one job is charged for."""

    BYTES = auto()
    SLOTS = auto()
    BOTH = auto()
    DEARER = auto()  # one of the two, and it is not known which


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices, with the regional table as data. A price given in the settings stands in for the table.

    `bytes_factors` say how many times a query's price a byte of another kind of statement costs. `priced_as` in its
    methods is the most expensive kind of statement that may occur in a query; None: any kind. `id` is a hash of the
    content: equal prices have one id everywhere, and an id never means other prices later.
    """

    model: PricingModel
    nanos_per_tib: int
    nanos_per_slot_hour: int
    nanos_per_tib_by_location: Mapping[str, int] = field(default_factory=dict)
    nanos_per_slot_hour_by_edition: Mapping[str, int] = field(default_factory=dict)
    bytes_factors: Mapping[str, int] = field(default_factory=lambda: BYTES_FACTORS)
    id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        content = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "id", sha256(content.encode()).hexdigest()[:_ID_LENGTH])

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The price list that a document describes."""
        return cls(**{**document, "model": PricingModel(document["model"])})

    def document(self) -> dict[str, Any]:
        """All prices as JSON, for the ledger: a job is priced as it was held, whatever holds when it ends."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    def tib_price(self, location: str | None) -> int:
        """Nano-dollars per TiB where the job runs. Multi-regions come in capitals, regions in small letters.

        An unknown place, or one that the table does not know, costs as much as the most expensive that it knows.
        """
        known = None if location is None else self.nanos_per_tib_by_location.get(location.lower())
        return known if known is not None else max([self.nanos_per_tib, *self.nanos_per_tib_by_location.values()])

    def slot_price(self, edition: str | None) -> int:
        """Nano-dollars per slot-hour of an edition; of one that is not known, as of the most expensive."""
        known = None if edition is None else self.nanos_per_slot_hour_by_edition.get(edition.lower())
        if known is not None:
            return known
        return max([self.nanos_per_slot_hour, *self.nanos_per_slot_hour_by_edition.values()])

    def cost_of(self, usage: Usage, *, location: str | None, priced_as: str | None = None) -> int:
        """What a finished job cost, in nano-dollars, and never more than the largest amount that can be booked.

        A kind of statement, a place, an edition that is not known costs the most that it may. A script costs the sum of
        its children, each by its own kind; what the parent reports beyond them may have been of any kind.

        Raises:
            CostUnknown: bytes or slots are what this job is charged for, and they are not told; or it has bought what
                no job tells.
        """
        nanos, lacks = 0, set[str]()
        for part in billed_parts(usage):
            nanos += self._part_cost(part, location, priced_as, lacks)
        if lacks:
            raise CostUnknown(tuple(sorted(lacks)), check_nanos(min(nanos, MAX_NANOS)))
        return check_nanos(min(nanos, MAX_NANOS))

    def lacks(self, usage: Usage, *, location: str | None, priced_as: str | None = None) -> tuple[str, ...]:
        """What these prices need to know of a finished job and its answer does not tell. Empty: its cost is exact."""
        if not usage.is_billable or usage.children is not None:
            return ()
        charge = self._charge(usage)
        lacks = [] if charge is not _Charge.DEARER else ["reservation"]
        if charge is not _Charge.SLOTS:
            lacks += self._lacks_of_bytes(usage, location, priced_as)
        if charge is not _Charge.BYTES:
            if usage.slot_ms is None and not usage.is_free_unless_reported:
                lacks.append("slot_ms")
            elif usage.slot_ms and usage.edition is None and self.nanos_per_slot_hour_by_edition:
                lacks.append("edition")
        return tuple(lacks)

    def bytes_factor(self, statement_type: str | None, *, priced_as: str | None = None) -> int:
        """How many times a query's price a byte costs. A kind that is not known, or a script, costs as `priced_as`."""
        if statement_type is not None and statement_type in self.bytes_factors:
            return self.bytes_factors[statement_type]
        if is_single(statement_type):
            return 1
        if priced_as is None:
            return max([1, *self.bytes_factors.values()])
        return self.bytes_factors.get(priced_as, 1)

    def hold_cost(
        self,
        *,
        bytes_billed: int,
        slot_ms: int,
        location: str | None,
        priced_as: str | None = "SELECT",
        may_run_on_demand: bool = False,
    ) -> int:
        """What must be set aside for a query that bills at most this much.

        Where it may run on demand or in a reservation, the more expensive of the two: always under `auto`, and under
        `capacity` where the query says so.
        """
        factor = self.bytes_factor(None, priced_as=priced_as)
        bytes_nanos = ceil_div(bytes_billed * self.tib_price(location) * factor, TIB)
        if self.model is PricingModel.ON_DEMAND:
            return bytes_nanos
        slot_nanos = ceil_div(slot_ms * self.slot_price(None), MS_PER_HOUR)
        match self.model:
            case PricingModel.BLENDED:
                return bytes_nanos + slot_nanos
            case PricingModel.CAPACITY:
                return max(bytes_nanos, slot_nanos) if may_run_on_demand else slot_nanos
            case PricingModel.AUTO:
                return max(bytes_nanos, slot_nanos)

    def bytes_affordable(self, nanos: int, *, location: str | None, statement_type: str | None = "SELECT") -> int:
        """How many bytes a sum pays for at the most: the inverse of hold_cost, rounded down to MiB."""
        price = self.tib_price(location) * self.bytes_factor(statement_type)
        if price == 0:
            return TIB * PPM
        affordable = nanos * TIB // price
        return affordable - affordable % (2**20)

    @property
    def uses_slots(self) -> bool:
        """Whether a hold must foresee slot time."""
        return self.model is not PricingModel.ON_DEMAND

    @property
    def depends_on_reservation(self) -> bool:
        """Whether what a query costs depends on where it runs."""
        return self.model in {PricingModel.CAPACITY, PricingModel.AUTO}

    def _charge(self, usage: Usage) -> _Charge:
        if self.model is PricingModel.BLENDED:
            return _Charge.BOTH
        if self.model is PricingModel.ON_DEMAND:
            return _Charge.BYTES
        if not usage.is_reservation_known:
            return _Charge.DEARER
        return _Charge.BYTES if usage.reservation is None else _Charge.SLOTS

    def _part_cost(self, usage: Usage, location: str | None, priced_as: str | None, lacks: set[str]) -> int:
        """What one job cost at least; what would have to be known for more is added to `lacks`."""
        charge = self._charge(usage)
        size_bytes, slot_ms = self._charged_bytes(usage), usage.slot_ms
        if size_bytes is None and charge is not _Charge.SLOTS and not usage.is_free_unless_reported:
            lacks.add("bytes_billed")
        if slot_ms is None and charge is not _Charge.BYTES and not usage.is_free_unless_reported:
            lacks.add("slot_ms")
        if buys(usage.statement_type) and not usage.is_free_unless_reported:
            lacks.add("purchase")
        factor = self.bytes_factor(usage.statement_type, priced_as=priced_as)
        bytes_nanos = ceil_div((size_bytes or 0) * self.tib_price(location) * factor, TIB)
        if charge is _Charge.BYTES:
            return bytes_nanos
        slot_nanos = ceil_div((slot_ms or 0) * self.slot_price(usage.edition), MS_PER_HOUR)
        match charge:
            case _Charge.SLOTS:
                return slot_nanos
            case _Charge.BOTH:
                return bytes_nanos + slot_nanos
            case _Charge.DEARER:
                return max(bytes_nanos, slot_nanos)

    def _charged_bytes(self, usage: Usage) -> int | None:
        """The bytes billed. In a reservation they are for information, so there what was processed counts at least."""
        is_on_demand = usage.reservation is None and usage.is_reservation_known
        if usage.bytes_billed is None or is_on_demand or self.depends_on_reservation:
            return usage.bytes_billed
        return max(usage.bytes_billed, 0 if usage.cache_hit else ceil_mib(usage.bytes_processed))

    def _lacks_of_bytes(self, usage: Usage, location: str | None, priced_as: str | None) -> Iterator[str]:
        size_bytes = self._charged_bytes(usage)
        if size_bytes is None:
            if not usage.is_free_unless_reported:
                yield "bytes_billed"
            return
        is_script = is_multi_statement(usage.statement_type)
        if is_script and usage.children is None:  # what a text rules out, a procedure may hold
            yield "children"
        if size_bytes == 0:
            return
        if location is None and self.nanos_per_tib_by_location:
            yield "location"
        if not is_script and not is_known(usage.statement_type) and self.bytes_factor(None, priced_as=priced_as) > 1:
            yield "statement_type"
        if not usage.is_reservation_known and size_bytes != usage.bytes_billed:
            yield "reservation"


def bytes_billed_at_most(estimate: Estimate) -> int:
    """The most that BigQuery can bill for a known estimate, in bytes.

    A dry run gives one total T over n tables. Each table is rounded up to at least 10 MiB on its own, so in the worst
    case n - 1 tables hold next to nothing: ceil_mib(T) + 10 MiB * (n - 1), and never less than 10 MiB a table. With
    one table that is exact; a query that reads no table at all and processes nothing bills nothing. n is what the
    estimate says that there are at most: a dry run lists no more than 50 tables.
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
        """Expected slot time of a query that processes this much, rounded up; history and prior weighed by bytes.

        A belief without weight counts for as long as there is nothing else.
        """
        known_ms = history.slot_ms + self.slot_ms_per_gib * self.weight_gib
        known_bytes = history.bytes_processed + self.weight_gib * GIB
        if known_bytes == 0:
            return ceil_div(size_bytes * self.slot_ms_per_gib, GIB)
        return ceil_div(size_bytes * known_ms, known_bytes)
