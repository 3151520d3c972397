"""Mint and recognise static tokens: `bqg_<key id>_<secret>`, for tools that can send one fixed bearer token.

Minted for a new key, checked as a bearer token and at the token endpoint. The secret has 256 random bits, so a plain
SHA-256 of the whole token is what the gate keeps: there is nothing to guess that a slow hash would protect. The part
before the secret names the key and may be shown. What leaves: the Key, or Unauthenticated.
"""

import hmac
import re
import secrets
from hashlib import sha256

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.key import Key, KeyKind
from bqgate.identity.keyring import Keyring

PREFIX = "bqg_"
_SECRET_BYTES = 32
_TOKEN = re.compile(r"bqg_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")


def mint(key_id: str) -> str:
    """A new token of a key."""
    return f"{prefix_of(key_id)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def prefix_of(key_id: str) -> str:
    """The part of a token that may be shown and logged."""
    return f"{PREFIX}{key_id}"


def hash_of(token: str) -> str:
    """What the gate keeps of a token, in hexadecimal."""
    return sha256(token.encode()).hexdigest()


def parse(token: str) -> str:
    """The id of the key that a token names; nothing is proven.

    Raises:
        Unauthenticated: MALFORMED.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        message = "This is no whole static token of a gate: bqg_, 16 characters, _, 43 characters."
        raise Unauthenticated(LoginFault.MALFORMED, message)
    return found[1]


async def verify(token: str, keyring: Keyring) -> Key:
    """The key that a token proves.

    Raises:
        Unauthenticated: MALFORMED, UNKNOWN_KEY, REVOKED, EXPIRED, BAD_SIGNATURE (the secret is wrong).
        LedgerUnavailable: as Keyring.find.
    """
    key_id = parse(token)
    key = await keyring.find(key_id)
    if key.kind is not KeyKind.TOKEN or key.token_hash is None:
        raise Unauthenticated(LoginFault.UNKNOWN_KEY, "This key is no static token.", claimed=key_id)
    if not hmac.compare_digest(hash_of(token), key.token_hash):
        raise Unauthenticated(LoginFault.BAD_SIGNATURE, "The token's secret part is wrong.", claimed=key_id)
    return key
