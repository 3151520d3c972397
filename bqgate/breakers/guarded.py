"""Put any port behind a circuit breaker: its calls fail at once while the system is left alone.

Used by app for the ledger and the registry; the budget store in Redis asks its breaker itself. Every coroutine of the
port asks the breaker first; everything else passes: properties, plain methods, `close`, which must always work, and
what the port itself calls `unguarded`, because the system is not asked.
Raises what the port itself raises, or its "unavailable" error without making a call.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar, cast

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.domain.errors import BqgateError

PortT = TypeVar("PortT")

_NEVER_GUARDED = frozenset({"close"})


def guarded(port: PortT, breaker: CircuitBreaker, unavailable: type[BqgateError]) -> PortT:
    """The same port behind a breaker.

    Args:
        port: an adapter.
        breaker: the system's; ports over one system share it.
        unavailable: what the port raises where the system does not answer, and what is raised in its place; any other
            error says nothing about the system.
    """
    return cast("PortT", _Guarded(port, breaker, unavailable))


class _Guarded:
    """Looks like the port; methods are looked up, and wrapped, when they are first asked for."""

    def __init__(self, port: object, breaker: CircuitBreaker, unavailable: type[BqgateError]) -> None:
        self._port = port
        self._breaker = breaker
        self._unavailable = unavailable
        self._unguarded = _NEVER_GUARDED | getattr(port, "unguarded", frozenset())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.ismethod(found):
            return found  # an attribute, which may change
        is_guarded = name not in self._unguarded and inspect.iscoroutinefunction(found)
        method = self._guarded(found) if is_guarded else found
        setattr(self, name, method)
        return method

    def _guarded(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(method)
        async def ask(*args: Any, **kwargs: Any) -> Any:
            with self._breaker.ask(self._unavailable).failing_on(self._unavailable):
                return await method(*args, **kwargs)

        return ask
