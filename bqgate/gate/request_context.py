"""Hold what is known of one request, filled step by step: who asks, what is asked, what it may cost.

Made by the dispatch step as soon as it is known who asks; the handler adds the rest, in the order of the fields.
"""

from dataclasses import dataclass, field

from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Principal
from bqgate.domain.tier import Customer
from bqgate.gate.routes import Route
from bqgate.gate.stopwatch import Stopwatch
from bqgate.wire.http_message import HttpRequest


@dataclass(slots=True)
class RequestContext:
    """A request of a known caller. `call.path` is BigQuery's; the watch runs since the request came.

    The fields below are there as soon as their step is done: who pays, by the rules that held when the query came; the
    query; what BigQuery says that it would process. To ask before is a bug, and an AttributeError.
    """

    call: HttpRequest
    route: Route
    principal: Principal
    watch: Stopwatch
    customer: Customer = field(init=False)
    query: QueryRequest = field(init=False)
    estimate: Estimate = field(init=False)
