"""Call gates in every way in which callers do, and count what they were told.

A caller waits for half a minute at most, and none is stopped by what befalls a gate: what comes of each call is one of
its statuses, or "cut", "left", "hung".
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp

from bqgate.clock import SystemClock
from tests.chaos.plan import Call, CallKind

_PATIENCE_S = 40.0
_AGAIN_S = 0.1
_TRIES = 3
# What a client sends again, as Google's own do.
_PASSING = {"cut", "500", "503", "502", "504"}


class Callers:
    """All of them. `told` counts what came of each kind's calls, `hung` lists whose answer never came."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: list[str], upstream_url: str, tokens: Mapping[str, str]
    ) -> None:
        """Take the addresses of the gates and of the upstream, and the token of who asks in each project."""
        self._session, self._urls, self._upstream_url, self._tokens = session, urls, upstream_url, tokens
        self.told: dict[str, Counter[str]] = {}
        self.hung: list[str] = []
        self.bugs: list[str] = []

    async def make(self, call: Call) -> None:
        """Do what the plan says of one call."""
        match call.kind:
            case CallKind.REPEATED_JOB:
                await self._at_both(call, self._insert)
            case CallKind.REPEATED_REQUEST:
                await self._at_both(call, self._query)
            case CallKind.QUERY | CallKind.JOBLESS | CallKind.CACHED:
                await self._stubbornly(call, self._query)
            case CallKind.LEAVING:
                sending = self._query if call.number % 2 else self._insert
                await sending(call, call.gate, leaves_after_ms=call.leaves_after_ms)
            case CallKind.CANCELLING:
                await self._cancelled(call)
            case CallKind.BYPASS:
                await self._insert(call, -1)
            case _:
                await self._stubbornly(call, self._insert)

    async def _at_both(self, call: Call, sending: Any) -> None:
        """The same at all gates at once, and once more when they have answered."""
        gates = range(len(self._urls))
        await asyncio.gather(*(sending(call, gate) for gate in (*gates, call.gate)))
        await sending(call, call.gate + 1)

    async def _stubbornly(self, call: Call, sending: Any) -> None:
        """As a client that sends again what failed in passing, each time through another gate."""
        for number in range(_TRIES):
            if await sending(call, call.gate + number) not in _PASSING:
                return
            await SystemClock().sleep(_AGAIN_S * (1 + number))

    async def _cancelled(self, call: Call) -> None:
        await self._insert(call, call.gate)
        await SystemClock().sleep(call.leaves_after_ms / 1000)
        await self._call(call, call.gate, "POST", f"/projects/{call.project}/jobs/{_job_id(call)}/cancel", None)

    async def _insert(self, call: Call, gate: int, *, leaves_after_ms: float | None = None) -> str:
        configuration: dict[str, Any] = {"query": {"query": call.sql, "useLegacySql": False}, "labels": {"team": "a"}}
        body = {
            "jobReference": {"projectId": call.project, "jobId": _job_id(call)},
            "configuration": configuration,
        }
        return await self._call(call, gate, "POST", f"/projects/{call.project}/jobs", body, leaves_after_ms)

    async def _query(self, call: Call, gate: int, *, leaves_after_ms: float | None = None) -> str:
        body: dict[str, Any] = {"query": call.sql, "useLegacySql": False, "requestId": f"request-{call.number}"}
        if call.kind is CallKind.JOBLESS:
            body["jobCreationMode"] = "JOB_CREATION_OPTIONAL"
        return await self._call(call, gate, "POST", f"/projects/{call.project}/queries", body, leaves_after_ms)

    async def _call(
        self, call: Call, gate: int, method: str, path: str, body: Any, leaves_after_ms: float | None = None
    ) -> str:
        workload = f"/w/{call.workload}" if call.workload else ""
        base = self._upstream_url if gate < 0 else self._urls[gate % len(self._urls)] + workload
        url = f"{base}/bigquery/v2{path}"
        headers = {"Authorization": f"Bearer {self._tokens[call.project]}"}
        try:
            async with asyncio.timeout(_PATIENCE_S if leaves_after_ms is None else leaves_after_ms / 1000):
                async with self._session.request(method, url, json=body, headers=headers) as answer:
                    text = await answer.text()
                    came = str(answer.status)
                    if came == "500":
                        self.bugs.append(f"{method} {url}: {text[:300]}")
        except TimeoutError:
            came = "hung" if leaves_after_ms is None else "left"
        except (aiohttp.ClientError, ConnectionError):
            came = "cut"
        if came == "hung":
            self.hung.append(f"call {call.number} ({call.kind}) at {url}")
        self.told.setdefault(call.kind, Counter())[came] += 1
        return came


def _job_id(call: Call) -> str:
    return f"job-{call.number}"
