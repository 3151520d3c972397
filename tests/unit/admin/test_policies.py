"""Tiers, customers, budgets and pricing: made, read, changed, taken away, and never overwritten unseen."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.audit import AuditEvent, AuditFilter
from tests.support.control_stand import REQUEST_ID, Answer, ControlStand, control_stand
from tests.support.manual_clock import START

GOLD = {"name": "gold", "daily_usd": "20", "monthly_usd": "600", "emergency_usd": "100"}


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane with every view, over settings with two tiers and two customers."""
    async with control_stand(tmp_path) as stand:
        yield stand


async def audit(control: ControlStand) -> list[AuditEvent]:
    """What the registry has in its audit log, oldest first."""
    records = (await control.registry.fetch_audit(AuditFilter())).records
    return [record.event for record in reversed(records)]


async def change(control: ControlStand, method: str, path: str, body: Any = None, *, etag: str | None = None) -> Answer:
    """Send a change made from a version; from the present one unless told otherwise."""
    tag = etag or (await control.call("GET", path)).headers["ETag"]
    return await control.call(method, path, headers={"If-Match": tag}, json=body)


async def test_a_tier_is_made_read_changed_and_taken_away(control: ControlStand) -> None:
    """Each answer shows the document whole, where it comes from, and its next version."""
    created = await control.call("POST", "/admin/v1/tiers", json=GOLD)
    assert (created.status, created.headers["Location"]) == (201, "/admin/v1/tiers/gold")
    assert created.json["daily_usd"] == "20.00"
    assert created.json["throttle_wait_ms"] == 2000
    assert (created.json["source"], created.json["changed_by"]) == ("admin", "admin")
    assert created.json["changed_at"] == START.isoformat().replace("+00:00", "Z")
    read = await control.call("GET", "/admin/v1/tiers/gold")
    assert (read.status, read.headers["ETag"], read.json) == (200, created.headers["ETag"], created.json)
    replaced = await change(control, "PUT", "/admin/v1/tiers/gold", {**_without_name(GOLD), "daily_usd": "30"})
    assert (replaced.status, replaced.json["daily_usd"]) == (200, "30.00")
    assert replaced.headers["ETag"] != created.headers["ETag"]
    patched = await change(control, "PATCH", "/admin/v1/tiers/gold", {"query_usd": "5"})
    assert (patched.status, patched.json["query_usd"], patched.json["daily_usd"]) == (200, "5.00", "30.00")
    cleared = await change(control, "PATCH", "/admin/v1/tiers/gold", {"query_usd": None})
    assert cleared.json["query_usd"] is None
    assert (await change(control, "DELETE", "/admin/v1/tiers/gold")).status == 204
    assert (await control.call("GET", "/admin/v1/tiers/gold")).status == 404


async def test_every_change_is_in_the_audit_log_from_what_to_what(control: ControlStand) -> None:
    """Who, on which target, under which request id; refused changes are not in it."""
    await control.call("POST", "/admin/v1/tiers", json=GOLD)
    await change(control, "PATCH", "/admin/v1/tiers/gold", {"daily_usd": "25"})
    await change(control, "PATCH", "/admin/v1/tiers/gold", {"daily_usd": "-1"})
    await change(control, "DELETE", "/admin/v1/tiers/gold")
    events = await audit(control)
    assert [event.action for event in events] == ["tier.created", "tier.updated", "tier.deleted"]
    for event in events:
        assert (event.actor, event.role, event.target) == ("admin", "admin", "tiers/gold")
        assert (event.request_id, event.source) == (REQUEST_ID, "127.0.0.1")
    assert events[0].before is None
    assert [event.after and event.after["daily_usd"] for event in events] == ["20.00", "25.00", None]
    assert [event.before and event.before["daily_usd"] for event in events] == [None, "20.00", "25.00"]


async def test_the_settings_are_shown_beside_what_admins_wrote(control: ControlStand) -> None:
    """And an admin's word stands over the file's until it is deleted."""
    listed = (await control.call("GET", "/admin/v1/tiers")).json["tiers"]
    assert {each["name"]: each["source"] for each in listed} == {"premium": "settings", "standard": "settings"}
    before = await control.call("GET", "/admin/v1/tiers/premium")
    assert (before.json["changed_at"], before.json["changed_by"]) == (None, None)
    changed = await change(control, "PATCH", "/admin/v1/tiers/premium", {"daily_usd": "60"})
    assert (changed.json["source"], changed.json["daily_usd"]) == ("admin", "60.00")
    assert (await change(control, "DELETE", "/admin/v1/tiers/premium")).status == 204
    assert (await control.call("GET", "/admin/v1/tiers/premium")).json == before.json


