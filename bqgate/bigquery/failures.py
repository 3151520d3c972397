"""Say what an answer, or an error instead of one, tells about BigQuery: is it away, was anything sent, is it a fault.

Pure rules, used by upstream.py and bodies.py. BigQuery's faults are answers of 5xx (but 501, which is an answer), no
answer in time unless the caller chose the time, and no connection; a caller's fault (4xx) is an answer like any other,
a caller that leaves says nothing.
"""

import math

import aiohttp

from bqgate.breakers.circuit_breaker import CircuitBreaker, Permit
from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.observe.causes import cause_of

_NOT_IMPLEMENTED = 501
_TOLD_BY_OTHERS = "BigQuery is not answering another gate."


def unavailable(error: Exception) -> UpstreamUnavailable:
    """The port's error for one of aiohttp's; only where there was no connection is it sure that nothing was sent."""
    message = f"BigQuery is not answering ({cause_of(error)})."
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return UpstreamUnavailable(message, may_have_worked=False)
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(message)
    return UpstreamUnavailable(message)


def left_alone(breaker: CircuitBreaker) -> UpstreamNotTried:
    """What a caller is told while BigQuery is left alone, with the seconds after which it may ask again."""
    # At least a second: half-open, the probe is under way.
    retry_after_s = max(math.ceil(breaker.open_for_s), 1)
    return UpstreamNotTried(
        f"{breaker.why or _TOLD_BY_OTHERS} It is left alone for a moment.", retry_after_s=retry_after_s
    )


def fault_in(status: int) -> str:
    """What is wrong with an answer of that status; empty where nothing is."""
    is_fault = status >= 500 and status != _NOT_IMPLEMENTED
    return f"BigQuery is not answering (status {status})." if is_fault else ""


def end_by_status(permit: Permit, status: int) -> None:
    """Tell the breaker that there was an answer."""
    if why := fault_in(status):
        permit.fail(why)
    else:
        permit.succeed()


def end_by_error(permit: Permit, error: UpstreamUnavailable, *, is_wait: bool) -> None:
    """Tell the breaker that there was none. A connection that cannot be made is no caller's doing.

    `is_wait`: the caller chose how long to wait, so that a wait that ran out proves nothing.
    """
    if isinstance(error, UpstreamNotTried) or (is_wait and isinstance(error, UpstreamTimeout)):
        permit.leave()
    else:
        permit.fail(str(error), is_everybodys=not error.may_have_worked)
