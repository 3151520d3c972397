"""Take refused logins and refused accesses to the audit log, without slowing anybody (ports.AuditLog).

Told by the gate's dispatch step and by the control plane; appends to the Registry from one background task. Who is
refused chooses how often, and with which names, so everything here is bounded. Equal refusals within a minute are
merged: the first is written at once, the others as one record when the minute is over. So are those that differ, in
target, request or claimed name, beyond a few of one caller, of one source, and of all. Text is cut, and what finds no
room is counted and leaves one record that says how many. While the database is away events wait. An append whose
outcome is unknown is done again, so that a record may stand there twice, but none is lost by it.

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
from bqgate.wire.source_address import source_of

MERGED_S = 60
PAUSE_S = 1
WITNESSED_EVERY_S = 60
GROUP_MAX = 100
TEXT_CHARS_MAX = 500
_TEXTS = ("actor", "target", "subject", "source", "request_id", "detail")
# How many refusals are told one by one in a minute, before the others become one record: of one caller from one
# source, of all callers from one source, of everybody.
CALLER_MAX, SOURCE_MAX, ALL_MAX = 5, 25, 250
SEVERAL = "several"
# What a merged record can say only where it was the same in all.
_COMMON = {"actor": SEVERAL, "target": SEVERAL, "source": SEVERAL, "subject": "", "role": "", "customer": None}
_SHOWN_TARGET_CHARS = 200

_FIELDS_OF_EQUALS = 7
_GROUPS_PER_PLACE = 4  # an event that is told is in four

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Group:
    """Refusals of one minute that are alike. `merged` stands for those that were not told one by one."""

    is_of_equals: bool
    since: datetime
    ends_s: float
    told: int = 0
    count: int = 0
    merged: AuditEvent | None = None
    last_target: str = ""

    def merge(self, event: AuditEvent) -> None:
        """Count an event instead of telling it, and forget in what it differs from the others."""
        before = self.merged or event
        differing: dict[str, Any] = {
            name: several
            for name, several in _COMMON.items()
            if getattr(event, name) != getattr(before, name) and getattr(before, name) != several
        }
        self.merged = replace(before, at=event.at, **differing)
        self.count += 1
        self.last_target = event.target

    def record(self) -> AuditEvent | None:
        """What to write when the minute is over; None where every event was told."""
        if self.merged is None:
            return None
        more = f"{self.count} more since {self.since.isoformat(timespec='seconds')}"
        if self.is_of_equals:
            return replace(self.merged, detail=f"{self.merged.detail} ({more})".lstrip())
        detail = f"{more}; the last one: {self.last_target[:_SHOWN_TARGET_CHARS]}"
        return replace(self.merged, detail=detail, request_id="")


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
        self._groups: dict[_Key, _Group] = {}  # in the order in which their minutes end
        self._lost = 0
        self._writing = asyncio.Lock()
        self._witnessed_seq = 0
        self._witness_s = clock.monotonic_s()

    def record(self, event: AuditEvent) -> None:
        """Take an event for the audit log; beyond a few alike in a minute it is counted instead of written."""
        event = _cut(event)
        keys = _keys_of(event)
        for key, most in keys.items():
            group = self._current(key)
            if group is not None and (group.told >= most or self._is_full):
                group.merge(event)
                return
        if self._is_full:
            self._lose(1)
            return
        self._waiting.append(event)
        for key in keys:
            group = self._groups.get(key) or self._new_group(key, event)
            if group is not None:
                group.told += 1

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
        for key in tuple(self._groups):
            self._close(key)
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

    def _current(self, key: _Key) -> _Group | None:
        """The group of a key; one whose minute is over is written, where there is room."""
        group = self._groups.get(key)
        if group is None or self._is_full or self._clock.monotonic_s() < group.ends_s:
            return group
        self._close(key)
        return None

    def _new_group(self, key: _Key, event: AuditEvent) -> _Group | None:
        """None: too many are watched. Those of whole actions are few, and always are."""
        if len(self._groups) >= _GROUPS_PER_PLACE * self._waiting_max and len(key) > 1:
            return None
        is_of_equals = len(key) == _FIELDS_OF_EQUALS
        group = self._groups[key] = _Group(is_of_equals, event.at, self._clock.monotonic_s() + MERGED_S)
        return group

    def _close_ended(self) -> None:
        """Turn each minute that is over into one record of what was merged, while there is room."""
        now_s = self._clock.monotonic_s()
        for key, group in tuple(self._groups.items()):
            if group.ends_s > now_s or self._is_full:
                return
            self._close(key)

    def _close(self, key: _Key) -> None:
        record = self._groups.pop(key).record()
        if record is not None:
            self._waiting.append(record)

    def _lose(self, count: int) -> None:
        self._lost += count
        self._telemetry.count("audit_dropped_total", count)

    def _losses(self, count: int) -> list[AuditEvent]:
        if not count:
            return []
        detail = f"{count} events found no room and were not written"
        return [AuditEvent(self._clock.now(), "audit.dropped", actor="bqgate", target="audit", detail=detail)]


def _keys_of(event: AuditEvent) -> dict[_Key, int]:
    """The groups of an event, the narrowest first, and how many each lets be told one by one.

    Equal ones; those of one caller; those from one source, as who proves nothing can claim to be anybody; all.
    """
    source, customer = source_of(event.source), event.customer or ""
    caller = (event.action, source, event.actor, event.subject)
    return {
        (*caller, customer, event.target, event.detail): 1,
        caller: CALLER_MAX,
        (event.action, source): SOURCE_MAX,
        (event.action,): ALL_MAX,
    }


def _cut(event: AuditEvent) -> AuditEvent:
    """The event with text of bounded length that every database keeps: callers choose some of it."""
    texts: dict[str, Any] = {name: _plain(getattr(event, name)) for name in _TEXTS}
    customer = None if event.customer is None else _plain(event.customer)
    return replace(event, **texts, customer=customer)


def _plain(text: str) -> str:
    """No NUL, no half of a surrogate pair, nothing that would begin another line."""
    text = text[:TEXT_CHARS_MAX]
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
