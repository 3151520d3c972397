import io
import json

import pytest

from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.ports import Telemetry
from tests.support.manual_clock import ManualClock


def test_the_port_reaches_metrics_and_log() -> None:
    """Count and observe end in Prometheus' text, note ends in one line."""
    out, metrics = io.StringIO(), Metrics()
    telemetry: Telemetry = PrometheusTelemetry(metrics, make_logger(out, ManualClock()))
    telemetry.count("holds_total", event="placed")
    telemetry.count("holds_total", 2, event="placed")
    telemetry.observe("step_seconds", 0.5, step="dryrun")
    telemetry.log("request", authorization="Bearer abc")
    assert metrics.value("bqgate_holds_total", event="placed") == 3
    assert metrics.value("bqgate_step_seconds_sum", step="dryrun") == 0.5
    assert json.loads(out.getvalue())["authorization"] == "[masked]"


def test_a_failure_is_a_warning() -> None:
    """A line with an error can be found by its level."""
    out = io.StringIO()
    PrometheusTelemetry(Metrics(), make_logger(out, ManualClock())).log("poll", error="no answer")
    assert json.loads(out.getvalue())["level"] == "warning"


def test_an_undeclared_name_is_a_bug() -> None:
    """A misspelt metric raises KeyError."""
    with pytest.raises(KeyError):
        PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), ManualClock())).count("nonsense_total")
