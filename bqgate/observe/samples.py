"""Show Prometheus what all processes of a gate have counted as if they were one.

Called by metrics.py at a scrape. Counters and histograms are sums over all tables, those of processes that died
included; of gauges metrics.py says how one value is made of several.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from bqgate.observe.instruments import BUCKETS, CREATED, VALUE
from bqgate.observe.series import SeriesTable

# Of one metric: by the values of its labels the cells of its series in each table that has it.
Found = Mapping[tuple[str, ...], Sequence[Sequence[float]]]


def read_tables(tables: Iterable[SeriesTable]) -> Mapping[str, Found]:
    """All series of some tables, by metric."""
    found: dict[str, dict[tuple[str, ...], list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for table in tables:
        for (name, *labels), cells in table.items():
            found[name][tuple(labels)].append(list(cells))
    return found


def counter_family(name: str, meaning: str, labels: Sequence[str], found: Found) -> Metric:
    """The sums of a counter."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for values, each in found.items():
        family.add_metric(values, sum(cells[VALUE] for cells in each), created=_created(each))
    return family


def histogram_family(name: str, meaning: str, labels: Sequence[str], found: Found, bounds: Sequence[float]) -> Metric:
    """The sums of a histogram, with its counts added up from the least bucket on, as the format has them."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    marks = [*(str(float(bound)) for bound in bounds), "+Inf"]
    for values, each in found.items():
        count, buckets = 0.0, []
        for number, mark in enumerate(marks, BUCKETS):
            count += sum(cells[number] for cells in each)
            buckets.append((mark, count))
        family.add_metric(values, buckets, sum(cells[VALUE] for cells in each))
        family.add_sample(f"{name}_created", dict(zip(labels, values, strict=True)), _created(each))
    return family


def gauge_family(name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """The values of a gauge."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _created(each: Sequence[Sequence[float]]) -> float:
    """When the first of them began."""
    return min(cells[CREATED] for cells in each)
