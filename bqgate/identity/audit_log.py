"""Take refused logins and refused accesses to the audit log, without slowing anybody (ports.AuditLog).

Told by the gate's dispatch step and by the control plane; appends to the Registry from one background task. Who is
refused chooses how often, so everything here is bounded: equal refusals within a minute are merged (the first is
written at once, the others as one record when the minute is over), text is cut, and what finds no room is counted and
leaves one record that says how many. While the database is away events wait. An append whose outcome is unknown is
done again, so that a record may stand there twice, but none is lost by it.

After each append, and once a minute where others appended, a log line `audit_head` notes the last record's place and
hash: the log is the outside witness against an audit log whose end is cut off (`bqgate ledger verify --witness`).
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.errors import LedgerUnavailable
from bqgate.ports import Clock, Registry, Telemetry

MERGED_S = 60
PAUSE_S = 1
WITNESSED_EVERY_S = 60
GROUP_MAX = 100
TEXT_CHARS_MAX = 500
_TEXTS = ("actor", "target", "subject", "source", "request_id", "detail")

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Repeats:
    """What came again within the minute after `first` was told."""

    first: AuditEvent
    ends_s: float
    count: int = 0
    last_at: datetime | None = None


class BufferedAuditLog:
    """A bounded queue before the audit log. `run` empties it for as long as the gate lives, `flush` at its end.

    Args:
        registry: keeps the audit log.
        clock: says when a minute is over.
        telemetry: counts what was lost, notes heads.
        waiting_max: how many events may wait, and how many different ones are watched for repeats.
    """

    def __init__(self, registry: Registry, clock: Clock, telemetry: Telemetry, *, waiting_max: int = 1_000) -> None:
        self._registry = registry
        self._clock = clock
        self._telemetry = telemetry
        self._waiting_max = waiting_max
        self._waiting: deque[AuditEvent] = deque()
        self._repeats: dict[_Key, _Repeats] = {}  # in the order in which their minutes end
        self._lost = 0
        self._writing = asyncio.Lock()
        self._witnessed_seq = 0
        self._witness_s = clock.monotonic_s()

    def record(self, event: AuditEvent) -> None:
        """Take an event for the audit log; past the bound it is counted instead of written."""
        event = _cut(event)
        key = _key_of(event)
        repeats = self._repeats.get(key)
        if repeats is not None and (self._is_full or self._clock.monotonic_s() < repeats.ends_s):
            repeats.count += 1
            repeats.last_at = event.at
            return
        if repeats is not None:
            self._close(key, repeats)
        if self._is_full:
            self._lose(1)
            return
        self._waiting.append(event)
        if len(self._repeats) < self._waiting_max:
            self._repeats[key] = _Repeats(event, self._clock.monotonic_s() + MERGED_S)

    async def run(self) -> None:
        """Append what waits, once a second, for ever. While the database is away everything waits for it."""
        while True:
            self._close_ended()
            try:
                async with self._writing:
                    await self._append_waiting()
                    await self._witness()
            except LedgerUnavailable:
                self._telemetry.count("failures_total", system="ledger", step="audit")
            await self._clock.sleep(PAUSE_S)

    async def flush(self) -> None:
        """Append everything now, repeats of a minute that is not over too. What the database does not take is lost."""
        for key, repeats in tuple(self._repeats.items()):
            self._close(key, repeats)
        async with self._writing:
            try:
                await self._append_waiting()
            except LedgerUnavailable as error:
                self._lose(len(self._waiting))
                self._waiting.clear()
                self._telemetry.log("audit_not_flushed", events=self._lost, error=str(error))

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= self._waiting_max

    async def _append_waiting(self) -> None:
        while self._waiting or self._lost:
            group = list(islice(self._waiting, GROUP_MAX))
            lost = self._lost
            records = await self._registry.append_audit([*group, *self._losses(lost)])
            # Told meanwhile: events at the end, and more losses. Neither was in this group.
            for _ in group:
                self._waiting.popleft()
            self._lost -= lost
            self._note_head(records[-1].seq, records[-1].hash)

    async def _witness(self) -> None:
        """Note the head that others made: admins' changes go to the registry directly."""
        if self._clock.monotonic_s() < self._witness_s:
            return
        newest = (await self._registry.fetch_audit(AuditFilter(page_size=1))).records
        if newest and newest[0].seq != self._witnessed_seq:
            self._note_head(newest[0].seq, newest[0].hash)
        self._witness_s = self._clock.monotonic_s() + WITNESSED_EVERY_S

    def _note_head(self, seq: int, head_hash: str) -> None:
        self._witnessed_seq = seq
        self._witness_s = self._clock.monotonic_s() + WITNESSED_EVERY_S
        self._telemetry.log("audit_head", seq=seq, hash=head_hash)

    def _close_ended(self) -> None:
        """Turn each minute that is over into one record of its repeats, while there is room."""
        now_s = self._clock.monotonic_s()
        for key, repeats in tuple(self._repeats.items()):
            if repeats.ends_s > now_s or self._is_full:
                return
            self._close(key, repeats)

    def _close(self, key: _Key, repeats: _Repeats) -> None:
        del self._repeats[key]
        if not repeats.count or repeats.last_at is None:
            return
        more = f"{repeats.count} more since {repeats.first.at.isoformat(timespec='seconds')}"
        detail = f"{repeats.first.detail} ({more})".lstrip()
        self._waiting.append(replace(repeats.first, at=repeats.last_at, detail=detail))

    def _lose(self, count: int) -> None:
        self._lost += count
        self._telemetry.count("audit_dropped_total", count)

    def _losses(self, count: int) -> list[AuditEvent]:
        if not count:
            return []
        detail = f"{count} events found no room and were not written"
        return [AuditEvent(self._clock.now(), "audit.dropped", actor="bqgate", target="audit", detail=detail)]


def _key_of(event: AuditEvent) -> _Key:
    """What makes two refusals equal. The target is part of it: who tries many doors leaves a record of each."""
    return event.action, event.source, event.actor, event.subject, event.customer or "", event.target, event.detail


def _cut(event: AuditEvent) -> AuditEvent:
    """The event with text of bounded length that every database keeps: callers choose some of it."""
    texts: dict[str, Any] = {name: _plain(getattr(event, name)) for name in _TEXTS}
    customer = None if event.customer is None else _plain(event.customer)
    return replace(event, **texts, customer=customer)


def _plain(text: str) -> str:
    """No NUL, no half of a surrogate pair, nothing that would begin another line."""
    return "".join(each if each.isprintable() else "?" for each in text[:TEXT_CHARS_MAX])
