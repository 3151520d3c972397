"""The contract of ports.Registry's policies and keys, over SQLite and PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.audit import AuditFilter
from bqgate.domain.errors import VersionConflict
from bqgate.domain.key import KeyKind
from bqgate.domain.policy import PRICING_NAME, PolicyItem, PolicyKind
from bqgate.domain.principal import Role
from bqgate.ledger import SqlRegistry
from bqgate.ports import Registry
from tests.support.manual_clock import START
from tests.support.registries import make_event, make_key

DOCUMENT = {"daily_usd": "10.50", "thresholds": [{"at": 0.8, "action": "throttle"}], "note": "ünïcode ☃", "none": None}


async def write(registry: SqlRegistry, name: str, expected_version: int, **document: object) -> PolicyItem:
    return await registry.write_policy(
        PolicyKind.TIER, name, document, expected_version=expected_version, event=make_event()
    )


async def actions(registry: SqlRegistry) -> list[str]:
    """What the audit log has, oldest first."""
    return [record.event.action for record in reversed((await registry.fetch_audit(AuditFilter())).records)]


async def test_the_adapter_is_a_registry(registry: SqlRegistry) -> None:
    """SqlRegistry has the port's methods with the port's types, and begins empty at revision 0."""
    port: Registry = registry
    assert await port.fetch_revision() == 0
    assert await port.fetch_policies() == ()
    assert await port.fetch_keys() == ()
    assert (await port.fetch_audit(AuditFilter())).records == ()


async def test_a_policy_comes_back_whole(registry: SqlRegistry) -> None:
    """A document of each kind survives the round trip, with the moment and author of its event."""
    event = make_event(at=START + timedelta(microseconds=1), actor="☃")
    written = [
        await registry.write_policy(kind, name, DOCUMENT, expected_version=0, event=event)
        for kind, name in (
            (PolicyKind.BUDGET, "acme"),
            (PolicyKind.CUSTOMER, "acme"),
            (PolicyKind.PRICING, PRICING_NAME),
            (PolicyKind.TIER, "gold"),
        )
    ]
    assert list(await registry.fetch_policies()) == written
    assert written[3] == PolicyItem(PolicyKind.TIER, "gold", 4, DOCUMENT, event.at, "☃")


async def test_a_change_expects_the_version_that_was_read(registry: SqlRegistry) -> None:
    """Writing and deleting over somebody else's change is a conflict, which changes and records nothing."""
    first = await write(registry, "gold", 0, usd=1)
    second = await write(registry, "gold", first.version, usd=2)
    for wrong in (0, first.version, second.version + 1, -1, 2**70):
        with pytest.raises(VersionConflict):
            await write(registry, "gold", wrong, usd=3)
        with pytest.raises(VersionConflict):
            await registry.delete_policy(PolicyKind.TIER, "gold", expected_version=wrong, event=make_event())
    with pytest.raises(VersionConflict):
        await write(registry, "silver", second.version)
    assert await registry.fetch_policies() == (second,)
    assert await registry.fetch_revision() == 2
    assert len(await actions(registry)) == 2


async def test_a_version_is_never_used_again(registry: SqlRegistry) -> None:
    """A document that is deleted and written anew has a version that no earlier one had."""
    first = await write(registry, "gold", 0)
    await registry.delete_policy(
        PolicyKind.TIER, "gold", expected_version=first.version, event=make_event("tier.deleted")
    )
    assert await registry.fetch_policies() == ()
    again = await write(registry, "gold", 0)
    assert (first.version, again.version, await registry.fetch_revision()) == (1, 3, 3)
    assert await actions(registry) == ["tier.updated", "tier.deleted", "tier.updated"]


