"""Bound the dry runs under way, shared fairly between customers: FairPlaces with a clock and coroutines.

Used by estimator.py, and through FairDryRuns by everything else that dry-runs for a caller. A place lasts until
it is given back; a caller that disconnects while it waits gives its own back at once. Raises TooManyRequests where the
queue is full or no place came free in time.
"""

import asyncio
import itertools
from typing import Any

from bqgate.admission.estimates.fair_places import FairPlaces, Moves
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.domain.errors import TooManyRequests
from bqgate.domain.job import Estimate
from bqgate.domain.principal import Credential
from bqgate.ports import BigQuery, Clock, Telemetry

# Retry-After of a caller that found no place, in seconds.
_COME_BACK_S = 5

_STOPPING = "this gate is stopping."


class DryRunPlaces:
    """The places of one gate."""

    def __init__(
        self, clock: Clock, telemetry: Telemetry, *, places: int, waiting_max: int = 10_000, deadline_s: int = 30
    ) -> None:
        """Start with all places free.

        Args:
            clock: the time.
            telemetry: counts who was refused.
            places: how many dry runs may be under way.
            waiting_max: how many may wait for a place.
            deadline_s: how long one may wait; clients give up at 60 s.
        """
        self._clock = clock
        self._telemetry = telemetry
        self._deadline_s = deadline_s
        self._places = FairPlaces(places, waiting_max=waiting_max)
        self._numbers = itertools.count()
        # Resolved with None when granted, else with why not.
        self._waits: dict[str, asyncio.Future[str | None]] = {}
        self._timer: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def waiting_count(self) -> int:
        """How many wait."""
        return self._places.waiting_count

    @property
    def taken_count(self) -> int:
        """How many dry runs are under way."""
        return self._places.taken_count

    async def take(self, customer: str, caller: str) -> str:
        """Take a place for a dry run of a customer, for one of its callers. Returned is the ticket to `give_back`.

        Raises:
            TooManyRequests: there is none, or none in time.
        """
        queued = QueuedQuery(str(next(self._numbers)), customer, caller)
        if self._is_closed or not self._places.takes_at_once(queued):
            await self._wait(queued)
        return queued.hold_id

    def give_back(self, ticket: str) -> None:
        """Let the next have a place, or leave the queue."""
        self._tell(self._places.leave(ticket))
        if self._timer is not None:
            self._keep_time()

    async def _wait(self, queued: QueuedQuery) -> None:
        ticket = queued.hold_id
        granted = self._waits[ticket] = asyncio.get_running_loop().create_future()
        try:
            if self._is_closed:
                self._refuse(ticket, "stopping", _STOPPING)
            else:
                self._tell(self._places.arrive(queued, self._clock.monotonic_s()))
                self._keep_time()
            refusal = await granted
        except BaseException:
            self.give_back(ticket)
            raise
        finally:
            del self._waits[ticket]
        if refusal is not None:
            self.give_back(ticket)
            raise TooManyRequests(refusal, retry_after_s=_COME_BACK_S)

    def close(self) -> None:
        """Refuse all who wait or come later: the gate is stopping."""
        self._is_closed = True
        while (oldest := self._places.oldest) is not None:
            self._places.leave(oldest.queued.hold_id)
            self._refuse(oldest.queued.hold_id, "stopping", _STOPPING)
        self._keep_time()

    def _keep_time(self) -> None:
        """Run a task that watches deadlines while somebody waits, and only then."""
        if self._places.waiting_count == 0:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = asyncio.create_task(self._refuse_overdue())

    async def _refuse_overdue(self) -> None:
        while (oldest := self._places.oldest) is not None:
            left_s = oldest.arrived_s + self._deadline_s - self._clock.monotonic_s()
            if left_s > 0:
                await self._clock.sleep(left_s)
                continue
            self._tell(self._places.leave(oldest.queued.hold_id))
            self._refuse(oldest.queued.hold_id, "dry_run_deadline", f"no dry run within {self._deadline_s} s.")
        self._timer = None

    def _tell(self, moves: Moves) -> None:
        for ticket in moves.granted:
            self._resolve(ticket, None)
        for ticket in moves.refused:
            self._refuse(ticket, "dry_run_places", "too many queries are waiting for their dry runs already.")

    def _refuse(self, ticket: str, where: str, message: str) -> None:
        self._telemetry.count("shed_total", where=where)
        self._resolve(ticket, message)

    def _resolve(self, ticket: str, refusal: str | None) -> None:
        wait = self._waits.get(ticket)
        if wait is not None and not wait.done():
            wait.set_result(refusal)


class FairDryRuns:
    """A DryRunner that takes a place for each dry run, of the customer who pays."""

    def __init__(self, bigquery: BigQuery, places: DryRunPlaces) -> None:
        self._bigquery = bigquery
        self._places = places

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        """Ask what a query would process; see ports.BigQuery.

        Raises:
            TooManyRequests: there was no place in time.
            UpstreamRefused, UpstreamUnavailable: as ports.BigQuery.
        """
        caller = credential.caller
        ticket = await self._places.take(credential.customer or f"caller {caller}", caller)
        try:
            return await self._bigquery.dry_run(project_id=project_id, body=body, credential=credential)
        finally:
            self._places.give_back(ticket)
