"""Show what the ledger knows of open holds, and of the costs of the last hours.

Mounted by control_plane; asks the Ledger. Every answer says when it was true (`as_of`). Bounded: costs come with the
latest of their jobs. Jobs are in jobs, spend over days and months in spend.
"""

from datetime import timedelta

from aiohttp import web

from bqgate.admin.documents import answer_document, write_cost, write_entry, write_hold, write_moment, write_total
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.schemas import CostsDocument, HoldsDocument
from bqgate.domain.entry import EntryFilter, EntryKind, Origin
from bqgate.domain.principal import Identity
from bqgate.ports import Clock, Ledger, LedgerReports

RECENT_JOBS = 20

# A leap year; whoever looks back further wants a report.
LOOKBACK_HOURS_MAX = 366 * 24


class BookingViews:
    """The views of holds and of the last hours' costs."""

    def __init__(self, *, ledger: Ledger, reports: LedgerReports, clock: Clock) -> None:
        self._ledger = ledger
        self._reports = reports
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        hours = {"type": "integer", "minimum": 1, "maximum": LOOKBACK_HOURS_MAX, "default": 1}
        return (
            Operation(
                "holds.list",
                "GET",
                "/v1/holds",
                "Open holds, oldest first",
                "costs",
                self.holds,
                parameters=(CUSTOMER_IN_QUERY,),
                answers={200: Answered("The open holds.", HoldsDocument)},
            ),
            Operation(
                "costs.show",
                "GET",
                "/v1/costs",
                "What was booked in the last hours: in all, through the gate and past it, by principal, and by job",
                "costs",
                self.costs,
                RateClass.COSTS,
                parameters=(
                    CUSTOMER_IN_QUERY,
                    Parameter("lookback_hours", "How many hours to look back.", schema=hours),
                ),
                answers={200: Answered("The costs.", CostsDocument)},
            ),
        )

    async def holds(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/holds."""
        customer = Parameters(request, ("customer",)).customer()
        now = self._clock.now()
        holds = await self._ledger.fetch_open_holds(customer)
        return answer_document(
            HoldsDocument(holds=tuple(write_hold(hold, now) for hold in holds), as_of=write_moment(now))
        )

    async def costs(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/costs."""
        parameters = Parameters(request, ("customer", "lookback_hours"))
        customer = parameters.customer()
        hours = parameters.integer("lookback_hours", default=1, at_least=1, at_most=LOOKBACK_HOURS_MAX)
        now = self._clock.now()
        since = now - timedelta(hours=hours)
        swept_until = await self._reports.fetch_swept_until()
        rows = await self._reports.fetch_costs(since=since, customer=customer)
        recent = await self._reports.fetch_entries(
            EntryFilter(customer=customer, since=since, kind=EntryKind.CHARGE, page_size=RECENT_JOBS)
        )
        return answer_document(
            CostsDocument(
                customer=customer,
                lookback_hours=hours,
                since=write_moment(since),
                total=write_total(rows),
                by_origin={each: write_total([row for row in rows if row.origin is each]) for each in Origin},
                by_principal=tuple(write_cost(row) for row in rows),
                recent_jobs=tuple(write_entry(entry) for entry in recent.entries),
                swept_until=None if swept_until is None else write_moment(swept_until),
                as_of=write_moment(now),
            )
        )
