import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from bqgate.clock import SystemClock
from bqgate.domain.principal import Role
from tests.support.admin_stand import AdminStand, Replica, admin_stand
from tests.support.manual_clock import ManualClock

KEYS = "/admin/v1/keys"
SCOPES = ["https://www.googleapis.com/auth/bigquery"]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[AdminStand]:
    """A registry without keys. The time is today's, because google-auth signs by the machine's clock."""
    async with admin_stand(tmp_path, ManualClock(SystemClock().now())) as opened:
        yield opened


@pytest.fixture
async def root(stand: AdminStand) -> str:
    """The token of the first super admin."""
    return await stand.token(Role.SUPER_ADMIN)


@pytest.fixture
async def gate(stand: AdminStand, root: str) -> Replica:
    """A replica that knows the first super admin."""
    assert root
    return await stand.replica()


async def make(gate: Replica, token: str, *, status: int = 201, **body: Any) -> dict[str, Any]:
    """Make a key."""
    wanted = {"role": "analyst", "customer": "acme", "kind": "token"} | body
    wanted = {name: value for name, value in wanted.items() if value is not None}
    answer: dict[str, Any] = await gate.call("POST", KEYS, token=token, json=wanted, status=status)
    return answer


async def test_a_key_file_logs_an_unmodified_client_in(gate: Replica, root: str) -> None:
    """google-auth takes the file as it is, logs in at the gate, and its token opens what the role may see."""
    made = await make(gate, root, kind="key_file", principal="nightly load")
    assert made["key_file"]["project_id"] == "acme-prod"
    assert (made["token"], made["external_account"]) == (None, None)
    load = service_account.Credentials.from_service_account_info
    credentials = load(made["key_file"], scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth declares none
    await asyncio.to_thread(credentials.refresh, Request())
    assert (await gate.call("GET", "/v1/jobs?customer=acme", token=credentials.token))["jobs"] == []
    await gate.call("GET", "/v1/jobs?customer=globex", token=credentials.token, status=403)
    await gate.call("GET", KEYS, token=credentials.token, status=403)


async def test_a_token_works_as_it_is_and_by_its_file(gate: Replica, root: str, tmp_path: Path) -> None:
    """The token is a bearer token, and google-auth exchanges it by the external-account file beside it."""
    made = await make(gate, root)
    await gate.call("GET", "/v1/jobs", token=made["token"])
    file = made["external_account"]
    token_file = tmp_path / file["credential_source"]["file"]
    token_file.write_text(made["token"])
    file["credential_source"]["file"] = str(token_file)
    load = google.auth.load_credentials_from_dict
    credentials, _ = load(file, scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth declares none
    await asyncio.to_thread(credentials.refresh, Request())
    assert credentials.token != made["token"]
    await gate.call("GET", "/v1/jobs", token=credentials.token)


async def test_a_secret_is_told_once(stand: AdminStand, gate: Replica, root: str) -> None:
    """Neither a secret nor its hash or public half is in any later answer, in the audit log or in the log lines."""
    file = await make(gate, root, kind="key_file")
    token = await make(gate, root)
    rotated = await gate.call("POST", f"{KEYS}/{token['id']}:rotate", token=root, status=201)
    refiled = await gate.call("POST", f"{KEYS}/{file['id']}:rotate", token=root, status=201)
    await gate.call("DELETE", f"{KEYS}/{refiled['id']}", token=root, status=204)
    answers_before = len(gate.seen)
    paths = [KEYS, "/admin/v1/audit?page_size=1000", "/admin/v1/audit:export", "/admin/v1/audit:verify"]
    paths += [f"{KEYS}/{each['id']}" for each in (file, token, rotated, refiled)] + [
        "/metrics",
        "/v1/jobs",
        "/v1/holds",
    ]
    for path in paths:
        async with gate.http.get(gate.url + path, headers={"Authorization": f"Bearer {root}"}) as answer:
            assert answer.status == 200, path
            gate.seen.append(f"{answer.headers} {await answer.text()}")
    await gate.call("POST", "/oauth2/token", data={"grant_type": "x", "assertion": token["token"]}, status=400)
    keys = await stand.registry.fetch_keys()
    secrets = {each["token"].split("_", 2)[2] for each in (token, rotated)}
    secrets |= {each["key_file"]["private_key"].splitlines()[1] for each in (file, refiled)}
    secrets |= {key.token_hash for key in keys if key.token_hash}
    secrets |= {key.public_key.splitlines()[1] for key in keys if key.public_key}
    assert len(secrets) == 9
    told = "\n".join(gate.seen[answers_before:]) + stand.log.getvalue() + repr(stand.audit_log.events)
    assert file["id"] in told
    assert f"bqg_{token['id']}" in told
    assert not [secret for secret in secrets if secret in told]


@pytest.mark.parametrize("role", ["admin", "super_admin"])
async def test_keys_of_admins_are_for_super_admins(stand: AdminStand, gate: Replica, root: str, role: str) -> None:
    """An admin can neither make, rotate nor revoke one, and each try is told to the audit log."""
    admin = await stand.token(Role.ADMIN)
    theirs = await make(gate, root, role=role, customer=None)
    await make(gate, admin, role=role, customer=None, status=403)
    await gate.call("POST", f"{KEYS}/{theirs['id']}:rotate", token=admin, status=403)
    await gate.call("DELETE", f"{KEYS}/{theirs['id']}?force=true", token=admin, status=403)
    assert [event.action for event in stand.audit_log.events] == ["access.refused"] * 3
    assert {event.actor for event in stand.audit_log.events} == {"the admin"}
    assert (await gate.call("GET", f"{KEYS}/{theirs['id']}", token=admin))["is_valid"] is True
    await gate.call("POST", f"{KEYS}/{theirs['id']}:rotate", token=root, status=201)
    await gate.call("DELETE", f"{KEYS}/{theirs['id']}", token=root, status=204)


async def test_admins_look_after_keys_of_customers(stand: AdminStand, gate: Replica) -> None:
    """An admin makes, rotates and revokes keys of users and analysts."""
    admin = await stand.token(Role.ADMIN)
    made = await make(gate, admin, role="user")
    assert made["created_by"] == "the admin"
    await gate.call("POST", f"{KEYS}/{made['id']}:rotate", token=admin, status=201)
    await gate.call("DELETE", f"{KEYS}/{made['id']}", token=admin, status=204)
    actions = [event.action for event in await stand.audit()]
    assert actions == ["key.created", "key.created", "key.rotated", "key.revoked"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer": None}, "customer"),
        ({"customer": None, "role": "user"}, "customer"),
        ({"customer": "nobody"}, "customer"),
        ({"customer": "nobody", "role": "admin"}, "customer"),
        ({"customer": "a\x00b"}, "customer"),
        ({"role": "open"}, "role"),
        ({"kind": "password"}, "kind"),
        ({"principal": ""}, "principal"),
        ({"principal": "a\nb"}, "principal"),
        ({"principal": "x" * 129}, "principal"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3_651}, "expires_in_days"),
        ({"expires_in_days": "7"}, "expires_in_days"),
        ({"ends_at": "2000-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2999-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2030-01-01T00:00:00"}, "ends_at"),
        ({"ends_at": "2030-01-01T00:00:00Z", "expires_in_days": 7}, None),
        ({"project_id": "a b"}, "project_id"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    stand: AdminStand, gate: Replica, root: str, change: dict[str, Any], field: str | None
) -> None:
    """The answer names the field, and no key is made."""
    problem = await make(gate, root, status=400, **change)
    assert problem.get("field") == field
    assert len(await stand.registry.fetch_keys()) == 1


async def test_a_new_key_is_what_was_asked(stand: AdminStand, gate: Replica, root: str) -> None:
    """Names, ends and projects are those of the body; what is left out has a default."""
    week = await make(gate, root, expires_in_days=7, principal="looker")
    at = (stand.clock.now() + timedelta(days=1)).isoformat()
    day = await make(gate, root, ends_at=at, kind="key_file", project_id="acme-dev")
    other = await make(gate, root, customer="globex", kind="key_file")
    admin = await make(gate, root, role="admin", customer=None, kind="key_file")
    assert (week["principal"], week["prefix"], week["ends_at"]) == (
        "looker",
        f"bqg_{week['id']}",
        (stand.clock.now() + timedelta(days=7)).isoformat().replace("+00:00", "Z"),
    )
    assert (day["principal"], day["prefix"]) == (f"{day['id']}@keys.bqgate", None)
    assert day["ends_at"] == at.replace("+00:00", "Z")
    assert [each["key_file"]["project_id"] for each in (day, other, admin)] == ["acme-dev", "globex", "bqgate"]
    assert week["is_valid"] is True
    stand.clock.advance(86_400)
    assert (await gate.call("GET", f"{KEYS}/{day['id']}", token=root))["is_valid"] is False


async def test_files_name_the_public_address(stand: AdminStand, root: str) -> None:
    """Where the settings say one, it and not the request's host is where clients log in."""
    gate = await stand.replica(public_url="https://bqgate.example.com/")
    made = await make(gate, root, kind="key_file")
    assert made["key_file"]["token_uri"] == "https://bqgate.example.com/oauth2/token"
    made = await make(gate, root)
    assert made["external_account"]["token_url"] == "https://bqgate.example.com/oauth2/token"


async def test_keys_come_filtered_and_in_pages(gate: Replica, root: str) -> None:
    """Pages are as long as asked and leave nothing out; filters hold on every page."""
    made = [await make(gate, root, customer=customer) for customer in ("acme", "globex") * 3]
    page = await gate.call("GET", f"{KEYS}?customer=acme&page_size=2", token=root)
    assert len(page["keys"]) == 2
    rest = await gate.call("GET", f"{KEYS}?customer=acme&page_size=2&page_token={page['next_page_token']}", token=root)
    assert rest["next_page_token"] is None
    assert {key["id"] for key in page["keys"] + rest["keys"]} == {key["id"] for key in made[::2]}
    assert len((await gate.call("GET", KEYS, token=root))["keys"]) == 7
    roots = await gate.call("GET", f"{KEYS}?role=super_admin", token=root)
    assert [key["principal"] for key in roots["keys"]] == ["the super_admin"]


@pytest.mark.parametrize(
    "query", ["role=open", "role=boss", "page_token=x", "page_size=0", "page_size=1001", "secret=1", "customer="]
)
async def test_a_list_that_cannot_be_is_refused(gate: Replica, root: str, query: str) -> None:
    """The answer names the parameter."""
    problem = await gate.call("GET", f"{KEYS}?{query}", token=root, status=400)
    assert problem["field"] == query.partition("=")[0]


async def test_a_rotated_key_works_until_the_overlap_ends(stand: AdminStand, gate: Replica, root: str) -> None:
    """Both work for the overlap, then the new one alone, which spends under the same name."""
    old = await make(gate, root, principal="looker", expires_in_days=30)
    stand.clock.advance(86_400)
    new = await gate.call("POST", f"{KEYS}/{old['id']}:rotate", token=root, json={"overlap_minutes": 10}, status=201)
    same = ("principal", "role", "customer", "kind")
    assert [new[name] for name in same] == [old[name] for name in same]
    assert new["replaces"] == old["id"]
    assert new["ends_at"] == (stand.clock.now() + timedelta(days=30)).isoformat().replace("+00:00", "Z")
    stand.clock.advance(599)
    for token in (old["token"], new["token"]):
        await gate.call("GET", "/v1/jobs", token=token)
    stand.clock.advance(1)
    await gate.call("GET", "/v1/jobs", token=old["token"], status=401)
    await gate.call("GET", "/v1/jobs", token=new["token"])
    await gate.call("POST", f"{KEYS}/{old['id']}:rotate", token=root, status=409)


async def test_an_overlap_never_gives_a_key_more_time(stand: AdminStand, gate: Replica, root: str) -> None:
    """A key that ends within the overlap ends when it would have."""
    old = await make(gate, root, expires_in_days=1)
    new = await gate.call("POST", f"{KEYS}/{old['id']}:rotate", token=root, json={"overlap_minutes": 2_000}, status=201)
    assert new["replaced_ends_at"] == old["ends_at"]
    assert stand.feed.announced == 2


@pytest.mark.parametrize("body", [{"overlap_minutes": -1}, {"overlap_minutes": 200_000}, {"overlap": 1}])
async def test_an_overlap_that_cannot_be_is_refused(gate: Replica, root: str, body: dict[str, int]) -> None:
    """The answer names the field."""
    made = await make(gate, root)
    problem = await gate.call("POST", f"{KEYS}/{made['id']}:rotate", token=root, json=body, status=400)
    assert problem["field"] in body


async def test_a_revoked_key_is_dead_at_once(stand: AdminStand, gate: Replica, root: str) -> None:
    """The next request with it is refused, and so is an access token that it got before; others look when told."""
    other = await stand.replica()
    made = await make(gate, root)
    await other.shelf.refresh()
    login = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": made["token"],
    }
    access = (await gate.call("POST", "/oauth2/token", data=login))["access_token"]
    await gate.call("GET", "/v1/jobs", token=access)
    announced = stand.feed.announced
    await gate.call("DELETE", f"{KEYS}/{made['id']}", token=root, status=204)
    assert stand.feed.announced == announced + 1
    for token in (made["token"], access):
        await gate.call("GET", "/v1/jobs", token=token, status=401)
    await other.shelf.refresh()
    await other.call("GET", "/v1/jobs", token=access, status=401)
    assert (await gate.call("POST", "/oauth2/token", data=login, status=400))["error"] == "invalid_request"


async def test_revoking_twice_is_revoking_once(stand: AdminStand, gate: Replica, root: str) -> None:
    """The end stays the first one's, and the audit log has both tries, with what changed."""
    made = await make(gate, root)
    await gate.call("DELETE", f"{KEYS}/{made['id']}", token=root, status=204)
    first = await gate.call("GET", f"{KEYS}/{made['id']}", token=root)
    stand.clock.advance(60)
    await gate.call("DELETE", f"{KEYS}/{made['id']}", token=root, status=204)
    assert await gate.call("GET", f"{KEYS}/{made['id']}", token=root) == first
    created, once, again = await stand.audit()
    assert created.after == {name: value for name, value in made.items() if name in first}
    assert [event.action for event in (created, once, again)] == ["key.created", "key.revoked", "key.revoked"]
    assert once.before is not None
    assert once.after is not None
    assert (once.before["is_revoked"], once.after["is_revoked"]) == (False, True)
    assert (once.actor, once.role, once.customer, once.source) == (
        "the super_admin",
        "super_admin",
        "acme",
        "127.0.0.1",
    )


@pytest.mark.parametrize(("method", "after"), [("GET", ""), ("DELETE", ""), ("POST", ":rotate")])
@pytest.mark.parametrize("key_id", ["0123456789abcdef", "x", "%00", "é"])
async def test_a_key_that_is_not_there_is_not_found(
    stand: AdminStand, gate: Replica, root: str, method: str, after: str, key_id: str
) -> None:
    """404, and nothing is written."""
    await gate.call(method, f"{KEYS}/{key_id}{after}", token=root, status=404)
    assert await stand.audit() == []


async def test_the_last_super_admin_is_kept(stand: AdminStand, gate: Replica, root: str) -> None:
    """Nobody locks everybody out by mistake; with another valid key, or by force, it is revoked."""
    own_id = root.split("_")[1]
    ended = await make(gate, root, role="super_admin", customer=None, expires_in_days=1)
    stand.clock.advance(86_400)
    assert (await gate.call("DELETE", f"{KEYS}/{own_id}", token=root, status=409))["status"] == 409
    await gate.call("DELETE", f"{KEYS}/{own_id}?force=perhaps", token=root, status=400)
    await gate.call("DELETE", f"{KEYS}/{ended['id']}", token=root, status=204)
    other = await make(gate, root, role="super_admin", customer=None)
    await gate.call("DELETE", f"{KEYS}/{own_id}", token=root, status=204)
    await gate.call("DELETE", f"{KEYS}/{other['id']}", token=other["token"], status=409)
    await gate.call("DELETE", f"{KEYS}/{other['id']}?force=true", token=other["token"], status=204)
    await gate.call("GET", KEYS, token=other["token"], status=401)


async def test_two_super_admins_cannot_revoke_each_other_at_once(stand: AdminStand, gate: Replica, root: str) -> None:
    """Of two revocations at the same moment one is refused."""
    other = await make(gate, root, role="super_admin", customer=None)
    calls = [(f"{KEYS}/{other['id']}", root), (f"{KEYS}/{root.split('_')[1]}", other["token"])]

    async def revoke(path: str, token: str) -> int:
        async with gate.http.delete(gate.url + path, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status

    assert sorted(await asyncio.gather(*(revoke(*call) for call in calls))) in ([204, 401], [204, 409])
    assert sum(key.is_valid_at(stand.clock.now()) for key in await stand.registry.fetch_keys()) == 1


async def test_a_book_that_cannot_look_loses_no_secret(stand: AdminStand, gate: Replica, root: str) -> None:
    """The key is written, so its maker gets it, and every replica finds it when it looks again."""
    gate.shelf.is_ledger_away = True
    made = await make(gate, root)
    gate.shelf.is_ledger_away = False
    stand.clock.advance(1)
    await gate.call("GET", "/v1/jobs", token=made["token"])


async def test_a_key_is_never_made_without_its_record(stand: AdminStand, gate: Replica, root: str) -> None:
    """A database that cannot write the record keeps no key, and the answer has no secret."""
    with stand.audit_away():
        problem = await make(gate, root, status=503)
    assert "bqg_" not in json.dumps(problem)
    assert len(await stand.registry.fetch_keys()) == 1
