"""Tests of bqgate.identity.audit_log over a real registry, with a database that can be locked away."""

import asyncio
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.identity.audit_log import (
    ALL_MAX,
    CALLER_MAX,
    GROUP_MAX,
    MERGED_S,
    PAUSE_S,
    SOURCE_MAX,
    TEXT_CHARS_MAX,
    WITNESSED_EVERY_S,
    BufferedAuditLog,
)
from bqgate.ledger import SqlRegistry
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.ports import AuditLog
from tests.support.manual_clock import ManualClock

SHORT_S = 1.0
WAITING_MAX = 5


@dataclass
class Stand:
    """A trail of five places, its registry, and what it counted and noted."""

    audit_log: BufferedAuditLog
    registry: SqlRegistry
    clock: ManualClock
    metrics: Metrics
    log: io.StringIO
    path: Path

    def refusal(self, **changes: Any) -> AuditEvent:
        event = AuditEvent(
            self.clock.now(), "login.refused", actor="key:3f", target="gate", source="192.0.2.7", detail="expired"
        )
        return replace(event, **changes)

    async def round(self, seconds: float = PAUSE_S) -> None:
        """Let time pass, and the running trail come to its next pause."""
        self.clock.advance(seconds)
        await self.clock.wait_for_sleepers(timeout_s=30)

    async def details(self) -> list[str]:
        """What the audit log has, oldest first."""
        records = (await self.registry.fetch_audit(AuditFilter(page_size=1_000))).records
        return [record.event.detail for record in reversed(records)]

    def heads(self) -> list[tuple[int, str]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [(line["seq"], line["hash"]) for line in lines if line["event"] == "audit_head"]

    @contextmanager
    def database_away(self) -> Iterator[None]:
        rival = sqlite3.connect(self.path, isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        yield
        rival.execute("ROLLBACK")
        rival.close()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A trail that does not run yet."""
    path, clock, metrics, log = tmp_path / "ledger.db", ManualClock(), Metrics(), io.StringIO()
    registry = await SqlRegistry.open(f"sqlite:///{path}", timeout_s=SHORT_S)
    telemetry = PrometheusTelemetry(metrics, make_logger(log, clock))
    audit_log = BufferedAuditLog(registry, clock, telemetry, waiting_max=WAITING_MAX)
    yield Stand(audit_log, registry, clock, metrics, log, path)
    await registry.close()


@asynccontextmanager
async def running(stand: Stand) -> AsyncIterator[None]:
    """The trail's background task, asleep for the first time."""
    task = asyncio.create_task(stand.audit_log.run())
    await stand.clock.wait_for_sleepers(timeout_s=30)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_is_told_is_in_the_audit_log_a_second_later(stand: Stand) -> None:
    """Telling does not wait; the background task appends, in order."""
    port: AuditLog = stand.audit_log
    async with running(stand):
        port.record(stand.refusal(detail="a"))
        port.record(stand.refusal(detail="b", action="access.refused", target="tiers/gold"))
        assert await stand.details() == []
        await stand.round()
        assert await stand.details() == ["a", "b"]


async def test_equal_refusals_of_a_minute_are_one_record_that_counts_them(stand: Stand) -> None:
    """The first is written at once; repeats are counted and written, with the last one's moment, after the minute."""
    async with running(stand):
        started = stand.clock.now()
        for _ in range(59):
            stand.audit_log.record(stand.refusal())
            await stand.round()
        assert await stand.details() == ["expired"]
        await stand.round()
        assert await stand.details() == ["expired", f"expired (58 more since {started.isoformat()})"]
        newest = (await stand.registry.fetch_audit(AuditFilter(page_size=1))).records[0].event
        assert (newest.at - started).total_seconds() == 58


async def test_the_next_minute_begins_anew(stand: Stand) -> None:
    """A refusal after the minute is a record of its own at once, also where nobody ran in between."""
    stand.audit_log.record(stand.refusal())
    stand.audit_log.record(stand.refusal())
    stand.clock.advance(MERGED_S)
    stand.audit_log.record(stand.refusal())
    async with running(stand):
        first, merged, third = await stand.details()
        assert (first, third) == ("expired", "expired")
        assert merged.startswith("expired (1 more since ")
        await stand.round(MERGED_S)
        assert len(await stand.details()) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"action": "access.refused"}, {"source": "192.0.2.8"}, {"actor": "key:40"}, {"detail": "revoked"},
        {"target": "jobs/17"}, {"subject": "key:40"}, {"customer": "acme"},
    ],
)  # fmt: skip
async def test_refusals_that_differ_are_records_of_their_own(stand: Stand, change: dict[str, str]) -> None:
    """By what was tried, where, from where and by whom; the moment and the request do not tell them apart."""
    stand.audit_log.record(stand.refusal())
    stand.audit_log.record(stand.refusal(**change))
    stand.audit_log.record(stand.refusal(request_id="another"))
    await stand.audit_log.flush()
    assert len(await stand.details()) == 3
    assert (await stand.details())[2].startswith("expired (1 more since")


