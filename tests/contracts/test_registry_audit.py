"""The contract of ports.Registry's audit log, over SQLite and PostgreSQL."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import bqgate
from bqgate.domain.audit import GENESIS, AuditFilter, AuditRecord, chained
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.ledger.registry import PAGE_RECORDS_MAX
from tests.support.manual_clock import START
from tests.support.registries import make_event, make_key


async def every_record(registry: SqlRegistry) -> list[AuditRecord]:
    """The whole log, oldest first."""
    page = await registry.fetch_audit(AuditFilter(page_size=PAGE_RECORDS_MAX))
    assert page.next_before_seq is None
    return list(reversed(page.records))


def assert_is_chain(records: Sequence[AuditRecord]) -> None:
    """No gap, no fork, no break: by the domain's own hash, not by the code under test."""
    previous_hash = GENESIS
    for seq, record in enumerate(records, 1):
        assert record == chained(seq, record.event, previous_hash)
        previous_hash = record.hash


async def test_a_record_comes_back_whole(registry: SqlRegistry) -> None:
    """Every field of an event survives the round trip, and so does an event with nothing optional set."""
    full = make_event(at=datetime(2026, 11, 24, 13, 0, 0, 123457, tzinfo=timezone(timedelta(hours=1))))
    bare = make_event(role="", subject="", customer=None, source="", request_id="", detail="", before=None, after=None)
    records = await registry.append_audit([full, bare])
    assert [record.event for record in records] == [full, bare]
    assert await every_record(registry) == list(records)
    assert_is_chain(records)


async def test_a_record_is_hashed_as_it_will_be_read(registry: SqlRegistry) -> None:
    """Text and documents that no database keeps as they are do not break the chain."""
    odd: Any = {10: (1, 2), 9: "a\x00b\ud800", "big": 2**200, "tiny": 1e-320}
    for event in (
        make_event(actor="a\x00b", detail="\ud800 \udfff", customer="\x00", target="😀"),
        make_event(before=odd, after={}),
    ):
        await registry.append_audit([event])
    first, second = await every_record(registry)
    assert (first.event.actor, first.event.detail, first.event.target) == ("a\ufffdb", "\ufffd \ufffd", "😀")
    assert second.event.before == {"10": [1, 2], "9": "a\x00b\ud800", "big": 2**200, "tiny": 1e-320}
    assert_is_chain([first, second])
    assert (await registry.verify_audit()).broken is None
    assert (await registry.fetch_audit(AuditFilter(actor="a\x00b"))).records == (first,)


async def test_every_change_leaves_its_record(registry: SqlRegistry) -> None:
    """Changes of policies and keys and appended events are in one chain, in the order in which they were made."""
    await registry.write_policy(PolicyKind.TIER, "gold", {}, expected_version=0, event=make_event("tier.created"))
    await registry.append_audit([make_event("login.refused"), make_event("access.refused")])
    assert await registry.append_audit([]) == ()
    await registry.add_key(make_key("k"), make_event("key.created"))
    await registry.end_key("k", ends_at=START, is_revoked=True, event=make_event("key.revoked"))
    await registry.delete_policy(PolicyKind.TIER, "gold", expected_version=1, event=make_event("tier.deleted"))
    records = await every_record(registry)
    expected = ["tier.created", "login.refused", "access.refused", "key.created", "key.revoked", "tier.deleted"]
    assert [record.event.action for record in records] == expected
    assert_is_chain(records)
    assert await registry.fetch_revision() == 4


async def test_records_are_found_by_what_is_wanted(registry: SqlRegistry) -> None:
    """By actor, action, customer and time, `since` included and `until` not, newest first."""
    events = [
        make_event("a.b", actor="ann", customer="acme", at=START),
        make_event("c.d", actor="ann", customer=None, at=START + timedelta(seconds=1)),
        make_event("a.b", actor="bob", customer="umbrella", at=START + timedelta(seconds=2)),
    ]
    first, second, third = await registry.append_audit(events)
    later = START + timedelta(seconds=1)
    for wanted, expected in (
        (AuditFilter(), (third, second, first)),
        (AuditFilter(actor="ann"), (second, first)),
        (AuditFilter(action="a.b"), (third, first)),
        (AuditFilter(customer="umbrella"), (third,)),
        (AuditFilter(since=later), (third, second)),
        (AuditFilter(until=later), (first,)),
        (AuditFilter(actor="ann", action="a.b", customer="acme", since=START, until=later), (first,)),
        (AuditFilter(before_seq=2), (first,)),
        (AuditFilter(before_seq=-(2**70)), ()),
        (AuditFilter(before_seq=2**70), (third, second, first)),
        (AuditFilter(customer="nobody"), ()),
    ):
        assert (await registry.fetch_audit(wanted)).records == expected, wanted


