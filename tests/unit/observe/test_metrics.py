import pytest

from bqgate.observe.metrics import CONTENT_TYPE, DECLARED, GAUGES, HISTOGRAMS, Metrics


def test_counter_appears_with_its_prefix_and_labels() -> None:
    """A counted event is one line of Prometheus' text, under the name bqgate_… and with its labels."""
    metrics = Metrics()
    metrics.add("decisions_total", 2, decision="reject", reason="budget_used_up", mode="enforce")
    text = metrics.render().decode()
    assert 'bqgate_decisions_total{decision="reject",mode="enforce",reason="budget_used_up"} 2.0' in text
    assert CONTENT_TYPE.startswith("text/plain")


def test_durations_fall_into_buckets_of_seconds() -> None:
    """A step of 3 ms is above the bound of 2.5 ms and below the one of 5 ms."""
    metrics = Metrics()
    metrics.observe("step_seconds", 0.003, step="hold")
    assert metrics.value("bqgate_step_seconds_bucket", step="hold", le="0.0025") == 0
    assert metrics.value("bqgate_step_seconds_bucket", step="hold", le="0.005") == 1


def test_gauge_is_read_when_asked() -> None:
    """A gauge shows what its source says at the moment of the scrape, not at the moment of the registration."""
    metrics = Metrics()
    queue = [1]
    metrics.read_gauge_from("poller_queue_depth", lambda: len(queue))
    queue.append(2)
    assert metrics.value("bqgate_poller_queue_depth") == 2


def test_customers_that_nobody_configured_share_one_label() -> None:
    """A thousand unknown projects are one time series, so that nobody can fill the memory of the gate."""
    metrics = Metrics(lambda: ["acme"])
    metrics.add("booked_nanos_total", 5, customer="acme")
    for number in range(1000):
        metrics.add("booked_nanos_total", 1, customer=f"project-{number}")
    assert metrics.value("bqgate_booked_nanos_total", customer="acme") == 5
    assert metrics.value("bqgate_booked_nanos_total", customer="other") == 1000
    assert metrics.render().count(b"bqgate_booked_nanos_total{") == 2


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    """Two Metrics in one process (tests, two gates) count apart."""
    one, other = Metrics(), Metrics()
    one.add("shed_total", 1, where="waiting_room")
    assert other.value("bqgate_shed_total", where="waiting_room") == 0


def test_undeclared_names_are_refused() -> None:
    """A misspelt metric is a KeyError where it is counted, observed or read."""
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.add("decision_total", 1)
    with pytest.raises(KeyError):
        metrics.observe("steps_seconds", 1, step="hold")
    with pytest.raises(KeyError):
        metrics.read_gauge_from("queue_depth", lambda: 0)


def test_undeclared_labels_are_refused() -> None:
    """A label that the declaration does not list is an error too."""
    with pytest.raises(ValueError, match="label"):
        Metrics().add("shed_total", 1, who="acme")


def test_every_declaration_says_what_it_means_and_in_which_unit() -> None:
    """Each metric has a sentence; histograms and ages are in seconds, as Prometheus wants."""
    assert len({each.name for each in DECLARED}) == len(DECLARED)
    assert all(each.meaning.endswith(".") for each in DECLARED)
    assert all(each.name.endswith("_seconds") for each in HISTOGRAMS)
    assert all(each.name.endswith(("_seconds", "_bytes", "_depth", "_state", "_projects", "_up")) for each in GAUGES)
