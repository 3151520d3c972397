"""Whoever writes into the audit log behind the gate's back is found, and so is where. On both databases."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bqgate.domain.audit import GENESIS, AuditRecord, chained
from bqgate.ledger import AuditHead, AuditVerdict, SqlRegistry
from bqgate.ledger.audit_chain import PAGE_RECORDS
from tests.support.registries import make_event, tamper

COLUMNS = (
    "seq, at, action, actor, target, role, subject, customer, source, request_id, detail, "
    "before, after, previous_hash, hash"
)
DOCUMENT = """'{"daily_usd": "99"}'"""


@pytest.fixture
async def records(registry: SqlRegistry) -> Sequence[AuditRecord]:
    """Six records."""
    return await registry.append_audit([make_event(detail=str(number), customer=None) for number in range(6)])


def broken_seq(verdict: AuditVerdict) -> int | None:
    """Where the log is broken; everything before it must have been counted as good."""
    if verdict.broken is None:
        return None
    assert verdict.broken.seq in {verdict.records + 1, 0}
    return verdict.broken.seq


async def test_a_log_that_nobody_touched_is_whole(registry: SqlRegistry, records: Sequence[AuditRecord]) -> None:
    """The verdict counts the records and has the last one's hash."""
    assert await registry.verify_audit() == AuditVerdict(6, records[-1].hash)


async def test_an_empty_log_is_whole(registry: SqlRegistry) -> None:
    """Before the first record there is nothing to break."""
    assert await registry.verify_audit() == AuditVerdict(0, GENESIS)


@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1", "action = 'x'", "actor = 'x'", "target = 'x'", "role = ''", "subject = 'x'", "customer = ''",
        "source = 'x'", "request_id = 'x'", "detail = ''", f"before = {DOCUMENT}", "before = NULL",
        f"after = {DOCUMENT}", "after = 'no JSON'", "after = '[]'", "after = 'null'", "previous_hash = ''", "hash = ''",
    ],
)  # fmt: skip
async def test_a_changed_field_is_found(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord], change: str
) -> None:
    """Each column of a record is covered by its hash."""
    tamper(ledger_url, f"UPDATE audit SET {change} WHERE seq = 3")
    verdict = await registry.verify_audit()
    assert broken_seq(verdict) == 3
    assert verdict.head_hash == records[1].hash


async def test_a_changed_record_with_a_hash_to_match_breaks_the_next(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord]
) -> None:
    """A forger who knows how to hash is found one record later, whose hash covers the old one."""
    forged = chained(3, replace(records[2].event, actor="x"), records[1].hash)
    tamper(ledger_url, f"UPDATE audit SET actor = 'x', hash = '{forged.hash}' WHERE seq = 3")
    assert broken_seq(await registry.verify_audit()) == 4


@pytest.mark.parametrize("seq", [1, 3])
async def test_a_removed_record_is_found(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord], seq: int
) -> None:
    """A gap shows at its place, and closing it by renumbering does not hide it."""
    tamper(ledger_url, f"DELETE FROM audit WHERE seq = {seq}")
    assert broken_seq(await registry.verify_audit()) == seq
    tamper(ledger_url, *(f"UPDATE audit SET seq = {later - 1} WHERE seq = {later}" for later in range(seq + 1, 7)))
    assert broken_seq(await registry.verify_audit()) == seq


@pytest.mark.parametrize("seq", [0, 3, 7])
async def test_an_inserted_record_is_found(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord], seq: int
) -> None:
    """A record put before the first, between two, or behind the last without the right hash shows at its place."""
    shifts = [
        f"UPDATE audit SET seq = {later + 1} WHERE seq = {later}" for later in range(6, 0, -1) if later >= seq > 0
    ]
    copy = COLUMNS.replace("seq", str(seq), 1)
    tamper(ledger_url, *shifts, f"INSERT INTO audit ({COLUMNS}) SELECT {copy} FROM audit WHERE seq = 2")
    assert broken_seq(await registry.verify_audit()) == seq


async def test_swapped_records_are_found(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord]
) -> None:
    """Two records that changed places show at the first of the two."""
    moves = ((2, -1), (4, 2), (-1, 4))
    tamper(ledger_url, *(f"UPDATE audit SET seq = {new} WHERE seq = {old}" for old, new in moves))
    assert broken_seq(await registry.verify_audit()) == 2


async def test_an_end_that_was_cut_off_shows_against_a_witness(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord]
) -> None:
    """The chain alone does not show it; a head that a log line noted does."""
    witness = AuditHead(records[5].seq, records[5].hash)
    assert broken_seq(await registry.verify_audit(witness=witness)) is None
    tamper(ledger_url, "DELETE FROM audit WHERE seq > 4")
    assert broken_seq(await registry.verify_audit()) is None
    assert broken_seq(await registry.verify_audit(witness=witness)) == 5


async def test_a_log_that_was_written_anew_shows_against_a_witness(
    registry: SqlRegistry, ledger_url: str, records: Sequence[AuditRecord]
) -> None:
    """Who can hash can forge a whole chain; the witness has seen another record at its place."""
    tamper(ledger_url, "DELETE FROM audit")
    await registry.append_audit([make_event("forged.event") for _ in records])
    assert broken_seq(await registry.verify_audit()) is None
    assert broken_seq(await registry.verify_audit(witness=AuditHead(records[3].seq, records[3].hash))) == 4


async def test_verifying_reads_in_pages_and_tells_how_far_it_is(registry: SqlRegistry, ledger_url: str) -> None:
    """A long log is read a thousand records at a time; a break behind the first page is found like any other."""
    total = 2 * PAGE_RECORDS + 1
    await registry.append_audit([make_event() for _ in range(total)])
    told: list[tuple[int, int]] = []
    verdict = await registry.verify_audit(on_page=lambda looked_at, of: told.append((looked_at, of)))
    assert (verdict.records, verdict.broken) == (total, None)
    assert told == [(PAGE_RECORDS, total), (2 * PAGE_RECORDS, total), (total, total)]
    for seq in (PAGE_RECORDS + 1, PAGE_RECORDS):
        tamper(ledger_url, f"DELETE FROM audit WHERE seq = {seq}")
        assert broken_seq(await registry.verify_audit()) == seq
