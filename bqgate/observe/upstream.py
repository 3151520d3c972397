"""Count BigQuery's answers on their way: a ports.Upstream around another one.

Made by app around the real client, so that the data plane and the gate's own calls are counted in one place. Changes
nothing: answers and errors pass as they are.
"""

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.ports import Journal, Upstream
from bqgate.wire.exchange import Answer, Call


class CountedUpstream:
    """Another upstream, with its answers counted by class."""

    def __init__(self, upstream: Upstream, journal: Journal) -> None:
        self._upstream = upstream
        self._journal = journal

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        """See ports.Upstream."""
        try:
            answer = await self._upstream.exchange(call, credential=credential, read_timeout_s=read_timeout_s)
        except UpstreamUnavailable:
            self._journal.count("upstream_answers_total", status="none")
            raise
        self._journal.count("upstream_answers_total", status=f"{answer.status // 100}xx")
        return answer

    async def close(self) -> None:
        """Give back the other one's connections."""
        await self._upstream.close()
