import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from bqgate.domain.audit import GENESIS, AuditFilter, AuditPage
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.principal import Role
from bqgate.ledger import SqlRegistry
from tests.support.admin_stand import AdminStand, Replica, admin_stand
from tests.support.manual_clock import START
from tests.support.registries import make_event, tamper

AUDIT = "/admin/v1/audit"
EXPORT = f"{AUDIT}:export"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[AdminStand]:
    """A new registry."""
    async with admin_stand(tmp_path) as opened:
        yield opened


@pytest.fixture
async def admin(stand: AdminStand) -> str:
    """An admin's token, whose making is record 1, and six records more, one an hour."""
    token = await stand.token(Role.ADMIN)
    await stand.registry.append_audit(
        [
            make_event(
                f"{noun}.updated",
                at=START + timedelta(hours=hour),
                actor=actor,
                customer=customer,
                detail="line\nbreak \u2028 ☃ \x00",
            )
            for hour, (noun, actor, customer) in enumerate(
                [("tier", "ann", "acme"), ("tier", "bob", None), ("budget", "ann", "globex")] * 2
            )
        ]
    )
    return token


@pytest.fixture
async def gate(stand: AdminStand, admin: str) -> Replica:
    """A replica that knows the admin."""
    assert admin
    return await stand.replica()


