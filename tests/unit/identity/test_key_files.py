import asyncio
import json
from datetime import timedelta
from typing import Any

import google.auth
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from google.auth import identity_pool
from google.oauth2 import service_account

from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.identity.key_files import (
    NewKey,
    external_account_document,
    new_key,
    new_key_id,
    service_account_document,
    token_url,
)
from bqgate.identity.keyring import KEY_ID
from bqgate.identity.static_tokens import hash_of, parse
from tests.support.identity_stand import PUBLIC_URL
from tests.support.manual_clock import START


async def make(kind: KeyKind, **changes: Any) -> NewKey:
    wanted: dict[str, Any] = {
        "principal": "etl",
        "role": Role.USER,
        "customer": "acme",
        "created_by": "root",
        "now": START,
    }
    return await new_key(kind, **(wanted | changes))


async def test_a_key_file_s_key_is_public_at_the_gate() -> None:
    """The gate keeps an RSA public key of 2,048 bits; the private half, in PKCS 8, is the secret."""
    new = await make(KeyKind.KEY_FILE, ends_at=START + timedelta(days=90), new_id=lambda: "00000000000000f1")
    assert new.key == Key(
        "00000000000000f1",
        KeyKind.KEY_FILE,
        "etl",
        Role.USER,
        "acme",
        START,
        "root",
        ends_at=START + timedelta(days=90),
        public_key=new.key.public_key,
    )
    private = load_pem_private_key(new.secret.encode(), None)
    public = load_pem_public_key((new.key.public_key or "").encode())
    assert isinstance(private, RSAPrivateKey)
    assert isinstance(public, RSAPublicKey)
    assert private.key_size == 2048
    assert private.public_key() == public
    assert new.secret.startswith("-----BEGIN PRIVATE KEY-----\n")


async def test_a_static_token_is_a_hash_at_the_gate() -> None:
    """The gate keeps the token's hash; the token is the secret, and names the key."""
    new = await make(KeyKind.TOKEN, customer=None, role=Role.ADMIN)
    assert (new.key.kind, new.key.public_key, new.key.token_hash) == (KeyKind.TOKEN, None, hash_of(new.secret))
    assert parse(new.secret) == new.key.id


async def test_ids_are_random_and_of_one_form() -> None:
    """Each key has an id of 16 hexadecimal digits that nobody can guess."""
    ids = {new_key_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(KEY_ID.fullmatch(each) for each in ids)
    assert (await make(KeyKind.TOKEN)).key.id != (await make(KeyKind.TOKEN)).key.id


async def test_the_loop_runs_on_while_a_key_is_made() -> None:
    """Making an RSA key keeps nobody else waiting: others run meanwhile."""
    making = asyncio.create_task(make(KeyKind.KEY_FILE))
    turns = 0
    while not making.done():
        await asyncio.wait([making], timeout=0.001)
        turns += 1
    assert turns > 1


@pytest.mark.parametrize("kind", KeyKind)
async def test_a_new_key_does_not_show_its_secret(kind: KeyKind) -> None:
    """Neither repr nor str of a new key holds the secret half."""
    new = await make(kind)
    for secret_line in new.secret.splitlines()[-3:-1] or [new.secret]:
        assert secret_line not in f"{new!r}{new}"


async def test_google_s_library_takes_the_key_file() -> None:
    """The file reads as a service account's, and says where to log in and in which universe."""
    new = await make(KeyKind.KEY_FILE)
    document = service_account_document(new, public_url=f"{PUBLIC_URL}/", project_id="acme-prod")
    credentials = service_account.Credentials.from_service_account_info(json.loads(json.dumps(document)))  # type: ignore[no-untyped-call]  # google-auth declares no types
    assert credentials.service_account_email == f"{new.key.id}@keys.bqgate"
    assert credentials.project_id == "acme-prod"
    assert credentials.universe_domain == "googleapis.com"
    assert document["token_uri"] == token_url(PUBLIC_URL) == f"{PUBLIC_URL}/oauth2/token"
    assert document["private_key_id"] == new.key.id
    assert document["client_id"].isdecimal()


async def test_a_static_token_has_no_key_file() -> None:
    """There is no service-account file without a private key."""
    with pytest.raises(ValueError, match="private half"):
        service_account_document(await make(KeyKind.TOKEN), public_url=PUBLIC_URL, project_id="p")


@pytest.mark.parametrize("is_by_default", [False, True])
def test_google_s_library_takes_the_external_account_file(tmp_path: Any, is_by_default: bool) -> None:
    """The file reads as an external account's, given to the library or found by it."""
    document = external_account_document(public_url=PUBLIC_URL, token_file="/etc/bqgate/token")
    if is_by_default:
        (tmp_path / "account.json").write_text(json.dumps(document))
        load = google.auth.load_credentials_from_file
        credentials, _ = load(str(tmp_path / "account.json"), scopes=["x"])  # type: ignore[no-untyped-call]  # no types
    else:
        credentials = identity_pool.Credentials.from_info(document)  # type: ignore[no-untyped-call]  # no types
    assert isinstance(credentials, identity_pool.Credentials)
    assert not credentials.is_workforce_pool
    assert credentials.info["token_url"] == f"{PUBLIC_URL}/oauth2/token"
