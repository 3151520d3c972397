"""Ask BigQuery by a dry run what a query would process, once for all who ask the same at the same time.

Used by admit.py. Answers are cached for a short time, by everything that decides them and by who asks (row-level
security and authorized views differ by caller). A failed dry run is never cached and never means "costs nothing". A
write drops the estimates of what it touches (`drop`), so that no query fails under a cap that was right a minute ago.
Returns an Estimate, or raises the port's errors (UpstreamRefused for a query that BigQuery calls invalid).
"""

import asyncio
from dataclasses import dataclass, field

from bqgate.admission.estimates.dry_run_places import DryRunPlaces
from bqgate.admission.estimates.estimate_cache import EstimateCache
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.domain.statements import may_be_cached
from bqgate.domain.touched import Reads, Touched, reads_of
from bqgate.ports import BigQuery, Clock, Telemetry
from bqgate.wire.query_request import dry_run_body

# Why an estimate is unknown: BigQuery called the query invalid, which jobs.insert turns into a failed job.
DRY_RUN_REFUSED = "dry_run_refused"
# Or BigQuery did not answer, and domain/degradation.py says to go on.
DRY_RUN_AWAY = "dry_run_away"

# How many written tables are remembered while a dry run is under way; more become their datasets.
_NAMES_MAX = 1_000
_NOTHING = Touched()
# How often a caller asks again because of writes that came before it joined another's dry run.
_ROUNDS_MAX = 3


@dataclass(frozen=True, slots=True)
class EstimateCaching:
    """How many estimates are cached and for how long; how many dry runs may be under way, and how many may wait.

    BigQuery allows 300 concurrent requests a user (https://cloud.google.com/bigquery/quotas): 100 leaves room.
    """

    ttl_s: int = 60
    max_entries: int = 10_000
    max_dry_runs: int = 100
    max_waiting: int = 10_000
    waiting_deadline_s: int = 30


@dataclass(frozen=True, slots=True)
class _Question:
    """Who asks about which query. `key` is equal for questions that have the same answer, whoever pays.

    `customer` is whose place the dry run takes: customers share answers, and never wait in one another's line.
    `sees_cache`: the dry run may use BigQuery's cache. `line` is equal for questions that one dry run answers.
    """

    key: str
    request: QueryRequest
    credential: Credential
    customer: str
    sees_cache: bool = False
    line: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", (self.key, self.customer))


def _key_of(request: QueryRequest, credential: Credential, *, sees_cache: bool = False) -> str:
    """Everything that decides an estimate."""
    kind = "cached" if sees_cache else "estimate"
    return f"{kind}:{request.fingerprint}:{credential.fingerprint}:{credential.account}"


@dataclass(slots=True)
class _Flight:
    """A dry run that several may wait for. `touched` is what was written since it was sent to BigQuery.

    Each waits for a future of its own: a caller that disconnects must not cancel the dry run for the others.
    """

    task: "asyncio.Task[tuple[Estimate, Reads]]" = field(init=False)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    is_sent: bool = False
    may_be_kept: bool = True
    touched: Touched = _NOTHING

    def land(self) -> None:
        """Wake those who have not left."""
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_result(None)