async def test_what_only_the_settings_have_cannot_be_deleted(control: ControlStand) -> None:
    """The file says it; 409 says so."""
    refused = await change(control, "DELETE", "/admin/v1/tiers/premium")
    assert refused.status == 409
    assert "settings file" in refused.json["detail"]


async def test_a_change_made_from_an_old_version_is_refused(control: ControlStand) -> None:
    """The second of two admins learns of the first's change; nothing of it is lost."""
    etag = (await control.call("GET", "/admin/v1/tiers/premium")).headers["ETag"]
    assert (await change(control, "PATCH", "/admin/v1/tiers/premium", {"daily_usd": "60"}, etag=etag)).status == 200
    for method, body in (("PATCH", {"query_usd": "1"}), ("PUT", _without_name(GOLD)), ("DELETE", None)):
        stale = await change(control, method, "/admin/v1/tiers/premium", body, etag=etag)
        assert (stale.status, stale.json["field"]) == (412, "If-Match")
    kept = (await control.call("GET", "/admin/v1/tiers/premium")).json
    assert (kept["daily_usd"], kept["query_usd"]) == ("60.00", None)


async def test_of_changes_at_once_one_wins(control: ControlStand) -> None:
    """The others are told, whatever the order in which they arrive."""
    path = "/admin/v1/tiers/premium"
    etag = (await control.call("GET", path)).headers["ETag"]
    bodies = [{"daily_usd": str(amount)} for amount in range(20, 28)]
    answers = await asyncio.gather(*(change(control, "PATCH", path, body, etag=etag) for body in bodies))
    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1
    assert {answer.status for answer in answers} == {200, 412}
    assert (await control.call("GET", path)).json == won[0].json


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_change_says_what_it_was_made_from(control: ControlStand, method: str) -> None:
    """428 without If-Match; what is not there is 404, and a weak tag or one in a list counts by its rules."""
    path, body = "/admin/v1/tiers/premium", {"daily_usd": "40", "monthly_usd": "900", "emergency_usd": "80"}
    assert (await control.call(method, path, json=body)).status == 428
    assert (await change(control, method, "/admin/v1/tiers/nothing", body, etag="*")).status == 404
    etag = (await control.call("GET", path)).headers["ETag"]
    assert (await change(control, method, path, body, etag=f"W/{etag}")).status == 412
    assert (await change(control, method, path, body, etag='"other"')).status == 412
    if method != "DELETE":
        assert (await change(control, method, path, body, etag=f'"other", {etag}')).status == 200
        assert (await change(control, method, path, body, etag="*")).status == 200


async def test_what_is_known_is_not_sent_again(control: ControlStand) -> None:
    """304 with the tag and no body, until it changes."""
    path = "/admin/v1/tiers/premium"
    etag = (await control.call("GET", path)).headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = await control.call("GET", path, headers={"If-None-Match": known})
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
    await change(control, "PATCH", path, {"daily_usd": "60"})
    assert (await control.call("GET", path, headers={"If-None-Match": etag})).status == 200


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"daily_usd": "-1"}, ["daily_usd"]),
        ({"daily_usd": "-1", "monthly_usd": "x", "dayly_usd": "1"}, ["daily_usd", "monthly_usd", "dayly_usd"]),
        ({"daily_usd": None}, ["daily_usd"]),
        ({"daily_usd": "700"}, ["daily_usd", "emergency_usd"]),
        ({"thresholds": [{"used_ratio": "2", "action": "run"}]}, ["thresholds.0.used_ratio", "thresholds.0.action"]),
        (
            {"thresholds": [{"used_ratio": "0.9", "action": "review"}, {"used_ratio": "0.8", "action": "monitor"}]},
            ["thresholds"],
        ),
        ({"throttle_wait_ms": 1.5}, ["throttle_wait_ms"]),
        ({"name": "other"}, ["name"]),
    ],
)
async def test_what_is_wrong_is_named_all_at_once(
    control: ControlStand, changes: dict[str, Any], fields: list[str]
) -> None:
    """By its key, and nothing is written."""
    await control.call("POST", "/admin/v1/tiers", json=GOLD)
    refused = await change(control, "PATCH", "/admin/v1/tiers/gold", changes)
    assert refused.status == 400
    assert sorted(each["field"] for each in refused.json["errors"]) == sorted(fields)
    assert all(each["message"] for each in refused.json["errors"])
    assert len(await audit(control)) == 1


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "a/b"}, {"name": "-a"}, {"name": "a" * 129}, {"name": 1}, {"name": None}]
)
async def test_a_new_one_needs_a_name(control: ControlStand, body: dict[str, Any]) -> None:
    """Of letters, digits and a few signs: it stands in URLs and keys."""
    refused = await control.call("POST", "/admin/v1/tiers", json={**_without_name(GOLD), **body})
    assert refused.status == 400
    assert [each["field"] for each in refused.json["errors"]] == ["name"]


