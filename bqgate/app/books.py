"""Open what the commands that prove and correct the books work with: the ledger, the rules that hold, and BigQuery.

Used by the command line, beside a gate or without one. BigQuery is called with the credentials that the gate has of its
own; a gate that sends its callers' has none, so there it is this machine's default credentials. Nothing listens, and
nothing is made: a ledger that is not there is told.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bqgate.app.adapters import upstream_to
from bqgate.bigquery.credentials import AnonymousCredentials, CredentialsUnusable, UpstreamCredentials
from bqgate.bigquery.job_lists import ListedJobs
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.service_account import ServiceAccountCredentials
from bqgate.bigquery.token_source import load_token_source
from bqgate.domain.entry import EntryFilter
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.units import MS_PER_S
from bqgate.ledger import SqlLedger, SqlProofs, SqlRegistry, SqlSweepState, check_revision
from bqgate.observe.last_failure import LastFailure
from bqgate.policies.compose import compose
from bqgate.ports import Clock
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.proof import LedgerCheck
from bqgate.settlement.rerating import Rerating


@dataclass(frozen=True, slots=True)
class Books:
    """The books, open, and who works on them."""

    registry: SqlRegistry
    policies: PolicySnapshot
    check: LedgerCheck
    rerating: Rerating
    ledger: SqlLedger

    async def knows(self, customer: str) -> bool:
        """Whether there is such a customer, or was one for which something is booked.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        if customer in self.policies.customer_registry.customers:
            return True
        return bool((await self.ledger.fetch_entries(EntryFilter(customer=customer, page_size=1))).entries)


@asynccontextmanager
async def open_books(settings: Settings, clock: Clock) -> AsyncIterator[Books]:
    """The books as long as the context is open.

    Raises:
        LedgerUnavailable: the database does not answer, is not there, or needs `bqgate migrate`.
        PolicyFaults: what admins changed does not go together with these settings.
        CredentialsUnusable: BigQuery cannot be called.
    """
    url, timeout_s = settings.ledger.url.reveal(), settings.ledger.timeout_ms / MS_PER_S
    async with AsyncExitStack() as stack:
        await check_revision(url, timeout_s=timeout_s)
        registry = await SqlRegistry.open_existing(url, timeout_s=timeout_s)
        stack.push_async_callback(registry.close)
        policies = compose(settings.policy_base, await registry.fetch_policies())
        ledger = await SqlLedger.open(url, clock)
        stack.push_async_callback(ledger.close)
        proofs, sweeps = SqlProofs.open(url), SqlSweepState.open(url)
        stack.push_async_callback(proofs.close)
        stack.push_async_callback(sweeps.close)
        failure = LastFailure()
        upstream = upstream_to(settings, await _credentials(settings, clock, failure, stack))
        stack.push_async_callback(upstream.close)
        call_s, retries = settings.upstream.call_timeout_s, Retries(clock, failure)
        bigquery = GoogleBigQuery(upstream, timeout_s=call_s, retries=retries)
        check = LedgerCheck(
            reader=ListedJobs(JsonCalls(upstream, timeout_s=call_s, retries=retries)),
            bigquery=bigquery,
            ledger=ledger,
            proofs=proofs,
            sweeps=sweeps,
            policies=policies,
            clock=clock,
            is_open=settings.identity.mode is IdentityMode.OPEN,
        )
        known_prices = HeldPrices(ledger, policies)
        rerating = Rerating(
            ledger=ledger, bigquery=bigquery, known_prices=known_prices, prices=policies.prices, clock=clock
        )
        yield Books(registry, policies, check, rerating, ledger)


async def _credentials(
    settings: Settings, clock: Clock, failure: LastFailure, stack: AsyncExitStack
) -> UpstreamCredentials:
    if settings.upstream.credentials is Credentials.ANONYMOUS:
        return AnonymousCredentials()
    key_file = settings.upstream.service_account_file
    source = await asyncio.to_thread(load_token_source, str(key_file) if key_file else None)
    own = ServiceAccountCredentials(source, clock, failure)
    if not await own.renew():
        raise CredentialsUnusable(f"no token came: {failure.error}", remedy=failure.remedy)
    fresh = asyncio.create_task(own.keep_fresh())
    stack.callback(fresh.cancel)
    return own
