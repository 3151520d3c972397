from bqgate.app.drain import Drain
from tests.support.gate_stand import ListTelemetry


def test_a_stop_begins_once_and_is_said() -> None:
    """Until then the gate is ready as ever; the log has a line for it."""
    telemetry = ListTelemetry()
    drain = Drain(telemetry)
    seen = [drain.is_begun]
    drain.begin()
    seen.append(drain.is_begun)
    assert seen == [False, True]
    assert telemetry.notes == [("stopping", {})]
