"""Run an OpenID Connect issuer on loopback: discovery, a key set that rotates, tokens, and the faults of such servers.

A real HTTP server with real RSA, EC and Ed25519 keys; it counts what it is asked. The stands below it are a gate's
side: the keys that it keeps (KeySetStand), and its trust in the issuer's tokens (TrustStand).
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from bqgate.domain.errors import LoginFault, Unauthenticated, UpstreamUnavailable
from bqgate.domain.principal import Identity, Role
from bqgate.identity.jwks import KeySets
from bqgate.identity.oidc import Issuer, Oidc
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.recording_upstream import served

AUDIENCE = "bqgate-tests"
DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
LEEWAY_S = 60
ROLES = frozenset({Role.USER, Role.ANALYST, Role.ADMIN})

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def rsa_key(number: int = 1) -> rsa.RSAPrivateKey:
    """An RSA key of 2,048 bits; the same for the same number."""
    return _made_rsa_key(number)


@cache
def _made_rsa_key(_number: int) -> rsa.RSAPrivateKey:
    """Kept, since making one is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    """A key on P-256, P-384, P-521 or secp256k1; the same for the same curve."""
    return _made_ec_key(curve)


@cache
def _made_ec_key(curve: str) -> ec.EllipticCurvePrivateKey:
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[curve])


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    """An Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def jwk_of(key: PrivateKey, kid: str | None, **fields: Any) -> dict[str, Any]:
    """The public half of a key as a JWK, with further fields."""
    document: dict[str, Any]
    if isinstance(key, rsa.RSAPrivateKey):
        document = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        document = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        document = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return document | ({} if kid is None else {"kid": kid}) | fields


def segment(document: object) -> str:
    """A part of a JWT: bytes as they are, anything else as JSON."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@dataclass
class OidcIssuer:
    """A running issuer. Change its fields to rotate keys or to make it fail; `answers` replaces whole answers."""

    clock: ManualClock
    url: str = ""
    keys: list[Any] = field(default_factory=lambda: [jwk_of(rsa_key(), "rsa-1"), jwk_of(ec_key(), "ec-1")])
    requests: list[str] = field(default_factory=list)
    is_down: bool = False
    answers: dict[str, web.Response] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    has_been_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    @property
    def key_requests(self) -> int:
        """How often the key set was asked for."""
        return self.requests.count(KEYS)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a good token; a change to None takes a claim out."""
        now_s = int(self.clock.now().timestamp())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "user-1",
            "iat": now_s,
            "exp": now_s + 600,
            "customer_id": "acme",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(
        self,
        *,
        key: PrivateKey | None = None,
        kid: str | None = "rsa-1",
        algorithm: str = "RS256",
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A token signed by `key` (the first RSA key unless given), with changed claims."""
        headers = (header or {}) | ({} if kid is None else {"kid": kid})
        return jwt.encode(self.claims(**changes), key or rsa_key(), algorithm, headers)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        self.has_been_asked.set()
        await self.may_answer.wait()
        if self.is_down:
            return web.Response(status=503)
        if request.path in self.answers:
            return self.answers[request.path]
        if request.path == DISCOVERY:
            return web.json_response({"issuer": self.url, "jwks_uri": self.url + KEYS} | self.discovery)
        if request.path == KEYS:
            return web.Response(text=json.dumps({"keys": self.keys}), content_type="application/json")
        return web.Response(status=404)


@asynccontextmanager
async def oidc_issuer(clock: ManualClock) -> AsyncIterator[OidcIssuer]:
    """An issuer on a free port of 127.0.0.1."""
    issuer = OidcIssuer(clock)
    app = web.Application()
    app.router.add_get("/{tail:.*}", issuer.serve)
    async with served(app) as url:
        issuer.url = url
        yield issuer


@dataclass
class KeySetStand:
    """A running issuer, the keys that a gate keeps of it, and the operator's log."""

    issuer: OidcIssuer
    key_sets: KeySets
    clock: ManualClock
    telemetry: ListTelemetry

    async def kids(self, kid: str | None = None, *, jwks_url: str | None = None) -> set[str | None]:
        """The ids of the keys that are found."""
        return {key.kid for key in await self.key_sets.find(self.issuer.url, jwks_url, kid)}

    async def is_away(self) -> bool:
        with pytest.raises(UpstreamUnavailable) as caught:
            await self.kids()
        return not caught.value.may_have_worked

    @property
    def errors(self) -> list[object]:
        """What the operator was told."""
        assert all(event == "issuer_keys_not_fetched" for event, _ in self.telemetry.notes)
        assert all(fields["issuer"] == self.issuer.url for _, fields in self.telemetry.notes)
        return [fields["error"] for _, fields in self.telemetry.notes]


@asynccontextmanager
async def key_set_stand() -> AsyncIterator[KeySetStand]:
    """A gate that has fetched nothing yet, and the issuer that it will ask."""
    clock, telemetry = ManualClock(), ListTelemetry()
    async with oidc_issuer(clock) as issuer:
        key_sets = KeySets(clock, telemetry)
        yield KeySetStand(issuer, key_sets, clock, telemetry)
        issuer.may_answer.set()
        await key_sets.close()


@dataclass
class TrustStand:
    """A gate's trust in one running issuer."""

    issuer: OidcIssuer
    key_sets: KeySets
    clock: ManualClock

    def oidc(self, *, audiences: tuple[str, ...] = (AUDIENCE,)) -> Oidc:
        trusted = [
            Issuer(f"issuer{number}", self.issuer.url, audience, None, "customer_id", "role", ROLES)
            for number, audience in enumerate(audiences)
        ]
        return Oidc(trusted, self.key_sets, self.clock, leeway_s=LEEWAY_S)

    async def verify(self, text: str) -> Identity:
        return await self.oidc().verify(text)

    async def fault(self, text: str) -> LoginFault:
        """The fault with which a token is refused; the refusal does not quote it."""
        with pytest.raises(Unauthenticated) as caught:
            await self.oidc().verify(text)
        for part in text.split("."):
            assert len(part) < 8 or part not in caught.value.message + caught.value.claimed
        return caught.value.fault


@asynccontextmanager
async def trust_stand() -> AsyncIterator[TrustStand]:
    """A gate that trusts one running issuer."""
    async with key_set_stand() as stand:
        yield TrustStand(stand.issuer, stand.key_sets, stand.clock)
