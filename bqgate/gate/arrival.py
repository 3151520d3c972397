"""Hold what is known of a call once it is known who asks: what every later step is handed.

Made by the dispatch step.
"""

from dataclasses import dataclass

from bqgate.domain.principal import Principal
from bqgate.gate.routes import Route
from bqgate.gate.stopwatch import Stopwatch
from bqgate.wire.exchange import Call


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call of a known caller. `call.path` is BigQuery's; the watch runs since the call came."""

    call: Call
    route: Route
    principal: Principal
    watch: Stopwatch
