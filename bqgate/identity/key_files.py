"""Make new keys, and write the files that Google's clients log in with.

Called by the control plane and by `bqgate keys`. A service-account file makes Python, Go and Java log in at its
token_uri; an external-account file does so for Node and BI tools too, with a static token that lies in a file beside
it. What leaves: the Key to keep, and the secret, once. google-auth reads universe_domain, and its BigQuery client
accepts googleapis.com alone; client_id must be there for Java.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.identity.assertions import TOKEN_PATHS
from bqgate.identity.keyring import email_of
from bqgate.identity.logins import ACCESS_TOKEN_TYPE
from bqgate.identity.static_tokens import hash_of, mint

_RSA_BITS = 2_048
_RSA_EXPONENT = 65_537


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and its secret half, which is nowhere else: a private key (PEM, PKCS 8), or a static token."""

    key: Key
    secret: str = field(repr=False)


def new_key_id() -> str:
    """A random id."""
    return secrets.token_hex(8)


async def new_key(
    kind: KeyKind,
    *,
    principal: str,
    role: Role,
    customer: str | None,
    created_by: str,
    now: datetime,
    ends_at: datetime | None = None,
    new_id: Callable[[], str] = new_key_id,
) -> NewKey:
    """A key that nobody had before. An RSA key takes a tenth of a second, in a thread."""
    key_id = new_id()
    public_key, token_hash = None, None
    match kind:
        case KeyKind.KEY_FILE:
            secret, public_key = await asyncio.to_thread(_new_rsa_pair)
        case KeyKind.TOKEN:
            secret = mint(key_id)
            token_hash = hash_of(secret)
    key = Key(
        id=key_id,
        kind=kind,
        principal=principal,
        role=role,
        customer=customer,
        created_at=now,
        created_by=created_by,
        ends_at=ends_at,
        public_key=public_key,
        token_hash=token_hash,
    )
    return NewKey(key, secret)


def service_account_document(new: NewKey, *, public_url: str, project_id: str) -> dict[str, str]:
    """The key file of a new key, as Google writes them; to be written as JSON, and readable by its holder alone.

    Args:
        new: of kind KEY_FILE.
        public_url: where clients reach the gate.
        project_id: what clients take for their project when they are told none.
    """
    if new.key.kind is not KeyKind.KEY_FILE:
        raise ValueError("only a key file's key has a private half")
    return {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": new.key.id,
        "private_key": new.secret,
        "client_email": email_of(new.key.id),
        "client_id": str(int(new.key.id, 16)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_url(public_url),
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "universe_domain": "googleapis.com",
    }


def external_account_document(*, public_url: str, token_file: str) -> dict[str, Any]:
    """A file that makes a client log in with the static token that lies in `token_file`. It holds no secret itself.

    The audience is a plain address: those of Google's pools make clients ask Google about the pool, with our token.
    """
    return {
        "type": "external_account",
        "audience": public_url.rstrip("/"),
        "subject_token_type": ACCESS_TOKEN_TYPE,
        "token_url": token_url(public_url),
        "credential_source": {"file": token_file, "format": {"type": "text"}},
        "universe_domain": "googleapis.com",
    }


def token_url(public_url: str) -> str:
    """The gate's token endpoint."""
    return public_url.rstrip("/") + TOKEN_PATHS[0]


def _new_rsa_pair() -> tuple[str, str]:
    """A private and a public key, as PEM."""
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - 10 MiB, for who makes keys
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - the same
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private = rsa.generate_private_key(public_exponent=_RSA_EXPONENT, key_size=_RSA_BITS)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), public.decode()
