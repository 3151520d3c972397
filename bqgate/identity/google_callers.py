"""Learn whose a Google token is, where callers' own tokens go to BigQuery (upstream.credentials: caller).

Called by the authenticator. An access token of Google's is opaque; who is behind it BigQuery tells in the answer to a
dry run (Job.user_email: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job), which is free, needs no scope
beyond BigQuery's, and proves that the token works. What is learnt is kept by a hash of the token, an hour at most,
which is as long as such a token lives; a token that Google refuses is remembered for a minute, so that it costs
BigQuery one call. Of the places for such questions one address never has all, so that made-up tokens keep no newcomer
waiting. Which customer an address belongs to is looked up at every use, for admins change that.

What leaves: an Identity, Unauthenticated, BigQuery's own refusal, TooManyRequests, or UpstreamUnavailable. No token is
kept.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from bqgate.domain.errors import LoginFault, Unauthenticated, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.ports import BigQuery, Clock, PolicySource, Telemetry
from bqgate.wire.source_address import source_of

KEPT_S = 3_600
REFUSED_S = 60
_REFUSALS_MAX = 1_000
# Google's refusals are some 2 KiB; a larger one is passed on and not remembered.
_REFUSAL_BYTES_MAX = 16 * 1024
# Google's longest tokens have 12,288 bytes (https://developers.google.com/identity/protocols/oauth2#size).
_TOKEN_CHARS_MAX = 16 * 1024
# Strangers' tokens must not use up the gate's connections to BigQuery, nor have honest newcomers wait for long.
DRY_RUNS_MAX = 50
WAITING_MAX = 1_000
_NO_PROJECT = (
    "bqgate does not know this token yet, and this request names no project in which it could ask BigQuery whose it "
    "is. Send any request to a project first (a dry run of SELECT 1 is enough), then repeat this one with the same "
    "token."
)


class Places(Protocol):
    """Places for questions to BigQuery, shared fairly."""

    async def take(self, source: str, caller: str, /) -> str:
        """Take a place for a caller, in the line of the address from which it calls. Returned is its ticket.

        Raises:
            TooManyRequests: there is none, or none in time.
        """

    def give_back(self, ticket: str, /) -> None:
        """Let the next have the place."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What is kept of BigQuery's refusal, to raise it anew."""

    status: int
    body: bytes = field(repr=False)
    content_type: str
    challenge: str | None

    def error(self) -> UpstreamRefused:
        return UpstreamRefused(self.status, self.body, self.content_type, challenge=self.challenge)


class GoogleCallers:
    """The addresses behind Google's tokens, as far as they are known."""

    def __init__(
        self,
        bigquery: BigQuery,
        policies: PolicySource,
        places: Places,
        clock: Clock,
        telemetry: Telemetry,
        *,
        kept_max: int = 10_000,
    ) -> None:
        """Know nobody yet; remember `kept_max` tokens at most, and forget first who was not seen for longest."""
        self._bigquery = bigquery
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._kept_max = kept_max
        self._emails: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._refusals: OrderedDict[bytes, tuple[float, _Refusal]] = OrderedDict()
        self._flights: dict[tuple[bytes, str], asyncio.Task[str]] = {}
        self._places = places

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        """Who stands behind a token; see ports.Authenticator. The project is where an unknown token is asked about."""
        hashed = _hash_of(credential)
        email = self._email(hashed)
        if email is None:
            self._raise_refusal(hashed)
            if not project_id:
                raise Unauthenticated(LoginFault.MISSING, _NO_PROJECT)
            email = await self._learn(hashed, project_id, credential, source_of(source))
        customer = self._policies.customer_registry.customer_id_of_email(email)
        return Identity(name=email, subject=f"google:{email}", role=Role.USER, customer=customer)

    def _email(self, hashed: bytes) -> str | None:
        kept = self._emails.get(hashed)
        if kept is None:
            return None
        ends_at_s, email = kept
        if ends_at_s <= self._clock.monotonic_s():
            del self._emails[hashed]
            return None
        self._emails.move_to_end(hashed)
        return email

    def _raise_refusal(self, hashed: bytes) -> None:
        kept = self._refusals.get(hashed)
        if kept is not None and kept[0] > self._clock.monotonic_s():
            raise kept[1].error()

    async def _learn(self, hashed: bytes, project_id: str, credential: Credential, source: str) -> str:
        """Ask BigQuery, once for all who want to know the same at the same time."""
        key = (hashed, project_id)
        flight = self._flights.get(key)
        if flight is None:
            # The flight is a task of its own, so a caller that leaves takes nobody with it.
            flight = asyncio.ensure_future(self._ask(hashed, project_id, credential, source))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    async def _ask(self, hashed: bytes, project_id: str, credential: Credential, source: str) -> str:
        asked_at_s = self._clock.monotonic_s()
        ticket = await self._places.take(source, hashed.hex())
        try:
            estimate = await self._bigquery.dry_run(
                project_id=project_id, body=_question(project_id), credential=credential
            )
        except UpstreamRefused as refusal:
            # Only 401 speaks of the token; 403 and 404 speak of this project.
            if refusal.status == 401 and len(refusal.body) <= _REFUSAL_BYTES_MAX:
                kept = _Refusal(refusal.status, refusal.body, refusal.content_type, refusal.challenge)
                self._refusals[hashed] = (asked_at_s + REFUSED_S, kept)
                _cut(self._refusals, _REFUSALS_MAX)
            raise
        finally:
            self._places.give_back(ticket)
        email = estimate.user_email
        if not email:
            self._telemetry.log("caller_not_named", error="no user_email in a dry run")
            raise UpstreamUnavailable("BigQuery did not say whose the token is.", may_have_worked=False)
        self._emails[hashed] = (asked_at_s + KEPT_S, email)
        _cut(self._emails, self._kept_max)
        return email

    def _land(self, key: tuple[bytes, str], flight: asyncio.Task[str]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # looked at even when every caller has left, or asyncio complains


def _hash_of(credential: Credential) -> bytes:
    """What tells a token from others and is none."""
    scheme, _, token = (credential.authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(LoginFault.MISSING, "Send an OAuth 2 access token of Google's: Authorization: Bearer …")
    if len(token) > _TOKEN_CHARS_MAX:
        raise Unauthenticated(LoginFault.OVERSIZED, f"The token is longer than {_TOKEN_CHARS_MAX} characters.")
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _question(project_id: str) -> dict[str, Any]:
    """A dry run that reads nothing."""
    query = {"query": "SELECT 1", "useLegacySql": False}
    return {"jobReference": {"projectId": project_id}, "configuration": {"query": query, "dryRun": True}}


def _cut(kept: OrderedDict[bytes, Any], entries_max: int) -> None:
    while len(kept) > entries_max:
        kept.popitem(last=False)
