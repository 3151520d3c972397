"""Declare every metric of the gate, in one place, and render them for Prometheus.

Made by app (one Metrics per process), filled through telemetry.PrometheusTelemetry by the steps, rendered by the
control plane's /metrics, for all workers of a gate together (samples.py, over the memory of series.py).
Names here are without the prefix `bqgate_`, as the steps say them. A metric that is not declared here is a KeyError.
Labels are bounded by construction: `customer` keeps the names of configured customers (who may change while the gate
runs) and turns every other into "other", because an unknown project is a customer of the default tier and there is no
end of those.
Counters count events or the unit in their name, histograms are in seconds, gauges are read when Prometheus asks; those
of a gate's other workers are at most a beat old (publish).
Format: https://prometheus.io/docs/instrumenting/exposition_formats/ ; docs/metrics.md explains each to an operator.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bqgate.domain.tier import GATE_ITSELF
from bqgate.observe.instruments import VALUE, CounterSeries, Family, HistogramSeries, Series, counters, histograms
from bqgate.observe.samples import Found, counter_family, gauge_family, histogram_family, read_tables
from bqgate.observe.series import SeriesMemory, SeriesTable, Sibling

PREFIX = "bqgate"
OTHER_CUSTOMER = "other"
CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric: its name without prefix, what it means, its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing(Declaration):
    """A histogram, with the upper bounds of its buckets in seconds."""

    bounds_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading(Declaration):
    """A gauge, and what a gate's workers together show: `of_all` makes it of each one's, that of who is asked first."""

    of_all: Callable[[Sequence[float]], float] = max


COUNTERS = (
    Declaration("decisions_total", "Queries decided about.", ("decision", "reason", "mode")),
    Declaration("passed_total", "Calls passed through unheld, by why they cost nothing.", ("kind",)),
    Declaration("holds_total", "What happened to holds: placed, replayed, captured, voided, restored.", ("event",)),
    Declaration(
        "thresholds_passed_total",
        "Thresholds of budgets that a hold passed: customer/day, workload/month; monitor, review, throttle.",
        ("customer", "budget", "action"),
    ),
    Declaration("grace_started_total", "Windows whose grace began.", ("customer",)),
    Declaration("breaker_trips_total", "How often a customer's cost breaker opened.", ("customer",)),
    Declaration("overruns_total", "Jobs that cost more than their hold.", ("customer",)),
    Declaration("assumed_total", "Jobs booked at their hold because nobody could learn their cost.", ("customer",)),
    Declaration("booked_nanos_total", "Cost booked, in nano-dollars.", ("customer",)),
    Declaration(
        "failures_total", "Outside systems without an answer, by the step that needed them.", ("system", "step")
    ),
    Declaration("system_breaker_trips_total", "How often a system that failed was left alone.", ("system",)),
    Declaration("retries_total", "Calls to BigQuery that were made again: dry_run, read, jobs.insert.", ("operation",)),
    Declaration("estimate_cache_total", "Estimates wanted: hit, miss, joined (another asked the same).", ("result",)),
    Declaration("estimates_dropped_total", "Kept estimates that a write may have made wrong."),
    Declaration("upstream_answers_total", "BigQuery's answers by class: 2xx, 3xx, 4xx, 5xx, none.", ("status",)),
    Declaration("refused_calls_total", "Calls that ended in an error of the gate's own, by its name.", ("reason",)),
    Declaration(
        "aborted_calls_total", "Calls without a whole answer, by who broke off: caller, upstream, stop, bug.", ("by",)
    ),
    Declaration(
        "connections_dropped_total",
        "Connections closed: head_timeout, head_too_large, too_many_heads, too_many_idle, answer_not_taken.",
        ("reason",),
    ),
    Declaration("shed_total", "Queries, or holds to ask after, for which the gate itself had no room.", ("where",)),
    Declaration(
        "degraded_total",
        "Queries met by a system that was away: went_on, or refused, by conduct.",
        ("system", "conduct", "outcome"),
    ),
    Declaration(
        "emergency_cancels_total",
        "Running jobs of customers whose cost breaker opened: asked, absent, refused, unavailable, unknown_job.",
        ("result",),
    ),
    Declaration("late_jobs_total", "Jobs booked that turned up after their hold was given back.", ("customer",)),
    Declaration(
        "own_queries_total",
        "Queries that the gate ran for itself, by what for: done, refused, lost, over_bound.",
        ("purpose", "result"),
    ),
    Declaration(
        "sweep_jobs_total",
        "Jobs that the sweep saw, by how they stood: running, agrees, differs, hidden, open, late, bypass, free, off, "
        "masked, vanished; unknown_cost beside those.",
        ("state",),
    ),
    Declaration("sweep_refusals_total", "Looks at a project that BigQuery refused."),
    Declaration("bypass_jobs_total", "Jobs booked that came past the gate.", ("customer",)),
    Declaration("bypass_nanos_total", "What they cost, in nano-dollars.", ("customer",)),
    Declaration("adjusted_nanos_total", "Adjustments of booked costs, in nano-dollars: up, down.", ("customer", "way")),
    Declaration(
        "cost_metric_looks_total",
        "Looks of cost metrics at one place: done, refused, lost, failed, over_bound; unusable, none at all.",
        ("metric", "result"),
    ),
    Declaration(
        "metered_nanos_total", "Cost that a cost metric has measured, in nano-dollars.", ("metric", "customer")
    ),
    Declaration(
        "metered_adjusted_nanos_total",
        "By how much measured costs were corrected later, in nano-dollars: up, down.",
        ("metric", "way"),
    ),
    Declaration("budget_drifts_total", "Windows found to differ from the ledger in two rounds running.", ("period",)),
    Declaration("advice_total", "Refused queries looked at for a mend: given, nothing, late, busy.", ("result",)),
    Declaration("policy_loads_total", "Rules read anew: loaded, or inconsistent and not taken.", ("result",)),
    Declaration("worker_restarts_total", "Workers that were started in the place of one that ended.", ("worker",)),
    Declaration("settings_reloads_total", "Settings read anew: taken, or refused and not taken.", ("result",)),
    Declaration("tls_reloads_total", "Changed certificates: loaded, or failed and not taken.", ("result",)),
    Declaration("logins_total", "Logins at the token endpoint, and why those failed that did.", ("result", "reason")),
    Declaration("mirror_rows_total", "Entries that BigQuery has taken into the mirror."),
    Declaration(
        "mirror_failures_total",
        "Rounds of the mirror that failed, or entries and policies that BigQuery did not take, by cause.",
        ("cause",),
    ),
    Declaration("ledger_months_dropped_total", "Months of entries that were dropped because they are past retention."),
    Declaration("audit_dropped_total", "Refusals that the audit log had no room for; a record says how many."),
)

HISTOGRAMS = (
    Timing(
        "step_seconds",
        "How long each step of a query took: identify, dryrun, hold, wait, upstream, advice.",
        ("step",),
        bounds_s=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 200),
    ),
    Timing(
        "waits_seconds",
        "How long queries that did not go at once waited, and how it ended: granted, shed, left.",
        ("outcome",),
        bounds_s=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30),
    ),
    Timing(
        "sweep_seconds", "How long each round of the sweep took.", bounds_s=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
    ),
)

GAUGES = (
    Reading("system_breaker_state", "Systems left alone: 0 closed, 1 half-open, 2 open.", ("system",)),
    Reading("waiting_depth", "Queries that wait for their turn.", of_all=sum),
    Reading("dry_run_depth", "Dry runs that wait until fewer are under way.", of_all=sum),
    Reading("settings_age_seconds", "How long ago the settings that hold were read."),
    Reading("sweep_mark_age_seconds", "How far behind now the sweep is where it is furthest behind."),
    Reading("sweep_refused_projects", "Projects that do not let the gate see all jobs."),
    Reading(
        "cost_metric_age_seconds", "How long ago a cost metric's last whole look was, here.", ("metric",), of_all=min
    ),
    Reading("poller_queue_depth", "Jobs whose end the poller is waiting for.", of_all=sum),
    Reading("mirror_oldest_age_seconds", "Age of the oldest entry that is not in the mirror; 0: none."),
    Reading("journal_left_bytes", "How much of the ledger's journal its database does not have yet.", of_all=sum),
    Reading("journal_lag_seconds", "For how long the oldest record of the journal waits for the database."),
    Reading("oldest_open_hold_age_seconds", "Age of the oldest open hold; 0 when there is none."),
    Reading("worker_up", "Whether a worker answers callers: 1, or 0.", ("worker",), of_all=itemgetter(0)),
)

DECLARED = (*COUNTERS, *HISTOGRAMS, *GAUGES)


class Metrics:
    """All metrics of one process: two of them do not meet, unless they are told of one another."""

    def __init__(
        self,
        customers: Callable[[], Collection[str]] = tuple,
        *,
        table: SeriesTable | None = None,
        siblings: Sequence[Sibling] = (),
    ) -> None:
        """Declare all of them, zero.

        Args:
            customers: ids that may stand in a `customer` label now; asked at every count that bears one.
            table: where this process counts; None: in memory of its own.
            siblings: the other processes of this gate, whose numbers are shown with these.
        """
        self._customers = customers
        self._table = table or SeriesTable(SeriesMemory().part(0))
        self._siblings = siblings
        self._counters = {each.name: counters(each.name, each.labels, self._table) for each in COUNTERS}
        self._histograms = {
            each.name: histograms(each.name, each.labels, self._table, bounds=each.bounds_s) for each in HISTOGRAMS
        }
        # Series that were asked for before, by all that was said of them.
        self._counted: dict[tuple[object, ...], CounterSeries] = {}
        self._timed: dict[tuple[object, ...], HistogramSeries] = {}
        # A gauge that nobody reads is 0, where it has no labels.
        self._readings: dict[str, dict[tuple[str, ...], Callable[[], float]]] = {
            each.name: {} if each.labels else {(): float} for each in GAUGES
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Add to a counter.

        Raises:
            KeyError: no counter of that name is declared above.
        """
        key = (name, *labels.items())
        series = self._counted.get(key)
        if series is None:
            series = self._series_of(self._counters[name], labels, self._counted, key)
        series.inc(amount)

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Record a duration in a histogram.

        Raises:
            KeyError: no histogram of that name is declared above.
        """
        key = (name, *labels.items())
        series = self._timed.get(key)
        if series is None:
            series = self._series_of(self._histograms[name], labels, self._timed, key)
        series.observe(value_s)

    def read_gauge_from(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Let a gauge call `read` whenever Prometheus asks; it must not block.

        Raises:
            KeyError: no gauge of that name is declared above.
        """
        self._readings[name][tuple(labels.values())] = read

    def publish(self) -> None:
        """Write this process's gauges where its siblings read them."""
        for name, readings in self._readings.items():
            for labels, read in readings.items():
                self._table.cells((name, *labels), VALUE + 1)[VALUE] = read()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format; its media type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """A metric's present value by its full name ("bqgate_decisions_total"), 0 where nothing was counted."""
        return self._registry.get_sample_value(name, labels) or 0

    def collect(self) -> Iterator[Metric]:
        """What Prometheus' client library renders."""
        found = read_tables((self._table, *(sibling.table for sibling in self._siblings)))
        for each in COUNTERS:
            yield counter_family(f"{PREFIX}_{each.name}", each.meaning, each.labels, found[each.name])
        for timing in HISTOGRAMS:
            name = f"{PREFIX}_{timing.name}"
            yield histogram_family(name, timing.meaning, timing.labels, found[timing.name], timing.bounds_s)
        published = read_tables(sibling.table for sibling in self._siblings if sibling.is_up)
        for gauge in GAUGES:
            yield gauge_family(f"{PREFIX}_{gauge.name}", gauge.meaning, gauge.labels, self._read(gauge, published))

    def _read(self, gauge: Reading, published: Mapping[str, Found]) -> Mapping[tuple[str, ...], float]:
        """What a gauge shows: read here now, and by the others a moment ago."""
        values = {labels: [read()] for labels, read in self._readings[gauge.name].items()}
        for labels, each in published[gauge.name].items():
            values.setdefault(labels, []).extend(cells[VALUE] for cells in each)
        return {labels: gauge.of_all(of_each) for labels, of_each in values.items()}

    def _bounded(self, labels: dict[str, str]) -> dict[str, str]:
        customer = labels.get("customer")
        if customer is None or customer == GATE_ITSELF or customer in self._customers():
            return labels
        return {**labels, "customer": OTHER_CUSTOMER}

    def _series_of(
        self,
        family: Family[Series],
        labels: dict[str, str],
        kept: dict[tuple[object, ...], Series],
        key: tuple[object, ...],
    ) -> Series:
        """The series of some labels, kept by its key where they always lead to the same: customers come and go."""
        series = family.labels(**self._bounded(labels))
        if "customer" not in labels:
            kept[key] = series
        return series