async def _tally(stand: Stand) -> tuple[int, int]:
    """How many records there are, and how many events they stand for."""
    details = await stand.details()
    merged = [int(found[1]) for detail in details if (found := re.search(r"([0-9]+) more since ", detail))]
    return len(details), len(details) - len(merged) + sum(merged)


ATTACKS: dict[str, tuple[Callable[[int], dict[str, str]], int]] = {
    "targets": (lambda number: {"target": f"jobs/{number}"}, CALLER_MAX + 1),
    "targets and requests": (lambda number: {"target": f"jobs/{number}", "request_id": f"r{number}"}, CALLER_MAX + 1),
    "details": (lambda number: {"detail": f"Asked for: customer-{number}"}, CALLER_MAX + 1),
    "customers": (lambda number: {"customer": f"customer-{number}"}, CALLER_MAX + 1),
    "claimed names": (lambda number: {"actor": f"key:{number}"}, SOURCE_MAX + 1),
    "names and targets": (lambda number: {"subject": f"s{number}", "target": f"t{number % 7}"}, SOURCE_MAX + 1),
    "addresses of one host": (lambda number: {"source": f"2001:db8::{number:x}", "actor": f"{number}"}, SOURCE_MAX + 1),
    "addresses": (lambda number: {"source": f"192.0.{number // 250}.{number % 250}"}, ALL_MAX + 1),
    "every fifth alike": (lambda number: {"target": f"jobs/{number // 5}"}, 2 * CALLER_MAX + 1),
}


@pytest.mark.parametrize("varied", ATTACKS)
@pytest.mark.parametrize("action", ["login.refused", "access.refused"])
async def test_a_flood_of_refusals_is_a_few_records_whatever_varies(stand: Stand, varied: str, action: str) -> None:
    """1,500 in a minute: the first are told at once with their targets, the others are one record; the sum is right."""
    changes, records_max = ATTACKS[varied]
    telemetry = PrometheusTelemetry(stand.metrics, make_logger(stand.log, stand.clock))
    stand.audit_log = BufferedAuditLog(stand.registry, stand.clock, telemetry)
    async with running(stand):
        for number in range(1_500):
            stand.audit_log.record(stand.refusal(action=action, **changes(number)))
        await stand.round()
        page = await stand.registry.fetch_audit(AuditFilter(page_size=1_000))
        first = stand.refusal(action=action, **changes(0))
        assert page.records[-1].event == replace(first, at=page.records[-1].event.at)
        await stand.round(MERGED_S)
        count, total = await _tally(stand)
        assert total == 1_500
        assert count <= records_max
    assert (await stand.registry.verify_audit()).broken is None
    assert stand.metrics.value("bqgate_audit_dropped_total") == 0


async def test_a_merged_record_says_what_all_had_in_common(stand: Stand) -> None:
    """Who, from where and whose stand there where they were the same; what differed does not, but for the last."""
    for number in range(CALLER_MAX + 3):
        stand.audit_log.record(stand.refusal(target=f"jobs/{number}", customer="acme", request_id=f"r{number}"))
    await stand.audit_log.flush()
    event = (await stand.registry.fetch_audit(AuditFilter(page_size=1))).records[0].event
    assert (event.actor, event.source, event.customer) == ("key:3f", "192.0.2.7", "acme")
    assert (event.target, event.request_id) == ("several", "")
    assert event.detail == "3 more since 2026-11-24T12:00:00+00:00; the last one: jobs/7"


async def test_another_caller_is_told_during_a_flood(stand: Stand) -> None:
    """Whoever tries many doors does not hide who tries one, from the same source or from another."""
    for number in range(100):
        stand.audit_log.record(stand.refusal(target=f"jobs/{number}"))
        await stand.audit_log._append_waiting()
    stand.audit_log.record(stand.refusal(actor="key:77", target="tiers/gold"))
    stand.audit_log.record(stand.refusal(source="192.0.2.9", target="tiers/iron"))
    await stand.audit_log._append_waiting()
    records = (await stand.registry.fetch_audit(AuditFilter(page_size=2))).records
    assert {each.event.target for each in records} == {"tiers/gold", "tiers/iron"}


async def test_what_is_watched_is_bounded(stand: Stand) -> None:
    """Names that are made up fill no memory, with the database there and without."""
    for number in range(10_000):
        source = f"10.{number >> 8}.{number & 255}.1"
        stand.audit_log.record(stand.refusal(source=source, target=f"jobs/{number}"))
        if number % 3 == 0:
            await stand.audit_log._append_waiting()
    assert len(stand.audit_log._groups) <= 4 * WAITING_MAX + 1
    await stand.audit_log.flush()
    assert (await _tally(stand))[1] == 10_000


async def test_while_the_database_is_away_events_wait(stand: Stand) -> None:
    """Nothing is lost below the bound; the failure is counted, and the next round writes all, in order."""
    async with running(stand):
        with stand.database_away():
            for number in range(WAITING_MAX):
                stand.audit_log.record(stand.refusal(detail=str(number)))
            await stand.round()
            assert stand.metrics.value("bqgate_failures_total", system="ledger", step="audit") == 1
        await stand.round()
        assert await stand.details() == ["0", "1", "2", "3", "4"]
        assert stand.metrics.value("bqgate_audit_dropped_total") == 0


