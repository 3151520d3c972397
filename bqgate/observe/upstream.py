"""Count BigQuery's answers on their way, and write a line for each failure: a ports.Upstream around another one.

Made by app around the real client, so that the data plane and the gate's own calls are counted in one place. A line
says what was asked and why there was no answer; calls that were not sent have none, the breaker's own line has told of
them. Changes nothing: answers and errors pass as they are.
"""

from bqgate.domain.errors import UpstreamNotTried, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.ports import Journal, Upstream
from bqgate.wire.exchange import Answer, Call

_NOT_IMPLEMENTED = 501  # an answer, not an outage


class CountedUpstream:
    """Another upstream, with its answers counted by class."""

    def __init__(self, upstream: Upstream, journal: Journal) -> None:
        self._upstream = upstream
        self._journal = journal

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        """See ports.Upstream."""
        try:
            answer = await self._upstream.exchange(call, credential=credential, read_timeout_s=read_timeout_s)
        except UpstreamUnavailable as error:
            self._journal.count("upstream_answers_total", status="none")
            if not isinstance(error, UpstreamNotTried):
                self._note(call, str(error))
            raise
        self._journal.count("upstream_answers_total", status=f"{answer.status // 100}xx")
        if answer.status >= 500 and answer.status != _NOT_IMPLEMENTED:
            self._note(call, f"BigQuery is not answering (status {answer.status}).")
        return answer

    def _note(self, call: Call, why: str) -> None:
        # The path alone: the query may bear a token. The gate's own calls have no request id.
        request = {"request_id": call.request_id} if call.request_id else {}
        self._journal.note("upstream_failed", method=call.method, path=call.path, error=why, **request)

    async def close(self) -> None:
        """Give back the other one's connections."""
        await self._upstream.close()
