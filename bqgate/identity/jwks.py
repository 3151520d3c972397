"""Keep the public keys by which other issuers' tokens are verified: JSON Web Key Sets, fetched when they are needed.

Called by oidc.py with an issuer that the settings name, never with one that a token brings. A set comes from the
configured URL, or from where the issuer's discovery document points (OpenID Connect Discovery 1.0, section 4). It is
kept for ten minutes; a key id that it does not have fetches it anew, at most every 30 seconds, so that a rotation is
seen at once and a made-up key id costs the issuer nothing. Callers that want the same set share one fetch. While the
issuer is away the last good set stands for a day.

Every fetch is bounded in bytes and time, follows no redirect, and needs https, but on loopback. What leaves: keys
(RFC 7517) with the algorithms that each may verify, or UpstreamUnavailable. Symmetric keys are never among them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.observe.causes import cause_of
from bqgate.ports import Clock, Telemetry

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

TIMEOUT_S = 5.0
KEPT_S = 600
_REFETCH_S = 30
# With no set at all everybody waits for the issuer, so it is asked again sooner.
_RETRY_S = 5
_STANDS_S = 24 * 3_600
_DOCUMENT_BYTES_MAX = 1024 * 1024
_KEYS_MAX = 200
# RFC 7518, section 3.3.
_RSA_BITS_MIN = 2_048

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# What a key may verify, by its type and curve (RFC 7518 section 3.1, RFC 8037 section 3.1).
_ALGORITHMS: Mapping[tuple[object, object], tuple[str, ...]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key of an issuer and the algorithms that it may verify. `kid` None: the set gives it no name."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


@dataclass(slots=True)
class _Kept:
    """One issuer's set, when it was fetched, and when it was last asked for (monotonic seconds)."""

    keys: tuple[VerifyingKey, ...] | None = None
    fetched_at_s: float = 0.0
    asked_at_s: float | None = None
    flight: asyncio.Task[None] | None = None


class _Faulty(Exception):
    """The issuer's answer is no key set; says why, for the operator."""


