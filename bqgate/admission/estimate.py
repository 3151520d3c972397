"""Ask what a query would process, once for all who ask the same at the same time (step 3).

Called by admit; asks BigQuery by a dry run, whichever method the query came by. Answers are kept for a short time,
keyed by everything that decides them and by who asks (row-level security and authorized views differ by caller).
Bounded in number; a failed dry run is never kept and never means "costs nothing". What leaves: an Estimate, or the
port's errors (UpstreamRefused for a query that BigQuery calls invalid).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.ports import BigQuery, Clock, Journal
from bqgate.wire.query_request import dry_run_body, fingerprint

# Why an estimate is unknown: BigQuery called the query invalid, and jobs.insert lets it fail as a job.
DRY_RUN_REFUSED = "dry_run_refused"
# And where nobody answered, and domain.degradation says to go on.
DRY_RUN_AWAY = "dry_run_away"


@dataclass(frozen=True, slots=True)
class EstimateCaching:
    """How long and how many estimates are kept, and how many dry runs may be under way at once.

    BigQuery allows 300 concurrent requests a user (https://cloud.google.com/bigquery/quotas): 100 leaves room.
    """

    ttl_s: int = 60
    max_entries: int = 10_000
    max_dry_runs: int = 100


class Estimator:
    """Dry runs, cached and shared by identical concurrent requests."""

    def __init__(self, bigquery: BigQuery, clock: Clock, journal: Journal, caching: EstimateCaching) -> None:
        self._bigquery = bigquery
        self._clock = clock
        self._journal = journal
        self._caching = caching
        self._kept: OrderedDict[str, tuple[float, Estimate]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Estimate]] = {}
        self._places = asyncio.Semaphore(caching.max_dry_runs)

    async def estimate(self, request: QueryRequest, credential: Credential) -> Estimate:
        """The estimate of a query.

        Raises:
            UpstreamRefused: BigQuery refuses the query or the caller.
            UpstreamUnavailable: BigQuery does not answer.
        """
        key = f"{fingerprint(request)}:{credential.fingerprint}"
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock.monotonic_s():
            self._journal.count("estimate_cache_total", result="hit")
            return kept[1]
        flight = self._flights.get(key)
        self._journal.count("estimate_cache_total", result="miss" if flight is None else "joined")
        if flight is None:
            # The flight is a task of its own, so a caller that leaves takes nobody with it.
            flight = asyncio.ensure_future(self._ask(key, request, credential))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    async def is_cached(self, request: QueryRequest, credential: Credential) -> bool:
        """A second look, with BigQuery's cache on: whether the result is there for nothing. Never kept.

        Raises:
            UpstreamRefused: BigQuery refuses the query or the caller.
            UpstreamUnavailable: BigQuery does not answer.
        """
        async with self._places:
            body = dry_run_body(request, use_query_cache=True)
            estimate = await self._bigquery.dry_run(project_id=request.project_id, body=body, credential=credential)
        return estimate.cache_hit

    async def _ask(self, key: str, request: QueryRequest, credential: Credential) -> Estimate:
        async with self._places:
            estimate = await self._bigquery.dry_run(
                project_id=request.project_id, body=dry_run_body(request), credential=credential
            )
        self._kept[key] = (self._clock.monotonic_s() + self._caching.ttl_s, estimate)
        self._kept.move_to_end(key)
        while len(self._kept) > self._caching.max_entries:
            self._kept.popitem(last=False)
        return estimate

    def _land(self, key: str, flight: asyncio.Task[Estimate]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # looked at even when every caller has left, or asyncio complains
