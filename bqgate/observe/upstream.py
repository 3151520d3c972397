"""Count BigQuery's answers by class, and write a line for each failure.

Called by bigquery.upstream once for each call, so that the data plane's and the gate's own are counted in one place. A
line says what was asked and why there was no answer; calls that were not sent have none, the breaker's own line has
told of them.
"""

from bqgate.domain.errors import UpstreamNotTried, UpstreamUnavailable
from bqgate.ports import Telemetry
from bqgate.wire.http_message import HttpRequest


def tell_answer(telemetry: Telemetry, call: HttpRequest, status: int, fault: str) -> None:
    """There was an answer; `fault` is what is wrong with it, empty where nothing is."""
    telemetry.count("upstream_answers_total", status=f"{status // 100}xx")
    if fault:
        _note(telemetry, call, fault)


def tell_failure(telemetry: Telemetry, call: HttpRequest, error: UpstreamUnavailable) -> None:
    """There was none."""
    telemetry.count("upstream_answers_total", status="none")
    if not isinstance(error, UpstreamNotTried):
        _note(telemetry, call, str(error))


def _note(telemetry: Telemetry, call: HttpRequest, why: str) -> None:
    # The path alone: the query may bear a token. The gate's own calls have no request id.
    request = {"request_id": call.request_id} if call.request_id else {}
    telemetry.log("upstream_failed", method=call.method, path=call.path, error=why, **request)
