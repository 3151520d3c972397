"""Stand up the gate's own keys and tokens over a clock that a test moves, and forge what an attacker would send."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Identity, Role
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.authenticator import CallerAuthenticator, Oidc
from bqgate.identity.keyring import Keyring, email_of
from bqgate.identity.logins import Logins
from bqgate.identity.static_tokens import hash_of, mint
from bqgate.ports import Authenticator, Clock
from tests.support.manual_clock import ManualClock

PUBLIC_URL = "https://bqgate.example.com"
GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"
SECRET = "a secret of this gate, long enough to be one"
PREVIOUS_SECRET = "the secret before that one, just as long as it"
LEEWAY_S = 60
TTL_S = 900
FILE_KEY_ID = "00000000000000f1"
TOKEN_KEY_ID = "00000000000000a1"

Sign = Callable[[bytes], bytes]


class KeyShelf:
    """A KeySource. `coming` is what another replica made: a refresh finds it."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.coming: dict[str, Key] = {}
        self.refresh_count = 0
        self.failure: Exception | None = None

    def key(self, key_id: str) -> Key | None:
        return self.keys.get(key_id)

    async def refresh(self) -> None:
        self.refresh_count += 1
        if self.failure is not None:
            raise self.failure
        self.keys |= self.coming

    def put(self, key: Key) -> Key:
        self.keys[key.id] = key
        return key


@cache
def rsa_key(name: str = "the key") -> rsa.RSAPrivateKey:
    """An RSA key by name, made once; making one takes a tenth of a second."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(private: rsa.RSAPrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def rs256(private: rsa.RSAPrivateKey) -> Sign:
    return lambda signed: RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed, private)


def hs256(secret: str) -> Sign:
    return lambda signed: HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed, secret.encode())


def unsigned(signed: bytes) -> bytes:
    return b""


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, sign: Sign) -> str:
    """A JWT of any content; text is taken as the JSON itself."""
    parts = [each if isinstance(each, str) else json.dumps(each) for each in (header, claims)]
    signed = ".".join(base64url(each.encode("utf-8", "surrogatepass")) for each in parts)
    return f"{signed}.{base64url(sign(signed.encode()))}"


@dataclass
class IdentityStand:
    """Everything of one gate. The shelf has a key file's key and a static token's, both of customer acme."""

    clock: Clock = field(default_factory=ManualClock)
    shelf: KeyShelf = field(default_factory=KeyShelf)
    audiences: Collection[str] = (PUBLIC_URL,)
    oidc: Oidc | None = None
    google: Authenticator | None = None

    def __post_init__(self) -> None:
        self.keyring = Keyring(self.shelf, self.clock)
        self.access_tokens = AccessTokens(
            SECRET, previous_secret=PREVIOUS_SECRET, ttl_s=TTL_S, clock=self.clock, leeway_s=LEEWAY_S
        )
        self.assertions = Assertions(self.keyring, self.clock, audiences=self.audiences, leeway_s=LEEWAY_S)
        self.logins = Logins(
            access_tokens=self.access_tokens, assertions=self.assertions, keyring=self.keyring, oidc=self.oidc
        )
        self.callers = CallerAuthenticator(
            access_tokens=self.access_tokens,
            assertions=self.assertions,
            keyring=self.keyring,
            oidc=self.oidc,
            google=self.google,
        )
        self.file_key = self.shelf.put(self.key(FILE_KEY_ID, public_key=public_pem(rsa_key())))
        self.static_token = mint(TOKEN_KEY_ID)
        token_key = self.key(TOKEN_KEY_ID, token_hash=hash_of(self.static_token))
        self.token_key = self.shelf.put(replace(token_key, principal="looker"))

    def key(self, key_id: str, *, public_key: str | None = None, token_hash: str | None = None) -> Key:
        return Key(
            id=key_id,
            kind=KeyKind.TOKEN if public_key is None else KeyKind.KEY_FILE,
            principal="etl",
            role=Role.USER,
            customer="acme",
            created_at=self.clock.now(),
            created_by="root",
            public_key=public_key,
            token_hash=token_hash,
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What google-auth writes into a login; a change to None leaves the claim out."""
        now_s = int(self.clock.now().timestamp())
        written = {
            "iss": email_of(FILE_KEY_ID),
            "aud": GOOGLE_TOKEN_URL,
            "iat": now_s,
            "exp": now_s + 3600,
            "scope": "https://www.googleapis.com/auth/bigquery",
        }
        return {name: value for name, value in (written | changes).items() if value is not None}

    def bearer_claims(self, **changes: Any) -> dict[str, Any]:
        """What google-auth writes into a self-signed JWT with a scope."""
        return self.claims(**({"sub": email_of(FILE_KEY_ID), "aud": None} | changes))

    def assertion(self, claims: Mapping[str, Any] | str | None = None, **header: Any) -> str:
        """A JWT signed with the key file's key."""
        whole = {"alg": "RS256", "typ": "JWT", "kid": FILE_KEY_ID} | header
        whole = {name: value for name, value in whole.items() if value is not None}
        return forged(whole, self.claims() if claims is None else claims, rs256(rsa_key()))


def refusing_oidc(fault: LoginFault) -> Oidc:
    """An issuer's verifier that trusts nobody."""

    class Nobody:
        def issuer_of(self, text: str) -> str:
            return text[:0]

        async def verify(self, text: str) -> Identity:
            raise Unauthenticated(fault, "nobody")

    return Nobody()
