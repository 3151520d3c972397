import json

import pytest

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.identity.jwt_reading import is_jwt_shaped, read_header, read_jwt, shown
from tests.support.identity_stand import base64url, forged, unsigned


def fault_of(text: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        read_jwt(text)
    return refused.value.fault


def test_the_parts_are_read() -> None:
    """Header, claims and what is signed come out as they went in."""
    text = forged({"alg": "RS256", "kid": "k"}, {"iss": "i", "list": [1, 1.5, None, True, "é"]}, lambda _: b"s")
    jwt = read_jwt(text)
    assert (jwt.algorithm, jwt.key_id, jwt.issuer, jwt.signature) == ("RS256", "k", "i", b"s")
    assert jwt.claims["list"] == [1, 1.5, None, True, "é"]
    assert jwt.signed.decode() == text.rpartition(".")[0]


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"RS256","alg":"none"}',
        '{"alg":"RS256","kid":"a","kid":"b"}',
        '{"alg":"RS256","jwk":{"kty":"oct","kty":"RSA"}}',
        '{"alg":"RS256","b64":false}',
        '{"alg":"RS256","b64":true}',
        '{"alg":"RS256","b64":false,"crit":["b64"]}',
        '{"alg":"RS256","crit":[]}',
        '{"alg":"RS256","crit":["exp"]}',
        '{"kid":"a"}',
        '{"alg":null}',
        '{"alg":["RS256"]}',
        '{"alg":true}',
        '{"alg":"RS256","kid":["a"]}',
        '{"alg":"RS256","kid":{"a":1}}',
        '{"alg":"RS256","kid":7}',
        '{"alg":"RS256","kid":null}',
        "[]",
        '"alg"',
        "null",
        "7",
        "",
        "{",
        '{"alg":"RS256"}x',
        '\ufeff{"alg":"RS256"}',
        '{"alg":"RS256","n":NaN}',
        '{"alg":"RS256","n":-Infinity}',
        '{"alg":"RS256","n":"\\ud800"}',
        '{"alg":"RS256","n":"\\u0000"}',
        "[" * 5000,
        '{"a":' * 1000,
    ],
)
def test_an_odd_header_is_refused(header: str) -> None:
    """A header with anything said twice, an extension, a wrong type or broken JSON cannot be read."""
    assert fault_of(forged(header, {}, unsigned)) is LoginFault.MALFORMED


@pytest.mark.parametrize(
    "claims",
    [
        '{"iss":"a","iss":"b"}',
        '{"a":{"b":1,"b":2}}',
        "[]",
        '"x"',
        "",
        '{"exp":NaN}',
        '{"sub":"\\udfff"}',
        '{"exp":' + "9" * 5000,
    ],
)
def test_odd_claims_are_refused(claims: str) -> None:
    """Claims with a name that stands twice, at any depth, or broken JSON cannot be read."""
    assert fault_of(forged({"alg": "RS256"}, claims, unsigned)) is LoginFault.MALFORMED


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.", "!!!.e30.AA", "e30=.e30.AA", "e3 0.e30.AA", "é.e30.AA", "e31.e30.AA"],
)
def test_broken_base64_is_refused(text: str) -> None:
    """What is not three parts of canonical base64url cannot be read."""
    assert fault_of(text) is LoginFault.MALFORMED


@pytest.mark.parametrize("signature", ["AB", "A", "AA==", "A+", "A/", "A A", "AA\n", "é"])
def test_a_signature_has_one_spelling(signature: str) -> None:
    """Spare bits, padding, the other alphabet and white space in the signature are refused."""
    head = f"{base64url(json.dumps({'alg': 'RS256'}).encode())}.e30."
    assert read_jwt(f"{head}AA").signature == b"\0"
    assert fault_of(head + signature) is LoginFault.MALFORMED


def test_text_that_is_no_utf_8_is_refused() -> None:
    """JSON in another encoding cannot be read, though Python's reader would guess it."""
    header = base64url('{"alg":"RS256"}'.encode("utf-16-le"))
    assert fault_of(f"{header}.e30.AA") is LoginFault.MALFORMED
    assert fault_of(f"{base64url(bytes([0xFF, 0xFE]))}.e30.AA") is LoginFault.MALFORMED


def test_a_header_alone_is_read_or_empty() -> None:
    """Whoever only wants to see the kind of a JWT gets its header, or nothing."""
    assert read_header(forged({"alg": "x", "kid": "k"}, "no json", unsigned)) == {"alg": "x", "kid": "k"}
    assert read_header("!!!") == {}
    assert read_header("") == {}
    assert read_header("e" * 1_000_000) == {}


def test_google_s_tokens_are_not_jwt_shaped() -> None:
    """Google's opaque tokens may have dots, too; only what can begin with a brace is taken for a JWT."""
    assert is_jwt_shaped(forged({"alg": "x"}, {}, unsigned))
    assert is_jwt_shaped(forged('{\n"alg": "x"}', {}, unsigned))
    assert not is_jwt_shaped("ya29.d.b0Aaekm1K")
    assert not is_jwt_shaped("eyJhbGciOiJub25lIn0")


def test_what_is_claimed_is_fit_to_be_written_down() -> None:
    """Claims of strangers are shown in printable ASCII and cut."""
    assert shown("a\r\nb\0\ud800é") == "a??b???"
    assert len(shown("x" * 1000)) == 200
