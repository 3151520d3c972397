"""Read a JWT without trusting it, and check its moments once its signature is proven.

Called by whoever verifies one kind of JWT, and by the authenticator to see which kind it is. Reading is strict, so that
nobody can read the same text differently: canonical base64url, UTF-8, one value per name, finite numbers, no extension
that changes what is signed (RFC 7515 section 4.1.11, RFC 8725). Keys that a header brings along (jwk, jku, x5c, x5u)
are never looked at. What leaves: an UnverifiedJwt, or Unauthenticated without a word of the token.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from bqgate.domain.errors import LoginFault, Unauthenticated

# Assertions have some 800 bytes, tokens of issuers with many groups a few thousand.
JWT_CHARS_MAX = 8 * 1024
# What Google allows a self-signed JWT (https://developers.google.com/identity/protocols/oauth2/service-account).
LIVES_S_MAX = 3_600
_CLAIMED_CHARS_MAX = 200
# The end of the year 9999, the last that a datetime can hold.
MOMENT_S_MAX = 253_402_300_799


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """A JWT as it came. Nothing in it is true before `signature` over `signed` is checked with a key of ours."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        return text_of(self.header, "alg")

    @property
    def key_id(self) -> str:
        """Which key it names, "" where it names none."""
        return text_of(self.header, "kid")

    @property
    def issuer(self) -> str:
        return text_of(self.claims, "iss")

    @property
    def claimed(self) -> str:
        """Whom it claims to be from, fit for the audit log."""
        return shown(self.key_id or self.issuer)


def is_jwt_shaped(text: str) -> bool:
    """Three parts, of which the first can begin a JSON object. Google's own tokens ("ya29.d.…") are not."""
    return text.startswith("e") and text.count(".") == 2


def read_jwt(text: str) -> UnverifiedJwt:
    """The parts of a signed JWT in compact form (RFC 7515 section 7.1).

    Raises:
        Unauthenticated: OVERSIZED before anything is parsed; MALFORMED.
    """
    if len(text) > JWT_CHARS_MAX:
        raise Unauthenticated(LoginFault.OVERSIZED, f"The JWT is longer than {JWT_CHARS_MAX} characters.")
    parts = text.split(".")
    if len(parts) != 3:
        raise _malformed("it has no three parts")
    header = _read_object(parts[0], "header")
    if "crit" in header or "b64" in header:
        raise _malformed("its header asks for an extension (crit, b64)")
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid", ""), str):
        raise _malformed("alg or kid in its header is no text")
    claims = _read_object(parts[1], "claims")
    signed = f"{parts[0]}.{parts[1]}".encode()
    return UnverifiedJwt(header, claims, signed, _decode(parts[2], "signature"))


def read_header(text: str) -> Mapping[str, Any]:
    """The header alone, for whoever only has to see which kind of JWT it is; {} where it cannot be read."""
    try:
        return _read_object(text[:JWT_CHARS_MAX].partition(".")[0], "header")
    except Unauthenticated:
        return {}


def check_moments(jwt: UnverifiedJwt, *, now: datetime, leeway_s: int, lives_s_max: int = LIVES_S_MAX) -> None:
    """Check exp and iat, which must be there, and nbf, which may.

    Clocks may differ by `leeway_s`: it is valid until exp + leeway (not included), from iat and nbf - leeway on, and
    may live for `lives_s_max` + leeway.

    Raises:
        Unauthenticated: EXPIRED, NOT_YET_VALID, LIVES_TOO_LONG; WRONG_CLAIMS where a moment is missing or no number.
    """
    now_s = now.timestamp()
    ends_s, issued_s = _moment(jwt, "exp"), _moment(jwt, "iat")
    starts_s = _moment(jwt, "nbf") if "nbf" in jwt.claims else issued_s
    if now_s >= ends_s + leeway_s:
        raise Unauthenticated(LoginFault.EXPIRED, "The token has expired; get a new one.", claimed=jwt.claimed)
    if max(issued_s, starts_s) > now_s + leeway_s:
        message = "The token is not valid yet (iat, nbf); compare the clocks of client and gate."
        raise Unauthenticated(LoginFault.NOT_YET_VALID, message, claimed=jwt.claimed)
    if ends_s - issued_s > lives_s_max + leeway_s:
        message = f"The token lives longer than {lives_s_max} seconds (exp - iat)."
        raise Unauthenticated(LoginFault.LIVES_TOO_LONG, message, claimed=jwt.claimed)


def audiences_of(jwt: UnverifiedJwt) -> tuple[str, ...]:
    """Whom it is for (RFC 7519 section 4.1.3: one text, or a list of texts), empty where it does not say.

    Raises:
        Unauthenticated: WRONG_AUDIENCE where it is anything else.
    """
    match jwt.claims.get("aud"):
        case None:
            return ()
        case str(one):
            return (one,)
        case [*many] if all(isinstance(each, str) for each in many):
            return tuple(many)
        case _:
            raise Unauthenticated(LoginFault.WRONG_AUDIENCE, "aud is neither text nor texts.", claimed=jwt.claimed)


def text_of(values: Mapping[str, Any], name: str) -> str:
    """A value that must be text; "" where it is missing or anything else."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def shown(claimed: str) -> str:
    """What a caller claims, in printable ASCII and bounded, for the audit log."""
    cut = claimed[:_CLAIMED_CHARS_MAX]
    return "".join(each if " " <= each <= "~" else "?" for each in cut)


def _moment(jwt: UnverifiedJwt, name: str) -> float:
    value = jwt.claims.get(name)
    # 1e999 reads as infinity, and a whole number may have thousands of digits; the comparison refuses both, and NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOMENT_S_MAX:
        message = f"The claim {name} is missing or no number of seconds."
        raise Unauthenticated(LoginFault.WRONG_CLAIMS, message, claimed=jwt.claimed)
    return value


def _read_object(part: str, what: str) -> dict[str, Any]:
    try:
        text = _decode(part, what).decode("utf-8")
        value = _JSON.decode(text)
        if "\\u" in text:
            _refuse_unstorable(value)
    except (ValueError, RecursionError):
        raise _malformed(f"its {what} is no proper JSON") from None
    if not isinstance(value, dict):
        raise _malformed(f"its {what} is no JSON object")
    return value


def _decode(part: str, what: str) -> bytes:
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (Base64Error, ValueError):
        raise _malformed(f"its {what} is no base64url") from None
    # The decoder drops foreign characters and spare bits; with them one signature would have many texts.
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise _malformed(f"its {what} is no canonical base64url")
    return decoded


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


# Made once: json.loads would make a decoder for every text, which takes longer than the reading.
_JSON = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)


def _refuse_unstorable(value: object) -> None:
    """Refuse half surrogates and NUL, which JSON can spell and no database can keep."""
    dumped = json.dumps(value, ensure_ascii=False)
    dumped.encode("utf-8")  # UnicodeEncodeError is a ValueError
    if "\\u0000" in dumped:
        raise ValueError("NUL")


def _malformed(why: str) -> Unauthenticated:
    return Unauthenticated(LoginFault.MALFORMED, f"The JWT cannot be read: {why}.")
