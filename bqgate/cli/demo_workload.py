"""Show the gate at work: a BigQuery stand-in, a gate on the embedded default, three customers with real queries.

Called by ``bqgate demo``. Google's own client sends every query through the gate; afterwards the ledger says what
happened to each. The price is BigQuery's list price by bytes, so that the figures can be checked by hand. What leaves:
a table on the terminal; then both servers stay up until Ctrl-C, unless told to end.
"""

import asyncio
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bqgate.app import Gate, open_gate
from bqgate.cli.first_query import first_query_command
from bqgate.clock import SystemClock
from bqgate.domain.entry import Entry, EntryFilter
from bqgate.domain.money import format_usd
from bqgate.domain.units import GIB, TIB
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.settings import Settings, load_settings

# Makes one full scan of a column of `flights` cost some dollars.
ROW_MULTIPLIER = 100_000

DELAYS = """SELECT carrier, AVG(dep_delay) AS mean_delay, COUNT(*) AS flights
FROM `nycflights13.flights` GROUP BY carrier ORDER BY mean_delay DESC"""
ROUTES = """SELECT f.origin, f.dest, a.name, COUNT(*) AS flights
FROM `nycflights13.flights` AS f JOIN `nycflights13.airports` AS a ON a.faa = f.dest
GROUP BY f.origin, f.dest, a.name ORDER BY flights DESC LIMIT 10"""
STORMS = """SELECT w.origin, AVG(f.dep_delay) AS mean_delay
FROM `nycflights13.weather` AS w JOIN `nycflights13.flights` AS f ON f.origin = w.origin AND f.time_hour = w.time_hour
WHERE w.wind_speed > 30 GROUP BY w.origin"""
FLEET = "SELECT manufacturer, COUNT(*) AS planes FROM `nycflights13.planes` GROUP BY manufacturer ORDER BY planes DESC"
LONGEST = "SELECT MAX(distance) + {number} AS miles FROM `nycflights13.flights`"
EVERYTHING = "SELECT * FROM `nycflights13.flights`"

# After Ctrl-C nobody answers any more; Google's client would go on asking for ten minutes.
_RETRY = bigquery.DEFAULT_RETRY.with_timeout(5)


@dataclass(frozen=True)
class Step:
    """One query of the workload."""

    customer: str
    title: str
    sql: str


WORKLOAD = (
    Step("acme", "delays by carrier", DELAYS),
    Step("acme", "the same again", DELAYS),
    Step("acme", "busiest routes", ROUTES),
    Step("globex", "delays in storms", STORMS),
    Step("globex", "fleet by maker", FLEET),
    Step("globex", "SELECT * of a table", EVERYTHING),
    Step("initech", "longest flight", LONGEST.format(number=0)),
    Step("initech", "longest flight + 1", LONGEST.format(number=1)),
    Step("initech", "longest flight + 2", LONGEST.format(number=2)),
    Step("initech", "longest flight + 3", LONGEST.format(number=3)),
)


async def run_demo(*, port: int, once: bool) -> None:
    """Run the workload, show the ledger, and stay up unless `once`. Port 0 takes a free one."""
    os.environ["no_proxy"] = "127.0.0.1"  # all of this stays on this machine, whatever proxy it has
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log file has no width of its own
    with tempfile.TemporaryDirectory(prefix="bqgate-demo-") as folder:
        async with Sandbox.start(SandboxSettings(row_multiplier=ROW_MULTIPLIER, time_scale=0.01)) as sandbox:
            price_nanos = await asyncio.to_thread(_price_of_longest, sandbox.url)
            settings = _settings(Path(folder), sandbox.url, port, price_nanos)
            with (Path(folder) / "gate.log").open("w") as log:
                async with open_gate(settings, log_stream=log) as gate:
                    console.print(f"BigQuery stand-in at {sandbox.url}, gate at {gate.url}", markup=False)
                    rows = await _run_workload(gate, console)
                    console.print(_report(settings, rows))
                    if not once:
                        _say_where_to_look(console, url=gate.url, control_url=gate.control_url)
                        await asyncio.Event().wait()


