from dataclasses import dataclass, field

from bqgate.observe.metrics import Metrics
from bqgate.observe.series import SeriesMemory, SeriesTable


@dataclass
class OtherProcess:
    """A sibling as metrics see it."""

    part: memoryview
    is_up: bool = True
    table: SeriesTable = field(init=False)

    def __post_init__(self) -> None:
        self.table = SeriesTable(self.part)


def two_workers() -> tuple[Metrics, Metrics, OtherProcess]:
    """Two that share memory, and the second as the first sees it."""
    memory = SeriesMemory(2)
    other = OtherProcess(memory.part(1))
    return (
        Metrics(table=SeriesTable(memory.part(0)), siblings=[other]),
        Metrics(table=SeriesTable(memory.part(1)), siblings=[OtherProcess(memory.part(0))]),
        other,
    )


def test_a_scrape_of_one_worker_has_what_all_have_counted() -> None:
    """Counters and histograms are sums, whichever worker is asked; each series stands there once."""
    one, two, _ = two_workers()
    one.add("holds_total", 2, event="placed")
    two.add("holds_total", 3, event="placed")
    two.add("holds_total", 1, event="voided")
    one.observe("step_seconds", 0.003, step="hold")
    two.observe("step_seconds", 400, step="hold")
    for asked in (one, two):
        assert asked.value("bqgate_holds_total", event="placed") == 5
        assert asked.value("bqgate_holds_total", event="voided") == 1
        assert asked.value("bqgate_step_seconds_bucket", step="hold", le="200.0") == 1
        assert asked.value("bqgate_step_seconds_bucket", step="hold", le="+Inf") == 2
        assert asked.value("bqgate_step_seconds_sum", step="hold") == 400.003
        assert asked.render().count(b'bqgate_holds_total{event="placed"}') == 1
        assert asked.render().count(b'bqgate_holds_created{event="placed"}') == 1


def test_gauges_of_workers_become_one_as_they_mean_it() -> None:
    """Depths are added up, of ages the greatest counts, of what one worker does the least; who is away has none."""
    one, two, other = two_workers()
    for worker, read in ((one, lambda: 1.0), (two, lambda: 5.0)):
        worker.read_gauge_from("waiting_depth", read)
        worker.read_gauge_from("oldest_open_hold_age_seconds", read)
        worker.read_gauge_from("cost_metric_age_seconds", read, metric="storage")
    two.publish()
    assert one.value("bqgate_waiting_depth") == 6
    assert one.value("bqgate_oldest_open_hold_age_seconds") == 5
    assert one.value("bqgate_cost_metric_age_seconds", metric="storage") == 1
    other.is_up = False
    assert one.value("bqgate_waiting_depth") == 1
    assert one.value("bqgate_oldest_open_hold_age_seconds") == 1


def test_what_a_dead_worker_has_counted_stays_and_its_successor_goes_on() -> None:
    """A sum never goes back: Prometheus would take that for a restart from zero."""
    memory = SeriesMemory(2)
    scraped = Metrics(table=SeriesTable(memory.part(0)), siblings=[OtherProcess(memory.part(1))])
    for _ in range(2):  # the second is the successor
        Metrics(table=SeriesTable(memory.part(1))).add("shed_total", 7, where="bodies")
    assert scraped.value("bqgate_shed_total", where="bodies") == 14


def test_half_a_series_is_none() -> None:
    """Whoever was killed while it began a series leaves no number of it behind."""
    part = SeriesMemory(part_bytes=4096).part(0)
    SeriesTable(part).cells(("a",), 1)[0] = 1.0
    used = part.cast("q")[0]
    part[used * 8 :] = b"\xff" * (len(part) - used * 8)
    table = SeriesTable(part)
    assert [name for name, _ in table.items()] == [("a",)]
    assert list(table.cells(("b", "c"), 2)) == [0.0, 0.0]


def test_what_has_no_room_is_counted_where_it_happens() -> None:
    """A full memory stops no count; other processes do not see that series."""
    part = SeriesMemory(part_bytes=4096).part(0)
    table, reader = SeriesTable(part), SeriesTable(part)
    for number in range(200):
        table.cells((f"series-{number}",), 2)[1] = number
    assert len(dict(table.items())) == 200
    assert list(table.cells(("series-199",), 2)) == [0.0, 199.0]
    assert 50 < len(dict(reader.items())) < 200