async def test_what_there_is_already_is_not_made_again(control: ControlStand) -> None:
    """Whoever wrote it, the file or an admin."""
    for name in ("premium", "gold"):
        await control.call("POST", "/admin/v1/tiers", json=GOLD)
        refused = await control.call("POST", "/admin/v1/tiers", json={**GOLD, "name": name})
        assert (refused.status, refused.json["field"]) == (409, "name")


async def test_a_customer_and_its_own_limits(control: ControlStand) -> None:
    """A budget goes over the tier's limits; it is told by its customer's name."""
    created = await control.call("POST", "/admin/v1/customers", json={"name": "initech", "tier": "premium"})
    assert created.status == 201
    assert (created.json["tier"], created.json["time_zone"], created.json["projects"]) == ("premium", "UTC", [])
    budget = await control.call("POST", "/admin/v1/budgets", json={"name": "initech", "daily_usd": "7"})
    assert (budget.status, budget.headers["Location"]) == (201, "/admin/v1/budgets/initech")
    assert (budget.json["name"], budget.json["daily_usd"], budget.json["monthly_usd"]) == ("initech", "7.00", None)
    assert [event.customer for event in await audit(control)] == ["initech", "initech"]


async def test_what_others_need_is_not_taken_away(control: ControlStand) -> None:
    """409 names the place that would contradict itself."""
    await control.call("POST", "/admin/v1/tiers", json=GOLD)
    await control.call("POST", "/admin/v1/customers", json={"name": "initech", "tier": "gold"})
    refused = await change(control, "DELETE", "/admin/v1/tiers/gold")
    assert refused.status == 409
    assert [each["field"] for each in refused.json["errors"]] == ["customers.initech.tier"]
    assert (await control.call("GET", "/admin/v1/tiers/gold")).status == 200


async def test_a_project_has_one_customer(control: ControlStand) -> None:
    """The second customer that wants it is told whose it is."""
    await control.call("POST", "/admin/v1/customers", json={"name": "one", "projects": ["shared-data"]})
    refused = await control.call("POST", "/admin/v1/customers", json={"name": "two", "projects": ["shared-data"]})
    assert refused.status == 400
    assert refused.json["field"] == "projects"


async def test_pricing_is_one_document(control: ControlStand) -> None:
    """Read, changed by patch, and given back to the settings; it has no name and no collection."""
    path = "/admin/v1/pricing"
    before = await control.call("GET", path)
    assert "name" not in before.json
    patched = await change(control, "PATCH", path, {"usd_per_tib": "6.25"})
    assert (patched.json["usd_per_tib"], patched.json["source"]) == ("6.25", "admin")
    assert (await change(control, "PATCH", path, {"usd_per_tib": "0"})).json["field"] == "usd_per_tib"
    assert (await change(control, "DELETE", path)).status == 204
    assert (await control.call("GET", path)).json == before.json
    assert (await control.call("POST", path, json={})).status == 405
    assert [event.target for event in await audit(control)] == ["pricing", "pricing"]


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_a_patch_is_taken_as_either_type(control: ControlStand, media_type: str) -> None:
    """Of JSON; anything else is 415, and PUT takes no merge patch."""
    path = "/admin/v1/tiers/premium"
    headers = {"If-Match": "*", "Content-Type": media_type}
    assert (await control.call("PATCH", path, headers=headers, data=b'{"daily_usd": "60"}')).status == 200
    headers["Content-Type"] = "application/json-patch+json"
    assert (await control.call("PATCH", path, headers=headers, data=b"[]")).status == 415
    headers["Content-Type"] = "application/merge-patch+json"
    assert (await control.call("PUT", path, headers=headers, data=b"{}")).status == 415


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"{", b"", b'{"daily_usd": "1", "daily_usd": "2"}'])
async def test_a_document_is_an_object(control: ControlStand, data: bytes) -> None:
    """Nothing else is one."""
    path = "/admin/v1/tiers/premium"
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    for method in ("PUT", "PATCH"):
        assert (await control.call(method, path, headers=headers, data=data)).status == 400
    assert (await control.call("POST", "/admin/v1/tiers", headers=headers, data=data)).status == 400


def _without_name(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "name"}
