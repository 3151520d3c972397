"""List the paths of the control plane and mount them on an application.

Called by app: on the data plane's application, before its catch-all, or on one with a port of its own. A path that has
another method answers 405, an unknown one below /v1 404, both as problem+json.
"""

from collections.abc import Mapping
from typing import NoReturn

from aiohttp import hdrs, web

from bqgate.admin.bookings import BookingViews
from bqgate.admin.budget import BudgetViews
from bqgate.admin.health import HealthViews
from bqgate.admin.problem import Problem, View, answering
from bqgate.observe.metrics import Metrics
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource


def add_control_plane(
    app: web.Application,
    *,
    ledger: Ledger,
    budgets: BudgetStore,
    policies: PolicySource,
    clock: Clock,
    metrics: Metrics,
) -> None:
    """Mount every path."""
    budget = BudgetViews(budgets=budgets, policies=policies, clock=clock)
    bookings = BookingViews(ledger=ledger, clock=clock)
    health = HealthViews(ledger=ledger, budgets=budgets, metrics=metrics)
    gets: Mapping[str, View] = {
        "/v1/customers/{customer:[^/]+}/budget": budget.show,
        "/v1/jobs": bookings.jobs,
        "/v1/holds": bookings.holds,
        "/v1/costs": bookings.costs,
        "/healthz": health.alive,
        "/readyz": health.ready,
        "/metrics": health.metrics,
    }
    posts: Mapping[str, View] = {"/v1/customers/{customer:[^/]+}/budget:check": budget.check}
    for path, view in gets.items():
        _mount(app, path, (hdrs.METH_GET, hdrs.METH_HEAD), view)
    for path, view in posts.items():
        _mount(app, path, (hdrs.METH_POST,), view)
    app.router.add_route(hdrs.METH_ANY, "/v1", answering(_refuse_path))
    app.router.add_route(hdrs.METH_ANY, "/v1/{tail:.*}", answering(_refuse_path))


def _mount(app: web.Application, path: str, methods: tuple[str, ...], view: View) -> None:
    resource = app.router.add_resource(path)
    for method in methods:
        resource.add_route(method, answering(view))

    async def refuse_method(request: web.Request) -> NoReturn:
        raise Problem(405, f"{request.method[:20]} is not a method of {request.path[:200]}.", allow=methods)

    resource.add_route(hdrs.METH_ANY, answering(refuse_method))


async def _refuse_path(request: web.Request) -> NoReturn:
    raise Problem(404, f"There is no {request.path[:200]}.")
