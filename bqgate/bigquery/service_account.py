"""Call BigQuery in the gate's own name, with a token that is fetched before anybody waits for it.

Used as HttpUpstream's credentials, and by impersonation.py for customers without a service account of their own; app
runs `keep_fresh` as a background task as long as the gate lives. Tokens come from google-auth, which blocks, so it
works in a thread. A token is renewed five minutes before it ends; while none is valid every call fails with
UpstreamNotTried before anything is sent.

With one identity for all callers BigQuery no longer tells them apart: jobs, cached results and anonymous tables are
shared (https://cloud.google.com/bigquery/docs/cached-results), so whoever may use the gate may see them, unless the
gate keeps them apart itself.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import google.auth.transport.requests

from bqgate.bigquery.credentials import with_token
from bqgate.bigquery.token_source import TokenNotFetched, TokenSource, fetch_token
from bqgate.domain.errors import UpstreamNotTried
from bqgate.domain.principal import Credential
from bqgate.ports import Clock, Telemetry
from bqgate.wire.http_message import HttpRequest

# Google's tokens live for an hour; five minutes are many retries.
_RENEW_BEFORE = timedelta(minutes=5)
_RETRY_S = 10
_PAUSE_MIN_S = 1
# google-auth's own bound is two minutes, in which a caller has long given up.
_REQUEST_TIMEOUT_S = 10


class HeldToken:
    """The last token of a source, and until when it holds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._token: str | None = None
        self.ends_at: datetime | None = None

    def drop(self) -> None:
        """Have none until the next is fetched."""
        self._token = self.ends_at = None

    @property
    def valid(self) -> str | None:
        """The token, None where there is none or it has ended."""
        is_over = self.ends_at is not None and self._clock.now() >= self.ends_at
        return None if is_over else self._token

    async def renew(self, source: TokenSource) -> None:
        """Fetch a new token in a thread.

        Raises:
            TokenNotFetched: it failed, and the old one stands.
        """
        request = google.auth.transport.requests.Request()
        await asyncio.to_thread(fetch_token, source, partial(request, timeout=_REQUEST_TIMEOUT_S))
        self._token = source.token
        self.ends_at = None if source.expiry is None else source.expiry.replace(tzinfo=UTC)


class ServiceAccountCredentials:
    """The gate's own token in every call."""

    def __init__(self, source: TokenSource, clock: Clock, telemetry: Telemetry) -> None:
        self._source = source
        self._clock = clock
        self._telemetry = telemetry
        self._held = HeldToken(clock)
        self._cause = "none was fetched yet"

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:  # noqa: ARG002 - the caller's is not used
        """The call with the gate's token and without the caller's credentials."""
        token = self._held.valid
        if token is None:
            raise UpstreamNotTried(f"The gate has no valid token for BigQuery ({self._cause}).")
        return with_token(call, token)

    def drop_refused(self, credential: Credential) -> bool:  # noqa: ARG002 - the port's signature
        """It was the gate's own. It is kept, because nobody would wait for the next: the calls that follow try it."""
        return True

    async def renew(self) -> bool:
        """Fetch a token. False: it failed, and the old one stands."""
        try:
            await self._held.renew(self._source)
        except TokenNotFetched as error:
            self._cause = error.cause
            self._telemetry.log("token_not_renewed", error=str(error), cause=error.cause, remedy=error.remedy)
            return False
        return True

    async def keep_fresh(self) -> None:
        """Renew the token for ever, each time before it ends."""
        while True:
            has_new = await self.renew()
            await self._clock.sleep(self._pause_s() if has_new else _RETRY_S)

    def _pause_s(self) -> float:
        if self._held.ends_at is None:
            return _RENEW_BEFORE.total_seconds()
        return max((self._held.ends_at - self._clock.now() - _RENEW_BEFORE).total_seconds(), _PAUSE_MIN_S)
