from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from bqgate.domain.errors import UpstreamUnavailable
from tests.support.oidc_issuer import DISCOVERY, KEYS, KeySetStand, ec_key, ed_key, jwk_of, key_set_stand, rsa_key


@pytest.fixture
async def stand() -> AsyncIterator[KeySetStand]:
    async with key_set_stand() as running:
        yield running


def _text(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


@pytest.mark.parametrize(
    ("path", "make_answer", "error"),
    [
        (KEYS, lambda: web.Response(status=404), "status 404"),
        (KEYS, lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "status 302"),
        (DISCOVERY, lambda: web.Response(status=301, headers={"Location": "/elsewhere"}), "status 301"),
        (KEYS, lambda: _text("<html>"), "no JSON object"),
        (KEYS, lambda: _text("[]"), "no JSON object"),
        (KEYS, lambda: _text("[" * 100_000), "no JSON object"),
        (KEYS, lambda: web.Response(body=b"\xff\xfe\xfd"), "no JSON object"),
        (KEYS, lambda: _text("{}"), "no key set"),
        (KEYS, lambda: _text('{"keys": {}}'), "no key set"),
        (KEYS, lambda: _text('{"keys": [' + "{}," * 200 + "{}]}"), "more than 200 keys"),
        (KEYS, lambda: _text('{"keys": []}' + " " * 1024 * 1024), "larger than 1048576 bytes"),
        (DISCOVERY, lambda: _text(" " * 1024 * 1024 + "{}"), "larger than 1048576 bytes"),
    ],
)
async def test_an_answer_that_is_no_key_set_is_an_outage(
    stand: KeySetStand, path: str, make_answer: Callable[[], web.Response], error: str
) -> None:
    """Whatever a broken server answers, within bounds and without following it anywhere, the last set stands."""
    await stand.kids()
    stand.issuer.answers[path] = make_answer()
    stand.clock.advance(600)
    assert await stand.kids("rsa-1") == {"rsa-1"}
    assert stand.errors == [error]
    assert "/elsewhere" not in stand.issuer.requests


@pytest.mark.parametrize("packed", [b"gzip", b"deflate"])
async def test_a_packed_answer_is_bounded_unpacked(stand: KeySetStand, packed: bytes) -> None:
    """A few bytes that unpack to gigabytes are not unpacked."""
    answer = _text('{"keys": []}' + " " * 16 * 1024 * 1024)
    answer.enable_compression(web.ContentCoding(packed.decode()))
    stand.issuer.answers[KEYS] = answer
    assert await stand.is_away()
    assert len(stand.errors) == 1


@pytest.mark.parametrize(
    ("discovery", "error"),
    [
        ({"issuer": "https://other.example"}, "the discovery document names another issuer"),
        ({"issuer": None}, "the discovery document names another issuer"),
        ({"jwks_uri": None}, "the discovery document has no jwks_uri"),
        ({"jwks_uri": ["http://127.0.0.1/keys"]}, "the discovery document has no jwks_uri"),
        ({"jwks_uri": "http://issuer.example/keys"}, "not an https URL"),
        ({"jwks_uri": "http://127.0.0.1.issuer.example/keys"}, "not an https URL"),
        ({"jwks_uri": "http://10.0.0.1/keys"}, "not an https URL"),
        ({"jwks_uri": "file:///etc/passwd"}, "not an https URL"),
        ({"jwks_uri": "/keys"}, "not an https URL"),
        ({"jwks_uri": "https://[/keys"}, "not a URL"),
    ],
)
async def test_a_discovery_document_must_be_the_issuers_own(
    stand: KeySetStand, discovery: dict[str, object], error: str
) -> None:
    """A document of another issuer, or one that points to an unsafe place, is not followed."""
    stand.issuer.discovery = discovery
    assert await stand.is_away()
    assert stand.errors == [error]
    assert stand.issuer.requests == [DISCOVERY]


async def test_an_issuer_without_https_is_not_asked(stand: KeySetStand) -> None:
    """Keys that come in the clear over a network are nobody's."""
    with pytest.raises(UpstreamUnavailable):
        await stand.key_sets.find("http://issuer.example", None, "rsa-1")
    assert stand.telemetry.notes[0][1]["error"] == "not an https URL"


async def test_only_keys_for_signatures_are_taken(stand: KeySetStand) -> None:
    """Symmetric, private, weak and encryption keys, other curves and broken entries are left out; the rest serves."""
    good = jwk_of(rsa_key(), "good", use="sig", key_ops=["verify"], alg="RS256")
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be left out
    stand.issuer.keys = [
        None,
        [],
        {},
        {"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0", "alg": "RS256"},
        {"kty": "RSA", "kid": "half", "n": "AQAB"},
        {"kty": "RSA", "kid": "odd", "n": 7, "e": "AQAB"},
        {"kty": ["RSA"], "kid": "list"},
        {"kty": "EC", "crv": "P-256", "kid": "no point", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "kid": "off the curve", "x": "A" * 43, "y": "A" * 43},
        jwk_of(weak, "weak"),
        jwk_of(ec_key("secp256k1"), "other curve"),
        jwk_of(rsa_key(), "for encryption", use="enc"),
        jwk_of(rsa_key(), "for wrapping", key_ops=["wrapKey"]),
        jwk_of(rsa_key(), "other algorithm", alg="RSA-OAEP"),
        jwk_of(rsa_key(), "hmac by name", alg="HS256"),
        RSAAlgorithm.to_jwk(rsa_key(2), as_dict=True) | {"kid": "private", "key_ops": ["sign", "verify"]},
        OKPAlgorithm.to_jwk(ed_key(), as_dict=True) | {"kid": "private too"},
        jwk_of(rsa_key(), None) | {"kid": 7},
        good,
        jwk_of(ec_key("P-521"), "good too"),
    ]
    keys = await stand.key_sets.find(stand.issuer.url, None, None)
    assert {key.kid: key.algorithms for key in keys} == {"good": {"RS256"}, "good too": {"ES512"}}
    assert stand.errors == []


async def test_an_emptied_set_is_believed(stand: KeySetStand) -> None:
    """An issuer that withdraws all its keys at once means it."""
    await stand.kids()
    stand.issuer.keys = []
    stand.clock.advance(600)
    assert await stand.kids() == set()
