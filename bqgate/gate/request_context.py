"""Collect what is known of one request, step by step: who asks, what is asked, what it may cost.

Made by dispatch.py as soon as the caller is known; the handler fills the other fields, in their order.
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
    """A request of a known caller. `call.path` is BigQuery's path; `watch` measures the steps.

    The last three fields are set by their steps: the customer, by the rules in force when the query came; the query;
    and its estimate. Reading one before its step is a bug and raises AttributeError.
    """

    call: HttpRequest
    route: Route
    principal: Principal
    watch: Stopwatch
    customer: Customer = field(init=False)
    query: QueryRequest = field(init=False)
    estimate: Estimate = field(init=False)
