from collections.abc import AsyncIterator, Callable

import pytest

from bqgate.domain.errors import LoginFault
from tests.support.oidc_issuer import TrustStand, segment, trust_stand


@pytest.fixture
async def stand() -> AsyncIterator[TrustStand]:
    async with trust_stand() as running:
        yield running


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "a",
        lambda _: "..",
        lambda token: token.rpartition(".")[0],
        lambda token: token + ".x",
        lambda token: token.replace(".", " ."),
        lambda token: "é" + token,
        lambda token: "\udcff" + token,
        lambda token: "!" + token,
    ],
)
async def test_what_is_no_jwt_is_malformed(stand: TrustStand, change: Callable[[str], str]) -> None:
    """Text without the three parts of a JWT, or with other characters in them, is refused and never a crash."""
    text = change(stand.issuer.token())
    assert await stand.fault(text) is LoginFault.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        [],
        _nested(1500),
        {"alg": "RS256", "kid": 7},
        {"alg": "RS256", "kid": "rsa-1", "crit": ["x"], "x": 1},
        {"alg": "RS256", "kid": "rsa-1", "b64": False, "crit": ["b64"]},
    ],
)
async def test_a_header_that_the_gate_can_not_read_is_malformed(stand: TrustStand, header: object) -> None:
    """A header must be an object of known form; what it calls critical must be understood (RFC 7515 4.1.11)."""
    text = f"{segment(header)}.{stand.issuer.token().partition('.')[2]}"
    assert await stand.fault(text) is LoginFault.MALFORMED


@pytest.mark.parametrize("claims", [[1], "text", 7, b"{", b"\xff", _nested(1500), b'{"exp": ' + b"9" * 5000 + b"}"])
async def test_claims_that_the_gate_can_not_read_are_malformed(stand: TrustStand, claims: object) -> None:
    """Claims must be one object of JSON; depth and digits without end are refused and never a crash."""
    header, _, signature = stand.issuer.token().split(".")
    assert await stand.fault(f"{header}.{segment(claims)}.{signature}") is LoginFault.MALFORMED


async def test_an_oversized_token_is_not_even_read(stand: TrustStand) -> None:
    """More than 8 KiB is refused by its length, whatever it is; exactly 8 KiB is read."""
    padded = stand.issuer.token(note="x")
    fits = stand.issuer.token(note="x" * ((8192 - len(padded)) * 3 // 4))
    assert 8180 < len(fits) <= 8192
    assert (await stand.verify(fits)).name == "user-1"
    too_long = stand.issuer.token(note="x" * 6200)
    assert await stand.fault(too_long) is LoginFault.OVERSIZED
    assert await stand.fault("x" * 8193) is LoginFault.OVERSIZED
