"""Hold what a sandbox can be told at its start.

`python -m bqgate.sandbox`, the demo and the tests build one; the rooms of the sandbox read it and never change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SandboxSettings:
    """What a sandbox can be told.

    Attributes:
        port: 0 takes a free one.
        data: A folder with one sub-folder of CSV or Parquet files per dataset; None: the example data only.
        row_multiplier: Factor on the bytes of the large example tables, flights and weather; None: their own.
        time_scale: 0: jobs end at once; 1: they take about as long as at Google.
        query_cache: Whether finished results are served again for nothing.
        default_user_email: Who calls without a known token.
        users: Access token → e-mail address.
        require_token: Refuse calls without an `Authorization: Bearer` that `users` knows.
        reservation_id: When set, jobs say that they ran in this reservation (`project:location.name`).
        edition: STANDARD, ENTERPRISE or ENTERPRISE_PLUS; said together with `reservation_id`.
        page_rows: Rows of a page at most, however many the caller asks for.
        page_bytes: Bytes of a page's rows at most; Google's pages end at 10 MB.
        worker_threads: Queries that run at the same moment; others wait in PENDING.
        jobs_kept: Finished jobs that are remembered; the oldest go first.
    """

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    row_multiplier: int | None = None
    time_scale: float = 0.0
    query_cache: bool = True
    default_user_email: str = "sandbox@example.com"
    users: Mapping[str, str] = field(default_factory=dict)
    require_token: bool = False
    reservation_id: str = ""
    edition: str = ""
    page_rows: int = 100_000
    page_bytes: int = 10 * 2**20
    worker_threads: int = 8
    jobs_kept: int = 20_000
    default_location: str = "US"
