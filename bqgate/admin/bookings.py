"""Show what the ledger knows: booked jobs, open holds, costs.

Mounted by control_plane; asks the Ledger. Every answer says when it was true (`as_of`). Bounded: jobs come in pages,
costs with the latest of their jobs.
"""

from datetime import timedelta
from typing import Any

from aiohttp import web

from bqgate.admin.documents import answer_document, write_cost, write_entry, write_hold, write_moment, write_total
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.problem import Problem
from bqgate.admin.schemas import CostsDocument, HoldsDocument, JobsDocument
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.principal import Identity
from bqgate.ports import Clock, Ledger

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
RECENT_JOBS = 20

# A leap year; whoever looks back further wants a report.
LOOKBACK_HOURS_MAX = 366 * 24

_MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}


class BookingViews:
    """The views of the ledger."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        page_size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}
        hours = {"type": "integer", "minimum": 1, "maximum": LOOKBACK_HOURS_MAX, "default": 1}
        return (
            Operation(
                "jobs.list",
                "GET",
                "/v1/jobs",
                "Booked jobs newest first, refusals among them",
                "costs",
                self.jobs,
                parameters=(
                    CUSTOMER_IN_QUERY,
                    Parameter("since", "Booked at this moment or later.", schema=_MOMENT),
                    Parameter("until", "Booked before this moment.", schema=_MOMENT),
                    Parameter("page_token", "next_page_token of the page before.", schema={"type": "string"}),
                    Parameter("page_size", "How many at most.", schema=page_size),
                ),
                answers={200: Answered("A page of jobs.", JobsDocument)},
            ),
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
                "What was booked in the last hours: in all, by principal, and the latest jobs",
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

    async def jobs(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/jobs."""
        parameters = Parameters(request, ("customer", "since", "until", "page_token", "page_size"))
        since, until = parameters.moment("since"), parameters.moment("until")
        if since is not None and until is not None and since > until:
            raise Problem(400, "since is later than until.", field="since")
        wanted = EntryFilter(
            customer=parameters.customer(),
            since=since,
            until=until,
            page_size=parameters.integer("page_size", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE_MAX),
            page_token=parameters.text("page_token"),
        )
        now = self._clock.now()
        try:
            page = await self._ledger.fetch_entries(wanted)
        except MalformedRequest as malformed:
            raise Problem(400, malformed.message, field=malformed.field or "page_token") from None
        return answer_document(
            JobsDocument(
                jobs=tuple(write_entry(entry) for entry in page.entries),
                next_page_token=page.next_page_token,
                as_of=write_moment(now),
            )
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
        rows = await self._ledger.fetch_costs(since=since, customer=customer)
        recent = await self._ledger.fetch_entries(
            EntryFilter(customer=customer, since=since, kind=EntryKind.CHARGE, page_size=RECENT_JOBS)
        )
        return answer_document(
            CostsDocument(
                customer=customer,
                lookback_hours=hours,
                since=write_moment(since),
                total=write_total(rows),
                by_principal=tuple(write_cost(row) for row in rows),
                recent_jobs=tuple(write_entry(entry) for entry in recent.entries),
                as_of=write_moment(now),
            )
        )
