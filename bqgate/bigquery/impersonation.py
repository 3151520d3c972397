"""Call BigQuery as the service account of the caller's customer, so that its IAM and row-level security hold.

Used as HttpUpstream's credentials where customers have accounts of their own (Credential.account); calls without one go
in the gate's own name. The gate's own account asks IAM for a token of the customer's, for which it needs the role
Service Account Token Creator on it
(https://cloud.google.com/iam/docs/create-short-lived-credentials-direct).

The first use of an account waits for its token, together with everybody else who wants it; after that app's background
task `keep_fresh` renews it ten minutes before it ends, as long as the account was used within the last hour. Accounts
are bounded in number, and so are the threads that wait for IAM, because google-auth blocks. What leaves: the call with
the token, or UpstreamNotTried; IAM is then left alone for ten seconds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from google.auth import impersonated_credentials
from google.auth.exceptions import GoogleAuthError

from bqgate.bigquery.credentials import UpstreamCredentials, with_token
from bqgate.bigquery.service_account import HeldToken
from bqgate.bigquery.token_causes import cause_of_failure
from bqgate.bigquery.token_source import SCOPES, TokenNotFetched, TokenSource
from bqgate.domain.errors import UpstreamNotTried
from bqgate.domain.principal import Credential
from bqgate.ports import Clock, Telemetry
from bqgate.wire.http_message import HttpRequest

# Makes the source of an account's tokens; may block.
MakeSource: TypeAlias = Callable[[str], TokenSource]

ACCOUNTS_MAX = 1_000
WAIT_S = 15.0
_RENEW_BEFORE = timedelta(minutes=10)
_LOOK_S = 30
_RETRY_S = 10
_UNUSED_S = 3_600
# Everything that blocks shares asyncio's few threads, name look-ups included.
_THREADS_MAX = 3


@dataclass(slots=True)
class _Account:
    """One account: its token, when it was last wanted and when IAM last refused (monotonic seconds)."""

    held: HeldToken
    used_at_s: float
    source: TokenSource | None = None
    failed_at_s: float | None = None
    flight: asyncio.Task[None] | None = None


class ImpersonatedAccounts:
    """The customers' accounts that are in use, and the gate's own for everybody else."""

    def __init__(
        self,
        own: UpstreamCredentials,
        make_source: MakeSource,
        clock: Clock,
        telemetry: Telemetry,
        *,
        accounts_max: int = ACCOUNTS_MAX,
        wait_s: float = WAIT_S,
    ) -> None:
        """Know no account yet.

        Args:
            own: for calls without an account; kept fresh by whoever made it.
            make_source: see `sources_from`.
            clock: the time.
            telemetry: where the operator reads of refusals.
            accounts_max: how many accounts' tokens are kept; the one unused for longest goes first.
            wait_s: how long a call waits for an account's first token.
        """
        self._own = own
        self._make_source = make_source
        self._clock = clock
        self._telemetry = telemetry
        self._accounts_max = accounts_max
        self._wait_s = wait_s
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._places = asyncio.Semaphore(_THREADS_MAX)

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:
        """The call as it goes upstream; see UpstreamCredentials."""
        if credential.account is None:
            return await self._own.applied_to(call, credential)
        return with_token(call, await self._token(credential.account))

    def drop_refused(self, credential: Credential) -> bool:
        """It was the gate's own, or an account's, which is fetched anew by its next use, but not at once again."""
        if credential.account is None:
            return self._own.drop_refused(credential)
        account = self._accounts.get(credential.account)
        if account is not None:
            account.held.drop()
            account.failed_at_s = self._clock.monotonic_s()
            self._telemetry.log("account_token_refused", account=credential.account, error="BigQuery takes it for none")
        return True

    async def keep_fresh(self) -> None:
        """For ever: renew the tokens of accounts that are in use, and forget the others."""
        while True:
            await self._clock.sleep(_LOOK_S)
            for name, account in list(self._accounts.items()):
                if self._age_s(account.used_at_s) > _UNUSED_S:
                    self._accounts.pop(name, None)
                elif account.held.ends_at is not None and account.held.ends_at - self._clock.now() <= _RENEW_BEFORE:
                    await self._fetched(name, account)

    async def _token(self, name: str) -> str:
        account = self._used(name)
        token = account.held.valid
        if token is None and not self._has_just_failed(account):
            try:
                async with asyncio.timeout(self._wait_s):
                    await self._fetched(name, account)
            except TimeoutError:
                self._telemetry.log("account_token_late", account=name, error="IAM does not answer in time")
            token = account.held.valid
        if token is None:
            raise UpstreamNotTried("The gate has no valid token for the customer's account.")
        return token

    def _used(self, name: str) -> _Account:
        """The account, known from now on; another is forgotten where there are too many."""
        now_s = self._clock.monotonic_s()
        account = self._accounts.setdefault(name, _Account(HeldToken(self._clock), now_s))
        account.used_at_s = now_s
        self._accounts.move_to_end(name)
        while len(self._accounts) > self._accounts_max:
            self._accounts.popitem(last=False)
        return account

    async def _fetched(self, name: str, account: _Account) -> None:
        """Wait for a fetch of a new token, the one under way where there is one."""
        if account.flight is None:
            # A task of its own, so that a caller that leaves takes nobody with it.
            account.flight = asyncio.ensure_future(self._fetch(name, account))
        await asyncio.shield(account.flight)

    async def _fetch(self, name: str, account: _Account) -> None:
        try:
            async with self._places:
                if account.source is None:
                    account.source = await asyncio.to_thread(self._make_source, name)
                await account.held.renew(account.source)
        except (GoogleAuthError, TokenNotFetched) as error:
            account.failed_at_s = self._clock.monotonic_s()
            self._telemetry.count("failures_total", system="iam", step="impersonate")
            cause = error.cause if isinstance(error, TokenNotFetched) else cause_of_failure(error)
            self._telemetry.log("account_token_not_fetched", account=name, error=str(error), cause=cause)
        else:
            account.failed_at_s = None
        finally:
            account.flight = None

    def _has_just_failed(self, account: _Account) -> bool:
        return account.failed_at_s is not None and self._age_s(account.failed_at_s) < _RETRY_S

    def _age_s(self, moment_s: float) -> float:
        return self._clock.monotonic_s() - moment_s


def sources_from(own: TokenSource) -> MakeSource:
    """Sources of tokens that IAM makes for the gate's own account, `own` (see token_source.load_token_source)."""

    def make_source(account: str) -> TokenSource:
        source: TokenSource = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]  # no types
            source_credentials=own, target_principal=account, target_scopes=list(SCOPES)
        )
        return source

    return make_source