def _settings(folder: Path, upstream_url: str, port: int, price_nanos: int) -> Settings:
    """Three customers. Initech's day pays for three of its queries and a little more: the third is throttled."""
    initech_day = format_usd(price_nanos * 3 * 102 // 100)
    document: dict[str, Any] = {
        "server": {"port": port},
        "upstream": {"url": upstream_url, "credentials": "anonymous"},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "pricing": {"model": "on_demand"},
        "admission": {"headroom_ratio": "0"},
        "settlement": {"poll_first_ms": 50, "poll_longest_ms": 500},
        "tiers": {"trial": {"daily_usd": initech_day, "monthly_usd": "300", "emergency_usd": "50"}},
        "customers": {
            "acme": {"tier": "premium", "projects": ["acme-prod"]},
            "globex": {"tier": "standard", "projects": ["globex-prod"]},
            "initech": {"tier": "trial", "projects": ["initech-prod"]},
        },
    }
    file = folder / "bqgate.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_settings(file, {})


def _price_of_longest(sandbox_url: str) -> int:
    """What one of initech's queries will cost at list price: a dry run at the stand-in."""
    with _client("initech-prod", sandbox_url) as client:
        dry_run = bigquery.QueryJobConfig(dry_run=True)
        job = client.query(LONGEST.format(number=0), job_config=dry_run, retry=_RETRY)
        return -(-int(job.total_bytes_processed) * 6_250_000_000 // TIB)


@contextmanager
def _client(project: str, url: str) -> Iterator[bigquery.Client]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = bigquery.Client(
            project=project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth is untyped here
            client_options={"api_endpoint": url},
        )
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]  # the same


async def _run_workload(gate: Gate, console: Console) -> list[tuple[Step, Entry | None]]:
    """Run all customers side by side, each one's queries in order; what the ledger says of each."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        customers = list(dict.fromkeys(step.customer for step in WORKLOAD))
        tasks = {
            customer: progress.add_task(customer, total=sum(step.customer == customer for step in WORKLOAD))
            for customer in customers
        }

        async def run_customer(customer: str) -> list[tuple[Step, Entry | None]]:
            done: list[tuple[Step, Entry | None]] = []
            for step in (each for each in WORKLOAD if each.customer == customer):
                progress.update(tasks[customer], description=f"{customer}: {step.title}")
                await asyncio.to_thread(_run_query, gate.url, step)
                done.append((step, await _newest_entry(gate, customer, len(done) + 1)))
                progress.advance(tasks[customer])
            return done

        lists = await asyncio.gather(*(run_customer(customer) for customer in customers))
    return [row for rows in lists for row in rows]


def _run_query(url: str, step: Step) -> None:
    """Run one query with Google's client; a refusal is told by the ledger."""
    with _client(f"{step.customer}-prod", url) as client:
        try:
            client.query(step.sql, retry=_RETRY, job_retry=None).result(max_results=1, retry=_RETRY, job_retry=None)
        except GoogleAPICallError as refused:
            if not refused.errors or refused.errors[0].get("reason") not in {
                "quotaExceeded",
                "bytesBilledLimitExceeded",
            }:
                raise


async def _newest_entry(gate: Gate, customer: str, count: int) -> Entry | None:
    """The customer's newest entry, once it has so many: the poller may still be asking."""
    clock = SystemClock()
    for _ in range(600):
        entries = (await gate.ledger.fetch_entries(EntryFilter(customer=customer))).entries
        if len(entries) >= count:
            return entries[0]
        await clock.sleep(0.05)
    return None


def _report(settings: Settings, rows: list[tuple[Step, Entry | None]]) -> Table:
    table = Table(title="What happened to each query", caption="estimate: the most it could cost; billed: by BigQuery")
    for heading in ("customer", "query", "decision"):
        table.add_column(heading)
    for heading in ("estimate $", "billed GiB", "cost $", "left today $"):
        table.add_column(heading, justify="right")
    limits = {name: customer.tier.daily_nanos for name, customer in settings.customer_registry.customers.items()}
    colours = {"forward": "green", "throttle": "yellow", "reject": "red", "cached": "cyan"}
    for step, entry in rows:
        if entry is None:
            table.add_row(step.customer, step.title, Text("not booked in time", style="red"))
            continue
        limits[step.customer] -= entry.cost_nanos
        decision = "cached" if entry.cache_hit else entry.decision
        reason = f" ({entry.reason})" if entry.reason else ""
        table.add_row(
            step.customer,
            step.title,
            Text(f"{decision}{reason}", style=colours.get(decision, "")),
            format_usd(_cents(entry.estimate_nanos)),
            format(entry.bytes_billed / GIB, ",.1f"),
            format_usd(_cents(entry.cost_nanos)),
            format_usd(_cents(limits[step.customer])),
        )
    return table


def _cents(nanos: int) -> int:
    """Rounded up to hundredths of a cent, for reading."""
    return -(-nanos // 100_000) * 100_000


def _say_where_to_look(console: Console, *, url: str, control_url: str) -> None:
    """As it is, unwrapped: a line that the terminal's width broke could not be copied into a shell."""
    command = first_query_command(python=Path(sys.executable), folder=Path.cwd(), url=url, project="acme-prod")
    console.print(
        f"""
The gate stays up. Send it a query of your own: copy this into another terminal, in this folder

{command}

or look at
  budgets   {control_url}/v1/customers/initech/budget
  ledger    {control_url}/v1/jobs?customer=acme
  costs     {control_url}/v1/costs
  metrics   {control_url}/metrics
Other clients: docs/clients.md. Ctrl-C ends it.""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    sys.stdout.flush()