def seqs(text: str) -> list[int]:
    """The places of the records in an export."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line)["seq"] for line in text.removesuffix("\n").split("\n") if line]


async def test_records_come_newest_first_with_their_hashes(gate: Replica, admin: str) -> None:
    """Each has what was done and the hash of the one before it, down to the first."""
    page = await gate.call("GET", AUDIT, token=admin)
    records = page["records"]
    assert [record["seq"] for record in records] == [7, 6, 5, 4, 3, 2, 1]
    assert page["next_page_token"] is None
    older = [record["hash"] for record in records[1:]] + [GENESIS]
    assert [record["previous_hash"] for record in records] == older
    assert records[0] == {
        "seq": 7,
        "at": "2026-11-24T17:00:00Z",
        "action": "budget.updated",
        "actor": "ann",
        "role": "admin",
        "subject": "key:3f00",
        "customer": "globex",
        "target": "tiers/gold",
        "source": "192.0.2.7",
        "request_id": "r-1",
        "detail": "line\nbreak \u2028 ☃ \ufffd",
        "before": {"daily_usd": "10", "nested": {"b": [1, 2.5, None], "a": "é"}},
        "after": {"daily_usd": "20", "nested": {"b": [], "a": True}},
        "previous_hash": older[0],
        "hash": records[0]["hash"],
    }


async def test_pages_hold_while_records_are_added(stand: AdminStand, gate: Replica, admin: str) -> None:
    """Each page goes on where the last ended, whatever was written in between."""
    seen: list[int] = []
    token = ""
    while True:
        page = await gate.call("GET", f"{AUDIT}?page_size=3{token}", token=admin)
        seen += [record["seq"] for record in page["records"]]
        await stand.registry.append_audit([make_event()])
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("actor=ann", [7, 5, 4, 2]),
        ("action=tier.updated", [6, 5, 3, 2]),
        ("customer=globex", [7, 4]),
        ("actor=ann&customer=acme", [5, 2]),
        ("since=2026-11-24T16:00:00Z", [7, 6]),
        ("since=2026-11-24T13:00:00Z&until=2026-11-24T15:00:00Z", [4, 3]),
        ("actor=nobody", []),
        ("page_token=3", [2, 1]),
        ("page_token=0", []),
        ("page_token=999999999999999999", [7, 6, 5, 4, 3, 2, 1]),
    ],
)
async def test_filters_hold_for_pages_and_exports(gate: Replica, admin: str, query: str, wanted: list[int]) -> None:
    """Both give the records that match all of them."""
    page = await gate.call("GET", f"{AUDIT}?{query}", token=admin)
    assert [record["seq"] for record in page["records"]] == wanted
    assert seqs(await gate.call("GET", f"{EXPORT}?{query}&page_size=2", token=admin)) == wanted


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-11-25T00:00:00Z&until=2026-11-24T00:00:00Z",
        "page_token=-1",
        "page_token=abc",
        "page_token=%C2%B2",
        "page_token=1234567890123456789",
        "page_size=0",
        "page_size=1001",
        "actor=",
        "actor=a%00b",
        "action=%0A",
        "customer=%00",
        "who=ann",
    ],
)
@pytest.mark.parametrize("path", [AUDIT, EXPORT])
async def test_what_is_no_filter_is_refused(gate: Replica, admin: str, path: str, query: str) -> None:
    """The answer names the parameter."""
    problem = await gate.call("GET", f"{path}?{query}", token=admin, status=400)
    assert problem["field"] == query.partition("=")[0]


async def test_a_caller_that_accepts_lines_gets_them(stand: AdminStand, gate: Replica, admin: str) -> None:
    """By Accept or by format=jsonl the list is the export; one JSON document a line, whatever is in it."""
    stand.conformances.clear()  # the document has one media type for an answer, and names the list's JSON
    whole = await gate.call("GET", EXPORT, token=admin)
    assert seqs(whole) == [7, 6, 5, 4, 3, 2, 1]
    accept = {"Accept": "text/html, application/x-ndjson;q=0.9"}
    assert await gate.call("GET", AUDIT, token=admin, headers=accept) == whole
    assert await gate.call("GET", f"{AUDIT}?format=jsonl", token=admin) == whole
    as_json = await gate.call("GET", f"{AUDIT}?format=json", token=admin, headers=accept)
    assert [json.dumps(record) for record in as_json["records"]] == [
        json.dumps(json.loads(line)) for line in whole.removesuffix("\n").split("\n")
    ]
    assert (await gate.call("GET", f"{AUDIT}?format=csv", token=admin, status=400))["field"] == "format"
    async with gate.http.head(gate.url + EXPORT, headers={"Authorization": f"Bearer {admin}"}) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "application/x-ndjson", b"")


class PagedRegistry(SqlRegistry):
    """A registry that says which pages were read, and whose database is lost after some."""

    sizes: list[int]
    pages_max: int

    async def fetch_audit(self, wanted: AuditFilter) -> AuditPage:
        if len(self.sizes) == self.pages_max:
            message = "lost"
            raise LedgerUnavailable(message)
        page = await super().fetch_audit(wanted)
        self.sizes.append(len(page.records))
        return page


async def test_an_export_holds_a_page_and_can_go_on(stand: AdminStand, admin: str) -> None:
    """Records are read page by page; one that breaks off ends without the end of the body, and is gone on with."""
    registry = await PagedRegistry.open(f"sqlite:///{stand.path}")
    stand.stack.push_async_callback(registry.close)
    registry.sizes, registry.pages_max = [], 2
    gate = await stand.replica(registry=registry)
    arrived = b""
    url, headers = f"{gate.url}{EXPORT}?page_size=2", {"Authorization": f"Bearer {admin}"}

    async def read() -> None:
        nonlocal arrived
        async with gate.http.get(url, headers=headers) as answer:
            async for chunk in answer.content.iter_any():
                arrived += chunk

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    got = seqs(arrived.decode())
    assert (got, registry.sizes) == ([7, 6, 5, 4], [2, 2])
    assert stand.metrics.value("bqgate_failures_total", system="ledger", step="audit_export") == 1
    registry.sizes, registry.pages_max = [], 9
    rest = seqs(await gate.call("GET", f"{EXPORT}?page_size=2&page_token={got[-1]}", token=admin))
    assert (rest, registry.sizes) == ([3, 2, 1], [2, 1])


async def test_a_lost_database_is_told_before_the_answer_begins(stand: AdminStand, gate: Replica, admin: str) -> None:
    """503 from list, export and verdict, as a problem."""
    with stand.audit_away():
        for path in (AUDIT, EXPORT, f"{AUDIT}:verify"):
            assert (await gate.call("GET", path, token=admin, status=503))["status"] == 503


async def test_the_verdict_says_what_was_tampered_with(stand: AdminStand, gate: Replica, admin: str) -> None:
    """A whole chain has its head's hash; a changed record is named."""
    newest = (await gate.call("GET", f"{AUDIT}?page_size=1", token=admin))["records"][0]
    verdict = await gate.call("GET", f"{AUDIT}:verify", token=admin)
    assert verdict == {
        "is_intact": True,
        "records": 7,
        "head_hash": newest["hash"],
        "broken": None,
        "as_of": "2026-11-24T12:00:00Z",
    }
    tamper(f"sqlite:///{stand.path}", "UPDATE audit SET actor = 'bob' WHERE seq = 5")
    verdict = await gate.call("GET", f"{AUDIT}:verify", token=admin)
    assert (verdict["is_intact"], verdict["records"], verdict["broken"]["seq"]) == (False, 4, 5)
    await gate.call("GET", f"{AUDIT}:verify?deep=1", token=admin, status=400)


async def test_reading_is_not_audited(stand: AdminStand, gate: Replica, admin: str) -> None:
    """The log does not grow because somebody reads it."""
    for path in (AUDIT, EXPORT, f"{AUDIT}:verify"):
        await gate.call("GET", path, token=admin)
    assert (await gate.call("GET", f"{AUDIT}:verify", token=admin))["records"] == 7
    assert stand.audit_log.events == []


@pytest.mark.parametrize("role", [Role.USER, Role.ANALYST])
@pytest.mark.parametrize("path", [AUDIT, EXPORT, f"{AUDIT}:verify"])
async def test_customers_do_not_read_it(stand: AdminStand, role: Role, path: str) -> None:
    """Neither as a whole nor by their own name."""
    token = await stand.token(role, customer="acme")
    gate = await stand.replica()
    await gate.call("GET", path, token=token, status=403)
    await gate.call("GET", f"{path}?customer=acme", token=token, status=403)
    await gate.call("GET", path, status=401)
