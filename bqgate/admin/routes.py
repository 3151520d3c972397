"""Mount operations on an application: every request is identified, counted, permitted, and only then answered.

Called by control_plane. A path that has another method answers 405, an unknown one below /v1 and /admin 404, both as
problem+json and both only to who may know: where identity is required, a stranger gets 401 first. GET answers HEAD.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiohttp import hdrs, web

from bqgate.admin.guard import ANYBODY, Guard
from bqgate.admin.operation import Operation
from bqgate.admin.problem import Problem, problem_of_stores, write_problem
from bqgate.admin.rate_limits import Quota, RateLimiter
from bqgate.domain.errors import BqgateError
from bqgate.domain.principal import Identity, Role

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Mounting:
    """Puts operations behind a guard and a rate limiter."""

    def __init__(self, guard: Guard, limiter: RateLimiter) -> None:
        self._guard = guard
        self._limiter = limiter

    def mount(self, app: web.Application, operations: Sequence[Operation]) -> None:
        """Add every operation, and what answers for paths and methods that there are not."""
        by_path: dict[str, list[Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, []).append(operation)
        # "{key}:rotate" comes before "{key}", which would take the verb for a part of the name.
        for path in sorted(by_path, key=lambda each: "}:" not in each):
            self._mount_path(app, path, by_path[path])
        for path in ("/v1", "/v1/{tail:.*}", "/admin", "/admin/{tail:.*}"):
            app.router.add_route(hdrs.METH_ANY, path, self._refuse_path, expect_handler=_expect_later)

    def _mount_path(self, app: web.Application, path: str, operations: Sequence[Operation]) -> None:
        resource = app.router.add_resource(path.replace("}", ":[^/]+}"))
        methods = _methods_of(operations)
        for operation in operations:
            handler = self._handler_of(operation)
            for method in _methods_of([operation]):
                resource.add_route(method, handler, expect_handler=_expect_later)
        is_public = all(self._guard.is_public(operation) for operation in operations)

        async def refuse_method(request: web.Request) -> web.Response:
            problem = Problem(405, f"{request.method[:20]} is not a method of {request.path[:200]}.", allow=methods)
            return write_problem(problem) if is_public else await self._refuse(problem, request)

        resource.add_route(hdrs.METH_ANY, refuse_method, expect_handler=_expect_later)

    def _handler_of(self, operation: Operation) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            return await self._answer(operation, request)

        return answer

    async def _answer(self, operation: Operation, request: web.Request) -> web.Response:
        quota: Quota | None = None
        try:
            identity = ANYBODY
            if not self._guard.is_public(operation):
                identity = await self._guard.identify(request)
                quota = await self._limiter.take(_counted_as(identity, request), operation.rate)
                self._guard.permit(request, operation, identity)
            response = await operation.view(request, identity)
        except Problem as problem:
            response = write_problem(problem)
        except BqgateError as error:
            response = write_problem(problem_of_stores(error))
        if quota is not None:
            response.headers.update(quota.headers)
        return response

    async def _refuse_path(self, request: web.Request) -> web.Response:
        return await self._refuse(Problem(404, f"There is no {request.path[:200]}."), request)

    async def _refuse(self, problem: Problem, request: web.Request) -> web.Response:
        try:
            await self._guard.identify(request)
        except Problem as refused:
            return write_problem(refused)
        except BqgateError as error:
            return write_problem(problem_of_stores(error))
        return write_problem(problem)


def _methods_of(operations: Iterable[Operation]) -> tuple[str, ...]:
    methods: list[str] = []
    for operation in operations:
        methods.append(operation.method)
        if operation.method == hdrs.METH_GET:
            methods.append(hdrs.METH_HEAD)
    return tuple(methods)


def _counted_as(identity: Identity, request: web.Request) -> str:
    """Who is counted: before an open gate anybody may write any token, so there it is the address."""
    return f"address:{request.remote}" if identity.role is Role.OPEN else identity.subject


async def _expect_later(_request: web.Request) -> None:
    """Leave 100-continue to whoever reads the body, so that a refused caller sends none."""
