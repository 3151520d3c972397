"""Stand in for BigQuery: its REST API v2 over a small warehouse that knows what a query costs.

    async with Sandbox.start(SandboxSettings(time_scale=0)) as sandbox:
        client = bigquery.Client("my-project", AnonymousCredentials(), client_options={"api_endpoint": sandbox.url})

    sandbox.faults.add(Fault(method="jobs.insert", status=503, count=2))      fail on demand
    sandbox.journal.entries(method="jobs.insert")                             what was received
    sandbox.clock.advance(60)                                                 a minute later

How a call goes through it: `server` (sockets, gzip) → `routes` (method, caller, errors, `fields=`) → a handler
(`job_methods`, `query_jobs`, `results`, `datasets`, `tables`; `uploads` and `batch` come before) → for jobs `runner`
(time, cancelling, charges) → `warehouse` (SQL, bytes, rows).

It shares no code with the rest of the product and imports none of it: a stand-in that reads requests with the gate's
own code would agree with the gate about the gate's mistakes. What it can not do it refuses with 501 `notImplemented`.
"""

from __future__ import annotations

from bqgate.sandbox.clock import Clock
from bqgate.sandbox.faults import Fault, Faults
from bqgate.sandbox.server import Sandbox
from bqgate.sandbox.settings import SandboxSettings

__all__ = ["Clock", "Fault", "Faults", "Sandbox", "SandboxSettings"]
