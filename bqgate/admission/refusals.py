"""Book refusals, and remember each for a moment, so that a refused query in a loop costs neither calls nor entries.

Asked by admit.py after the budgets have refused: they are asked every time, so that a raised limit, a freed budget or a
new day counts at once. Remembered is that the result was not in BigQuery's cache and that the refusal is booked.
Repeats are answered with the first one's id and booked together, as one entry whose label bqgate_refusals says how many
it is for. No money depends on it: a crash or an outage of the ledger loses counts of refusals only. Bounded in number:
the oldest are booked early.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from bqgate.domain.budget import Balance
from bqgate.domain.decision import Reject
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.job import Outcome, QueryRequest
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.principal import Principal
from bqgate.domain.tier import Customer
from bqgate.ports import Clock, Ledger, Telemetry
from bqgate.wire.query_request import may_be_served_from_cache

# How many refusals an entry stands for, where it is more than itself.
COUNT_LABEL = "bqgate_refusals"
KEPT_MAX = 10_000
_PAUSE_S = 1

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not run. `cap_bytes` is what one query may bill under the bound that it passed."""

    reject: Reject
    decision_id: str
    bytes_at_most: int | None
    cap_bytes: int
    balances: tuple[Balance, ...]


@dataclass(slots=True)
class _Remembered:
    """The entry of a refusal, and what came again since."""

    entry: Entry
    ends_s: float
    repeats: int = 0
    last_at: datetime | None = None


class Refusals:
    """What was refused lately. `run` books repeats for as long as the gate lives."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        telemetry: Telemetry,
        *,
        new_id: Callable[[], str],
        ttl_s: int,
        kept_max: int = KEPT_MAX,
    ) -> None:
        """Begin with nothing remembered.

        Args:
            ledger: where refusals are booked.
            clock: says when a moment is over.
            telemetry: counts what could not be booked.
            new_id: makes the id of an entry.
            ttl_s: how long a refusal is remembered, in seconds; 0: each is booked by itself.
            kept_max: how many are remembered, and how many sums may wait for the ledger.
        """
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._new_id = new_id
        self._ttl_s = ttl_s
        self._kept_max = kept_max
        self._remembered: OrderedDict[_Key, _Remembered] = OrderedDict()  # in the order in which their moments end
        self._due: deque[Entry] = deque(maxlen=kept_max)

    def recall(
        self, refused: Refused, request: QueryRequest, principal: Principal, customer: Customer
    ) -> Refused | None:
        """The answer to a query that was refused a moment ago for the same reason, with the numbers of now.

        None: it was not; look whether its result is in BigQuery's cache, then `book` it. A refusal that is recalled
        counts as booked.
        """
        remembered = self._remembered.get(_key_of(refused, request, principal, customer))
        if remembered is None or remembered.ends_s <= self._clock.monotonic_s():
            return None
        remembered.repeats += 1
        remembered.last_at = self._clock.now()
        return replace(refused, decision_id=remembered.entry.id)

    async def book(self, refused: Refused, request: QueryRequest, principal: Principal, customer: Customer) -> Refused:
        """Book a refusal and remember it; another like it may have come first meanwhile. A ledger away is no error."""
        again = self.recall(refused, request, principal, customer)
        if again is not None:
            return again
        entry = _entry_of(refused, request, principal, customer, self._clock.now())
        if self._ttl_s:
            key = _key_of(refused, request, principal, customer)
            self._end(key)
            self._remembered[key] = _Remembered(entry, self._clock.monotonic_s() + self._ttl_s)
            while len(self._remembered) > self._kept_max:
                self._end(next(iter(self._remembered)))
        await self._write(entry)
        return refused

    async def run(self) -> None:
        """Book repeats, once a second, until cancelled; then those that are left."""
        try:
            while True:
                await self._clock.sleep(_PAUSE_S)
                await self.book_ended()
        finally:
            await self.flush()

    async def book_ended(self) -> None:
        """Book the repeats of moments that are over."""
        now_s = self._clock.monotonic_s()
        while self._remembered:
            key, remembered = next(iter(self._remembered.items()))
            if remembered.ends_s > now_s:
                break
            self._end(key)
        await self._write_due()

    async def flush(self) -> None:
        """Book all repeats now."""
        for key in tuple(self._remembered):
            self._end(key)
        await self._write_due()

    def _end(self, key: _Key) -> None:
        """Forget a refusal; what came again is due to be booked."""
        remembered = self._remembered.pop(key, None)
        if remembered is None or remembered.last_at is None:
            return
        entry, at = remembered.entry, remembered.last_at
        labels = {**entry.labels, COUNT_LABEL: str(remembered.repeats)}
        self._due.append(replace(entry, id=self._new_id(), booked_at=at, placed_at=at, labels=labels))

    async def _write_due(self) -> None:
        while self._due:
            await self._write(self._due.popleft())

    async def _write(self, entry: Entry) -> None:
        try:
            await self._ledger.book(entry)
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger", step="refusal")


def _key_of(refused: Refused, request: QueryRequest, principal: Principal, customer: Customer) -> _Key:
    """What makes two refusals one: who asked for whom, what, and why not. Labels are those of the first."""
    return (
        customer.id,
        principal.name,
        principal.workload or "",
        principal.credential.fingerprint,
        request.project_id,
        refused.reject.reason.value,
        request.fingerprint,
        str(may_be_served_from_cache(request)),
    )


def _entry_of(
    refused: Refused, request: QueryRequest, principal: Principal, customer: Customer, now: datetime
) -> Entry:
    return Entry(
        id=refused.decision_id,
        kind=EntryKind.REFUSAL,
        customer=customer.id,
        principal=principal.name,
        project_id=request.project_id,
        booked_at=now,
        window_keys={window.period: window.key for window in customer.windows(now)},
        outcome=Outcome.REFUSED,
        cost_nanos=0,
        workload=principal.workload,
        decision="reject",
        reason=refused.reject.reason.value,
        estimate_bytes=refused.bytes_at_most,
        estimate_nanos=min(refused.reject.amount_nanos, MAX_NANOS),
        fingerprint=request.short_fingerprint,
        labels=request.labels,
        placed_at=now,
    )