async def test_of_many_writers_of_one_document_one_wins(registry: SqlRegistry, ledger_url: str) -> None:
    """Twenty writers in two registries expect the same version: one writes, the others are told of a conflict."""
    rival = await SqlRegistry.open(ledger_url)
    for expected in (0, 1):
        results = await asyncio.gather(
            *(write(each, "gold", expected, number=number) for number in range(10) for each in (registry, rival)),
            return_exceptions=True,
        )
        winners = [result for result in results if isinstance(result, PolicyItem)]
        assert len(winners) == 1
        assert [type(each) for each in results].count(VersionConflict) == 19
        assert await registry.fetch_policies() == tuple(winners)
    assert await registry.fetch_revision() == len(await actions(registry)) == 2
    await rival.close()


async def test_a_key_comes_back_whole(registry: SqlRegistry) -> None:
    """Every field of a key survives the round trip; the oldest comes first."""
    token = make_key(
        "b" * 16, kind=KeyKind.TOKEN, customer=None, role=Role.SUPER_ADMIN, public_key=None, token_hash="0" * 64
    )
    token = replace(token, ends_at=START + timedelta(days=90, microseconds=1), is_revoked=True)
    file = make_key("a" * 16, created_at=START + timedelta(seconds=1))
    await registry.add_key(file, make_event("key.created"))
    await registry.add_key(token, make_event("key.created"))
    assert await registry.fetch_keys() == (token, file)
    assert await registry.fetch_revision() == 2
    assert await actions(registry) == ["key.created", "key.created"]


async def test_a_key_id_is_used_once(registry: SqlRegistry) -> None:
    """A second key of the same id is a conflict; the first one stands."""
    key = make_key("a" * 16)
    await registry.add_key(key, make_event())
    with pytest.raises(VersionConflict):
        await registry.add_key(make_key("a" * 16, principal="mallory"), make_event())
    assert await registry.fetch_keys() == (key,)
    assert await registry.fetch_revision() == len(await actions(registry)) == 1


async def test_a_keys_end_never_moves_back(registry: SqlRegistry) -> None:
    """An earlier end holds, a later one does not; a revoked key stays revoked; what changed nothing is no revision."""
    soon, later = START + timedelta(hours=1), START + timedelta(hours=2)
    await registry.add_key(make_key("k"), make_event())
    ended = await registry.end_key("k", ends_at=later, is_revoked=False, event=make_event("key.rotated"))
    assert (ended.ends_at, ended.is_revoked) == (later, False)
    revoked = await registry.end_key("k", ends_at=soon, is_revoked=True, event=make_event("key.revoked"))
    assert (revoked.ends_at, revoked.is_revoked) == (soon, True)
    assert await registry.fetch_revision() == 3
    again = await registry.end_key("k", ends_at=later, is_revoked=False, event=make_event("key.ended"))
    assert again == revoked
    assert await registry.fetch_keys() == (revoked,)
    assert await registry.fetch_revision() == 3
    assert await actions(registry) == ["tier.updated", "key.rotated", "key.revoked", "key.ended"]


async def test_an_unknown_key_has_no_end(registry: SqlRegistry) -> None:
    """Ending a key that is not there is a conflict, whatever its id looks like, and leaves no record."""
    for key_id in ("unknown", "", "a\x00b", "\ud800"):
        with pytest.raises(VersionConflict):
            await registry.end_key(key_id, ends_at=START, is_revoked=True, event=make_event())
    assert await actions(registry) == []
    assert await registry.fetch_revision() == 0


async def test_names_that_no_database_keeps_are_not_there(registry: SqlRegistry) -> None:
    """A name with a zero byte or half a surrogate pair is an unknown one, not an outage."""
    for name in ("a\x00b", "\ud800"):
        with pytest.raises(VersionConflict):
            await registry.delete_policy(PolicyKind.TIER, name, expected_version=1, event=make_event())
        with pytest.raises(VersionConflict):
            await write(registry, name, 1)


async def test_what_was_written_survives_the_process(registry: SqlRegistry, ledger_url: str) -> None:
    """Another registry on the same database reads what the first one wrote."""
    item, key = await write(registry, "gold", 0, usd=1), make_key("k")
    await registry.add_key(key, make_event())
    await registry.close()
    again = await SqlRegistry.open(ledger_url)
    assert await again.fetch_policies() == (item,)
    assert await again.fetch_keys() == (key,)
    await again.close()