class KeySets:
    """The key sets of all configured issuers."""

    def __init__(
        self,
        clock: Clock,
        telemetry: Telemetry,
        *,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Fetch nothing yet. A session that is given stays its giver's; without one the first fetch opens its own."""
        self._clock = clock
        self._telemetry = telemetry
        self._session = session
        self._own_session: aiohttp.ClientSession | None = None
        self._timeout_s = timeout_s
        self._kept: dict[tuple[str, str | None], _Kept] = {}

    async def find(self, issuer: str, jwks_url: str | None, kid: str | None) -> tuple[VerifyingKey, ...]:
        """The keys of that id; all of the set where `kid` is None. Empty: the issuer has no such key.

        Args:
            issuer: one that the settings name.
            jwks_url: where its keys are; None: its discovery document says.
            kid: the key id that a token names.

        Raises:
            UpstreamUnavailable: the issuer does not answer, and no set of the last 24 hours is there.
        """
        kept = self._kept.setdefault((issuer, jwks_url), _Kept())
        if kept.keys is None or self._age_s(kept.fetched_at_s) >= KEPT_S:
            await self._fetched(kept, issuer, jwks_url, pause_s=_RETRY_S if kept.keys is None else _REFETCH_S)
        found = _named(self._standing(kept), kid)
        if not found:
            await self._fetched(kept, issuer, jwks_url, pause_s=_REFETCH_S)
            found = _named(self._standing(kept), kid)
        return found

    async def close(self) -> None:
        """End fetches that are under way and close the session that was opened here."""
        flights = [kept.flight for kept in self._kept.values() if kept.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        if self._own_session is not None:
            await self._own_session.close()

    def _age_s(self, moment_s: float) -> float:
        return self._clock.monotonic_s() - moment_s

    def _standing(self, kept: _Kept) -> tuple[VerifyingKey, ...]:
        if kept.keys is None or self._age_s(kept.fetched_at_s) >= _STANDS_S:
            raise UpstreamUnavailable("The token's issuer is not answering.", may_have_worked=False)
        return kept.keys

    async def _fetched(self, kept: _Kept, issuer: str, jwks_url: str | None, *, pause_s: float) -> None:
        """Wait for a fetch: the one under way, or a new one where the last is `pause_s` ago."""
        if kept.flight is None:
            if kept.asked_at_s is not None and self._age_s(kept.asked_at_s) < pause_s:
                return
            kept.asked_at_s = self._clock.monotonic_s()
            # A task of its own, so that a caller that leaves takes nobody with it.
            kept.flight = asyncio.ensure_future(self._fetch(kept, issuer, jwks_url))
        await asyncio.shield(kept.flight)

    async def _fetch(self, kept: _Kept, issuer: str, jwks_url: str | None) -> None:
        asked_at_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(self._timeout_s):
                keys = _keys_of(await self._get(jwks_url or await self._discovered(issuer)))
        except (_Faulty, aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) if isinstance(error, _Faulty) else cause_of(error)
            self._telemetry.count("failures_total", system="issuer", step="keys")
            self._telemetry.log("issuer_keys_not_fetched", issuer=issuer, error=why)
        else:
            kept.keys, kept.fetched_at_s = keys, asked_at_s
        finally:
            kept.flight = None

    async def _discovered(self, issuer: str) -> str:
        document = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != issuer:
            raise _Faulty("the discovery document names another issuer")
        if not isinstance(url, str):
            raise _Faulty("the discovery document has no jwks_uri")
        if urlsplit(issuer).scheme == "https" and not url.lower().startswith("https:"):
            raise _Faulty("the jwks_uri is not https")
        return url

    async def _get(self, url: str) -> Mapping[str, Any]:
        _require_safe(url)
        async with self._open_session().get(
            url, allow_redirects=False, headers={"Accept": "application/json"}
        ) as response:
            if response.status != 200:
                raise _Faulty(f"status {response.status}")
            text = await _bounded(response.content.iter_any())
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise _Faulty("no JSON object")
        return document

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        if self._own_session is None:
            self._own_session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._own_session


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    text = bytearray()
    async for chunk in chunks:
        text += chunk
        if len(text) > _DOCUMENT_BYTES_MAX:
            raise _Faulty(f"larger than {_DOCUMENT_BYTES_MAX} bytes")
    return bytes(text)


def _require_safe(url: str) -> None:
    """Keys that anybody on the way can exchange verify nothing: https, or a port of this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise _Faulty("not a URL") from None
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return
    raise _Faulty("not an https URL")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _named(keys: tuple[VerifyingKey, ...], kid: str | None) -> tuple[VerifyingKey, ...]:
    return keys if kid is None else tuple(key for key in keys if key.kid == kid)


def _keys_of(document: Mapping[str, Any]) -> tuple[VerifyingKey, ...]:
    """The keys of a set that can be used; others are for other purposes, or for other readers."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise _Faulty("no key set")
    if len(listed) > _KEYS_MAX:
        raise _Faulty(f"more than {_KEYS_MAX} keys")
    return tuple(key for key in map(_key_of, listed) if key is not None)


def _key_of(jwk: object) -> VerifyingKey | None:
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return None
    kid, kind, curve, declared = (jwk.get(name) for name in ("kid", "kty", "crv", "alg"))
    if not all(value is None or isinstance(value, str) for value in (kid, kind, curve, declared)):
        return None
    algorithms = _ALGORITHMS.get((kind, None if kind == "RSA" else curve), ())
    if not algorithms or declared not in {None, *algorithms}:
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm=algorithms[0]).key
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None
    # A private key is no PublicKey: by being published it proves nothing.
    if not isinstance(key, PublicKey) or (isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS_MIN):
        return None
    return VerifyingKey(kid, frozenset(algorithms if declared is None else (declared,)), key)


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    """Not one for encryption (RFC 7517 sections 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