async def test_pages_neither_skip_nor_repeat(registry: SqlRegistry) -> None:
    """A reader that goes on where a page ended sees each record once, though others append meanwhile."""
    records = await registry.append_audit([make_event(detail=str(number)) for number in range(7)])
    seen: list[AuditRecord] = []
    before_seq: int | None = None
    while True:
        page = await registry.fetch_audit(AuditFilter(before_seq=before_seq, page_size=3))
        await registry.append_audit([make_event("another.one")])
        seen.extend(page.records)
        before_seq = page.next_before_seq
        if before_seq is None:
            break
        assert len(page.records) == 3
    assert seen == list(reversed(records))


async def test_a_page_is_bounded(registry: SqlRegistry) -> None:
    """Whoever asks for nothing gets one record, whoever asks for everything a thousand."""
    await registry.append_audit([make_event()] * (PAGE_RECORDS_MAX + 1))
    for asked, given in ((0, 1), (-5, 1), (2**70, PAGE_RECORDS_MAX)):
        page = await registry.fetch_audit(AuditFilter(page_size=asked))
        assert (len(page.records), page.next_before_seq) == (given, page.records[-1].seq)


async def test_a_group_is_written_whole_or_not_at_all(registry: SqlRegistry) -> None:
    """An event that cannot be written takes the whole group back, and the chain goes on without a gap."""
    unwritable: Any = {"a": object()}
    with pytest.raises(TypeError):
        await registry.append_audit([make_event(), make_event(before=unwritable)])
    assert await every_record(registry) == []
    with pytest.raises(TypeError):
        await registry.add_key(make_key("k"), make_event(before=unwritable))
    assert await registry.fetch_keys() == ()
    assert await registry.fetch_revision() == 0
    await registry.append_audit([make_event()])
    assert_is_chain(await every_record(registry))


async def test_many_writers_make_one_chain(registry: SqlRegistry, ledger_url: str) -> None:
    """Fifty writers in each of two registries, of all kinds at once, leave no gap and no fork."""
    ours, rival = [await SqlRegistry.open(ledger_url, timeout_s=30) for _ in range(2)]
    work: list[Coroutine[Any, Any, object]] = []
    for number in range(50):
        for name, each in (("a", ours), ("b", rival)):
            event = make_event(detail=f"{name}{number}")
            match number % 3:
                case 0:
                    work.append(each.append_audit([event, event]))
                case 1:
                    work.append(each.add_key(make_key(f"{name}{number}"), event))
                case _:
                    item = f"{name}{number}"
                    work.append(each.write_policy(PolicyKind.TIER, item, {}, expected_version=0, event=event))
    await asyncio.gather(*work)
    records = await every_record(registry)
    assert_is_chain(records)
    assert len(records) == 100 + 34
    versions = [item.version for item in await registry.fetch_policies()]
    assert len(set(versions)) == len(versions) == 32
    assert await registry.fetch_revision() == 66
    await ours.close()
    await rival.close()


async def test_writers_of_several_processes_make_one_chain(registry: SqlRegistry, ledger_url: str) -> None:
    """The lock is the database's own: processes that append at once leave no gap and no fork."""
    code = """
import asyncio, sys
from bqgate.ledger import SqlRegistry
from tests.support.registries import make_event

async def main():
    registry = await SqlRegistry.open(sys.argv[1], timeout_s=30)
    await asyncio.gather(*(registry.append_audit([make_event()]) for _ in range(20)))
    await registry.close()

asyncio.run(main())
"""
    checkout = Path(bqgate.__file__).parents[1]
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, ledger_url, cwd=checkout) for _ in range(3)
    ]
    assert [await writer.wait() for writer in writers] == [0, 0, 0]
    records = await every_record(registry)
    assert len(records) == 60
    assert_is_chain(records)