class Estimator:
    """Dry runs, cached and shared by identical concurrent requests."""

    def __init__(self, bigquery: BigQuery, clock: Clock, telemetry: Telemetry, caching: EstimateCaching) -> None:
        """Start with an empty cache."""
        self._bigquery = bigquery
        self._clock = clock
        self._telemetry = telemetry
        self._caching = caching
        self._kept = EstimateCache(max_entries=caching.max_entries)
        self._flights: dict[tuple[str, str], _Flight] = {}
        self.places = DryRunPlaces(
            clock,
            telemetry,
            places=caching.max_dry_runs,
            waiting_max=caching.max_waiting,
            deadline_s=caching.waiting_deadline_s,
        )

    async def estimate(self, request: QueryRequest, credential: Credential, customer: str) -> Estimate:
        """The estimate of a query of a customer's.

        Raises:
            UpstreamRefused: BigQuery refuses the query or the caller.
            UpstreamUnavailable: BigQuery does not answer.
            TooManyRequests: too many dry runs wait, or its turn did not come in time.
        """
        key = _key_of(request, credential)
        kept = self._kept.get(key, self._clock.monotonic_s())
        if kept is not None:
            self._telemetry.count("estimate_cache_total", result="hit")
            return kept
        question = _Question(key, request, credential, customer)
        self._telemetry.count("estimate_cache_total", result="joined" if question.line in self._flights else "miss")
        return await self._fly(question)

    async def is_cached(self, request: QueryRequest, credential: Credential, customer: str) -> bool:
        """Whether BigQuery has the result in its cache, where it is free. Never cached here.

        Raises:
            UpstreamRefused, UpstreamUnavailable, TooManyRequests: as estimate.
        """
        key = _key_of(request, credential, sees_cache=True)
        question = _Question(key, request, credential, customer, sees_cache=True)
        found = await self._fly(question)
        return found.cache_hit and may_be_cached(found.statement_type)

    def forget(self, request: QueryRequest, credential: Credential) -> None:
        """Drop what is cached of this query, which has proved wrong."""
        forgotten = _key_of(request, credential)
        self._kept.forget(forgotten)
        for line in [line for line in self._flights if line[0] == forgotten]:
            self._flights.pop(line).may_be_kept = False  # those who wait for it still get its answer

    def forget_failed(self, hold: Hold) -> None:
        """Let the next estimate of a query be a new one, whose job failed: perhaps under a cap that was too small."""
        if hold.fingerprint is not None:
            self._kept.drop_query(hold.fingerprint)

    def drop(self, touched: Touched) -> None:
        """Drop what a write may have changed. A dry run under way that read it is not cached."""
        dropped = self._kept.drop(touched)
        if dropped:
            self._telemetry.count("estimates_dropped_total", dropped)
        for flight in self._flights.values():
            if flight.is_sent:
                flight.touched = (flight.touched | touched).within(_NAMES_MAX)

    async def _fly(self, question: _Question) -> Estimate:
        """Join a dry run or start one; again, where a write before joining turns out to concern it."""
        for _ in range(_ROUNDS_MAX):
            flight = self._flights.get(question.line) or self._take_off(question)
            written_before = flight.touched
            landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            flight.waiting.append(landed)
            try:
                await landed
            except asyncio.CancelledError:
                flight.waiting.remove(landed)
                if not flight.waiting:
                    self._abandon(question, flight)
                raise
            estimate, reads = flight.task.result()
            if not reads.may_change_by(written_before):
                break
        return estimate

    def _take_off(self, question: _Question) -> _Flight:
        flight = self._flights[question.line] = _Flight()
        flight.task = asyncio.create_task(self._fly_on(question, flight))
        return flight

    def _abandon(self, question: _Question, flight: _Flight) -> None:
        """Nobody waits for a dry run any more: what was sent is finished, for whoever asks the same soon."""
        flight.task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved: it may fail
        if not flight.is_sent:
            self._leave(question, flight)
            flight.task.cancel()

    async def _fly_on(self, question: _Question, flight: _Flight) -> tuple[Estimate, Reads]:
        """Make the dry run, whoever leaves meanwhile, and wake those who wait for it."""
        try:
            return await self._ask(question, flight)
        finally:
            self._leave(question, flight)
            flight.land()

    async def _ask(self, question: _Question, flight: _Flight) -> tuple[Estimate, Reads]:
        request, credential = question.request, question.credential
        ticket = await self.places.take(question.customer, credential.caller)
        try:
            flight.is_sent = True
            estimate = await self._bigquery.dry_run(
                project_id=request.project_id,
                body=dry_run_body(request, use_query_cache=question.sees_cache),
                credential=credential,
            )
        finally:
            self.places.give_back(ticket)
        estimate = estimate.with_calls(request.facts)
        reads = reads_of(estimate, request.project_id)
        if not question.sees_cache and flight.may_be_kept and not reads.may_change_by(flight.touched):
            expires_s = self._clock.monotonic_s() + self._caching.ttl_s
            self._kept.keep(question.key, estimate, reads, expires_s=expires_s, query=request.short_fingerprint)
        return estimate, reads

    def _leave(self, question: _Question, flight: _Flight) -> None:
        """Let nobody join it any more; another may be under way in its line."""
        if self._flights.get(question.line) is flight:
            del self._flights[question.line]
