"""Put BigQuery behind a breaker and time limits: a ports.Upstream around HttpUpstream.

Made by app, one for each kind of credentials; all to one host share a Breaker and Retries. A caller's call gets the
time limit of its operation (timeouts.py). BigQuery's faults are answers of 5xx (but 501, which is an answer), no answer
in time unless the caller chose the time, and no connection; a caller's fault (4xx) is an answer like any other, a
caller that leaves says nothing. What leaves: what HttpUpstream leaves, and UpstreamNotTried while BigQuery is left
alone.
"""

import math

from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.timeouts import Timeouts, is_named_insert, operation_of
from bqgate.breakers.breaker import Breaker
from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.ports import Upstream
from bqgate.wire.exchange import Answer, Call

# A connection that is refused is refused at once; after half of this nobody tries again.
_INSERT_AGAIN_WITHIN_S = 4.0
_NOT_IMPLEMENTED = 501
_TOLD_BY_OTHERS = "BigQuery is not answering another gate."


class GuardedUpstream:
    """Another upstream, left alone while it does not answer."""

    def __init__(self, upstream: Upstream, breaker: Breaker, timeouts: Timeouts, retries: Retries) -> None:
        self._upstream = upstream
        self._breaker = breaker
        self._timeouts = timeouts
        self._retries = retries

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        """Send a call; see ports.Upstream. Without `read_timeout_s`, the limit is that of the call's operation.

        Raises:
            UpstreamNotTried: BigQuery is left alone, or the other upstream had no token or connection.
        """
        if read_timeout_s is not None:  # the gate's own call, which is asked again by whoever asked
            return await self._exchange(call, credential, read_timeout_s)
        limit_s = self._timeouts.read_timeout_s(call)
        if not is_named_insert(call):
            return await self._exchange(call, credential, limit_s)
        return await self._retries.ask(
            "jobs.insert",
            lambda _left_s: self._exchange(call, credential, limit_s),
            within_s=_INSERT_AGAIN_WITHIN_S,
            is_unsent_only=True,
        )

    async def close(self) -> None:
        """Give back the other one's connections."""
        await self._upstream.close()

    async def _exchange(self, call: Call, credential: Credential, read_timeout_s: float) -> Answer:
        turn = self._breaker.take()
        if turn is None:
            # At least a second: half-open, the trial is under way.
            retry_after_s = max(math.ceil(self._breaker.open_for_s), 1)
            raise UpstreamNotTried(
                f"{self._breaker.why or _TOLD_BY_OTHERS} It is left alone for a moment.",
                retry_after_s=retry_after_s,
            )
        try:
            answer = await self._upstream.exchange(call, credential=credential, read_timeout_s=read_timeout_s)
        except UpstreamNotTried:
            raise
        except UpstreamTimeout as error:
            if not operation_of(call).is_wait:
                turn.fail(str(error))
            raise
        except UpstreamUnavailable as error:
            turn.fail(str(error))
            raise
        else:
            if answer.status >= 500 and answer.status != _NOT_IMPLEMENTED:
                turn.fail(f"BigQuery is not answering (status {answer.status}).")
            else:
                turn.succeed()
            return answer
        finally:
            turn.leave()  # where nothing was said above: not tried, a wait that ran out, a caller that left
