"""Compare what the upstream billed with the ledger, with the limits of every moment, and with Redis.

Shares no code with the gate: its prices, windows and limits are its own. What it is given: the facts of a run, all rows
of `entries` and `holds`, and Redis as it is at the end. What it finds is of three kinds: differences, jobs that are
booked twice, and limits that were passed.

A window's limit holds at every moment: what had been billed by then was held before, and the last of these holds was
placed only where all of them had room. So at each job's end the sum of the window's bills must be within what was in
force when the last placed of the jobs in it was placed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from tests.chaos.facts import Billed, Facts, moment
from tests.chaos.world import CUSTOMER_OF, NANOS_PER_CENT, WAIT_S_MAX, principal_of

_TIB = 2**40
_MODEL_FACTOR = 50
_SHOWN = 12
_NEVER_S = 1e9

Row = Mapping[str, Any]
# What a window is about, and its day: ("customer acme", "2026-11-18").
WindowName = tuple[str, str]


@dataclass
class Verdict:
    """What the audit found. Sums are nano-dollars."""

    jobs: int = 0
    billed_nanos: int = 0
    booked_nanos: int = 0
    holds: int = 0
    windows: int = 0
    counters: int = 0
    differences: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.differences or self.twice or self.passed)

    @property
    def figures(self) -> str:
        return f"{len(self.differences)} / {len(self.twice)} / {len(self.passed)}"

    def __str__(self) -> str:
        first = (
            f"audits {self.figures} (differences / booked twice / limits passed): {self.jobs} jobs, "
            f"billed ${_usd(self.billed_nanos)}, booked ${_usd(self.booked_nanos)}, {self.holds} holds, "
            f"{self.windows} windows, {self.counters} counters in Redis"
        )
        found = [*self.differences[:_SHOWN], *self.twice[:_SHOWN], *self.passed[:_SHOWN]]
        return "\n    ".join((first, *found))


@dataclass(frozen=True)
class Redis:
    """What lies in Redis: hashes by key, and at what cost holds are marked as ended."""

    hashes: Mapping[str, Mapping[str, str]]
    ended: Mapping[str, str]


def audit(facts: Facts, entries: Sequence[Row], holds: Sequence[Row], redis: Redis | None) -> Verdict:
    """Look at everything; nothing may be running any more."""
    return _Audit(facts, entries, holds, redis).made()


class _Audit:
    def __init__(self, facts: Facts, entries: Sequence[Row], holds: Sequence[Row], redis: Redis | None) -> None:
        self._facts, self._entries, self._redis = facts, entries, redis
        self._holds = {str(hold["id"]): hold for hold in holds}
        self._entries_of_job: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self._entries_of_hold: dict[str, list[Row]] = defaultdict(list)
        for entry in entries:
            if entry["job_id"]:
                key = (str(entry["job_project_id"] or entry["project_id"]), str(entry["job_id"]))
                self._entries_of_job[key].append(entry)
            if entry["hold_id"]:
                self._entries_of_hold[str(entry["hold_id"])].append(entry)
        self._found = Verdict(jobs=len(facts.jobs), holds=len(self._holds))

    def made(self) -> Verdict:
        self._compare_jobs()
        self._compare_holds()
        self._compare_limits()
        if self._redis is not None:
            self._compare_counters(self._redis)
        self._found.booked_nanos = sum(int(entry["cost_nanos"]) for entry in self._entries)
        if self._found.booked_nanos != self._found.billed_nanos and not self._found.differences:
            self._say(f"${_usd(self._found.billed_nanos)} was billed and ${_usd(self._found.booked_nanos)} booked")
        return self._found

    def _say(self, difference: str) -> None:
        self._found.differences.append(difference)

    # Each job: booked once, at its bill, for whom it was.

    def _compare_jobs(self) -> None:
        left = {key for key, rows in self._entries_of_job.items() if any(row["cost_nanos"] for row in rows)}
        for job in self._facts.jobs:
            key = (job.project, job.job_id or "")
            left.discard(key)
            rows = self._entries_of_job.get(key, [])
            charges = [row for row in rows if row["kind"] == "charge"]
            booked = sum(int(row["cost_nanos"]) for row in rows)
            bill = self._bill_of(job, booked)
            self._found.billed_nanos += bill
            if booked != bill:
                self._say(
                    f"{_name(job)} (call {job.call}, hold {job.hold_id or 'none'}) was billed ${_usd(bill)} "
                    f"and booked ${_usd(booked)} in {len(rows)} entries"
                )
            if len(charges) > 1:
                self._found.twice.append(f"{_name(job)} has {len(charges)} charges")
            if job.call in self._facts.bypassed:
                self._compare_bypass(job, charges)
            elif bill:
                self._compare_payer(job, charges)
        for project, job_id in sorted(left):
            self._say(f"{project}.{job_id} is booked and did not run")
        for entry in self._entries:
            if entry["cost_nanos"] and not entry["job_id"]:
                self._say(f"${_usd(int(entry['cost_nanos']))} is booked for no job in {entry['project_id']}")

    def _compare_payer(self, job: Billed, charges: Sequence[Row]) -> None:
        self._compare_columns(
            job,
            charges,
            customer=CUSTOMER_OF[job.project],
            principal=principal_of(job.project),
            workload=self._facts.workload_of.get(job.call),
        )
        if job.hold_id not in self._holds:
            self._say(f"{_name(job)} ran without a hold that the ledger knows")

    def _compare_bypass(self, job: Billed, charges: Sequence[Row]) -> None:
        """The rule of who went past the gate: booked once, for whose project it was, and said to be so.

        What cost nothing is booked by nobody.
        """
        if not charges and not any(size for _, size in job.billed):
            return
        if len(charges) != 1 or charges[0].get("origin") != "bypass":
            self._say(f"{_name(job)} went past the gate and is booked as {[row.get('origin') for row in charges]}")
        self._compare_columns(job, charges, customer=CUSTOMER_OF[job.project], principal=principal_of(job.project))

    def _compare_columns(self, job: Billed, charges: Sequence[Row], **wanted: str | None) -> None:
        for charge in charges:
            for column, value in wanted.items():
                if charge[column] != value:
                    self._say(f"{_name(job)} is booked with {column} {charge[column]} and not {value}")

    def _bill_of(self, job: Billed, booked: int) -> int:
        """By the price at which it was held; around a change of prices it may be one or the other.

        What ran past the gate has the price of when it was found, which may be any time later.
        """
        is_bypass = job.call in self._facts.bypassed
        since_s, until_s = (job.created_s, _NEVER_S) if is_bypass else self._placed_s(job)
        prices = self._facts.prices.between(since_s, until_s)
        bills = [_bill(job, int(price)) for price in prices]
        return booked if booked in bills else bills[-1]

    def _placed_s(self, job: Billed) -> tuple[float, float]:
        hold = self._holds.get(job.hold_id)
        if hold is None:
            return job.created_s - WAIT_S_MAX, job.created_s
        return self._facts.real_s(int(hold["placed_at"]), job.created_s, WAIT_S_MAX)

    # Each hold: ended once.

    def _compare_holds(self) -> None:
        for hold_id, hold in self._holds.items():
            charges = [row for row in self._entries_of_hold[hold_id] if row["kind"] == "charge"]
            state = hold["state"]
            if hold["ended_at"] is None:
                self._say(f"hold {hold_id} of {hold['project_id']} is open")
            if len(charges) > 1:
                self._found.twice.append(f"hold {hold_id} has {len(charges)} charges")
            if state == "captured" and not charges:
                self._say(f"hold {hold_id} was captured without a charge")
            if state == "voided" and any(charge["cost_nanos"] for charge in charges):
                self._say(f"hold {hold_id} was voided and has a charge")
            for column, value in zip(("day_key", "month_key"), self._keys_of(hold), strict=True):
                if hold[column] != value:
                    self._say(f"hold {hold_id} counts in {hold[column]} and was placed in {value}")

    def _keys_of(self, hold: Row) -> tuple[str, str]:
        zone = ZoneInfo(self._facts.zones.get(str(hold["customer"]), "UTC"))
        day = moment(int(hold["placed_at"])).astimezone(zone).date()
        return day.isoformat(), day.isoformat()[:7]

    # No limit was passed at any moment.

    def _compare_limits(self) -> None:
        jobs_of: dict[WindowName, list[Billed]] = defaultdict(list)
        for job in self._facts.jobs:
            if any(size for _, size in job.billed) and job.hold_id in self._holds:
                for window in self._windows_of(job):
                    if window[0] in self._facts.limits:
                        jobs_of[window].append(job)
        self._found.windows = len(jobs_of)
        for window, jobs in sorted(jobs_of.items()):
            self._compare_window(window, sorted(jobs, key=lambda job: job.ended_s))

    def _windows_of(self, job: Billed) -> Iterable[WindowName]:
        hold = self._holds[job.hold_id]
        day, _ = self._keys_of(hold)
        customer = CUSTOMER_OF[job.project]
        yield f"customer {customer}", day
        yield f"principal {customer}/{principal_of(job.project)}", day
        workload = self._facts.workload_of.get(job.call)
        if workload is not None:
            yield f"workload {customer}/{workload}", day
        yield "deployment", moment(int(hold["placed_at"])).date().isoformat()

    def _compare_window(self, window: WindowName, jobs: Sequence[Billed]) -> None:
        about, day = window
        sum_nanos, last_placed = 0, (-1e9, -1e9)
        for job in jobs:
            booked = sum(
                int(row["cost_nanos"]) for row in self._entries_of_job.get((job.project, job.job_id or ""), ())
            )
            sum_nanos += self._bill_of(job, booked)
            last_placed = max(last_placed, self._placed_s(job), key=lambda placed: placed[1])
            limit = max(self._facts.limits[about].between(*last_placed))
            if sum_nanos > limit:
                self._found.passed.append(
                    f"{about} was billed ${_usd(sum_nanos)} on {day} at a limit of ${_usd(int(limit))} "
                    f"when {_name(job)} ended at {job.ended_s:.2f} s (its last placed at {last_placed[1]:.2f} s)"
                )
                return

    # Redis says what the ledger says.

    def _compare_counters(self, redis: Redis) -> None:
        sums = self._ledger_sums()
        for key, fields in sorted(redis.hashes.items()):
            account, _, rest = key.removeprefix("bqgate:{").partition("}:")
            if rest.startswith("window:"):
                self._found.counters += 1
                name = f"{unquote(account)} {unquote(rest.removeprefix('window:'))}"
                wanted, captured = sums[name], int(fields.get("captured_nanos", "0"))
                if captured != wanted:
                    self._say(f"Redis has ${_usd(captured)} in {name}, the ledger ${_usd(wanted)}")
                if fields.get("held_nanos") != "0":
                    self._say(f"Redis still holds ${_usd(int(fields.get('held_nanos', '0')))} in {name}")
            elif rest in {"holds", "attempts", "idempotency"} and fields:
                self._say(f"Redis still has {len(fields)} {rest} of {unquote(account)}")
        for key, cost in redis.ended.items():
            rows = self._entries_of_hold.get(unquote(key), [])
            wanted = sum(int(row["cost_nanos"]) for row in rows if row["kind"] == "charge")
            if int(cost) != wanted:
                self._say(f"Redis ended hold {key} at ${_usd(int(cost))}, the ledger at ${_usd(wanted)}")

    def _ledger_sums(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for entry in self._entries:
            cost, customer = int(entry["cost_nanos"]), entry["customer"]
            for period, key in (("day", entry["day_key"]), ("month", entry["month_key"])):
                if key is None:
                    continue
                sums[f"{customer} {period}:{key}"] += cost
                sums[f"{customer} principal/{entry['principal']}:{period}:{key}"] += cost
                if entry["workload"] is not None:
                    sums[f"{customer} workload/{entry['workload']}:{period}:{key}"] += cost
            placed_at = self._holds.get(str(entry["hold_id"]), entry).get("placed_at")
            if placed_at is not None:
                day = moment(int(placed_at)).date().isoformat()
                sums[f"/deployment day:{day}"] += cost
                sums[f"/deployment month:{day[:7]}"] += cost
        return sums


def _bill(job: Billed, nanos_per_tib: int) -> int:
    """What a job costs: each statement rounded up to a nano-dollar. A model costs fifty times as much."""
    return sum(
        -(-size * nanos_per_tib * (_MODEL_FACTOR if kind == "CREATE_MODEL" else 1) // _TIB) for kind, size in job.billed
    )


def _name(job: Billed) -> str:
    return f"{job.project}.{job.job_id}"


def _usd(nanos: int) -> str:
    whole, rest = divmod(abs(nanos), 100 * NANOS_PER_CENT)
    return f"{'-' if nanos < 0 else ''}{whole}.{rest:09d}"