async def test_what_passes_the_bound_is_counted_and_one_record_says_how_many(stand: Stand) -> None:
    """A flood fills no memory: what finds no room is lost, told by a counter and by the log itself."""
    for number in range(WAITING_MAX):
        stand.audit_log.record(stand.refusal(actor=f"key:{number}", detail=str(number)))
    for number in range(1_000):  # nothing of this kind is known yet with which it could be counted
        stand.audit_log.record(stand.refusal(action="access.refused", actor=f"key:{number}"))
    stand.audit_log.record(stand.refusal(actor="key:0", detail="0"))  # known already: it costs no room
    assert stand.metrics.value("bqgate_audit_dropped_total") == 1_000
    async with running(stand):
        *written, last = await stand.details()
        assert written == ["0", "1", "2", "3", "4"]
        assert last == "1000 events found no room and were not written"
        await stand.round(MERGED_S)
        assert (await stand.details())[6].startswith("0 (1 more since")
        assert len(await stand.details()) == 7
    assert (await stand.registry.verify_audit()).broken is None


async def test_repeats_are_kept_while_there_is_no_room(stand: Stand) -> None:
    """A minute that ends while the database is away goes on being counted; its repeats are not lost."""
    async with running(stand):
        with stand.database_away():
            for number in range(WAITING_MAX):
                stand.audit_log.record(stand.refusal(detail=str(number)))
            stand.audit_log.record(stand.refusal(detail="0"))
            await stand.round(MERGED_S)
            stand.audit_log.record(stand.refusal(detail="0"))
        await stand.round()
        await stand.round()
        details = await stand.details()
        assert details[:WAITING_MAX] == ["0", "1", "2", "3", "4"]
        assert [detail[:15] for detail in details[WAITING_MAX:]] == ["0 (2 more since"]
        assert stand.metrics.value("bqgate_audit_dropped_total") == 0


async def test_flush_writes_what_waits_and_repeats_whose_minute_is_not_over(stand: Stand) -> None:
    """At shutdown nothing is left behind."""
    stand.audit_log.record(stand.refusal())
    stand.audit_log.record(stand.refusal())
    await stand.audit_log.flush()
    first, second = await stand.details()
    assert first == "expired"
    assert second.startswith("expired (1 more since ")
    await stand.audit_log.flush()
    assert len(await stand.details()) == 2


async def test_what_cannot_be_flushed_is_counted(stand: Stand) -> None:
    """A shutdown without a database ends, and tells what is lost."""
    stand.audit_log.record(stand.refusal())
    with stand.database_away():
        await stand.audit_log.flush()
    assert stand.metrics.value("bqgate_audit_dropped_total") == 1
    assert '"event": "audit_not_flushed"' in stand.log.getvalue()


async def test_text_that_callers_choose_is_cut(stand: Stand) -> None:
    """A name of a megabyte takes neither memory nor disk, and a zero byte does not block the log."""
    long = "x" * 1_000_000
    stand.audit_log.record(
        stand.refusal(actor=f"\x00{long}", target=long, subject=long, source=long, request_id=long, customer=long)
    )
    await stand.audit_log.flush()
    event = (await stand.registry.fetch_audit(AuditFilter())).records[0].event
    texts = (event.actor, event.target, event.subject, event.source, event.request_id, event.customer)
    assert [len(text or "") for text in texts] == [TEXT_CHARS_MAX] * 6


async def test_long_queues_are_written_in_groups_each_with_its_head_in_the_log(stand: Stand) -> None:
    """After each append a log line has the last record's place and hash, as the audit log has them."""
    telemetry = PrometheusTelemetry(stand.metrics, make_logger(stand.log, stand.clock))
    audit_log = BufferedAuditLog(stand.registry, stand.clock, telemetry)
    for number in range(2 * GROUP_MAX + 1):
        audit_log.record(stand.refusal(source=f"192.0.2.{number}", detail=str(number)))
    await audit_log.flush()
    assert await stand.details() == [str(number) for number in range(2 * GROUP_MAX + 1)]
    records = (await stand.registry.fetch_audit(AuditFilter(page_size=1_000))).records
    hashes = {record.seq: record.hash for record in records}
    expected = (GROUP_MAX, 2 * GROUP_MAX, 2 * GROUP_MAX + 1)
    assert stand.heads() == [(seq, hashes[seq]) for seq in expected]


async def test_heads_that_others_made_are_witnessed_once_a_minute(stand: Stand) -> None:
    """Admins' changes do not pass through the trail; its log lines witness them all the same, each head once."""
    (first,) = await stand.registry.append_audit([stand.refusal()])
    async with running(stand):
        assert stand.heads() == [(first.seq, first.hash)]
        second, third = await stand.registry.append_audit([stand.refusal(), stand.refusal()])
        await stand.round()
        assert stand.heads() == [(first.seq, first.hash)]
        await stand.round(WITNESSED_EVERY_S)
        assert stand.heads()[1:] == [(third.seq, third.hash)]
        await stand.round(WITNESSED_EVERY_S)
        assert len(stand.heads()) == 2
    assert second.seq == 2
