"""Say who advises a refused caller, and where the advisor learns what tables are."""

from typing import Protocol

from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.domain.table import TableFacts


class TableSource(Protocol):
    """Tables as BigQuery describes them. Implemented by the bigquery room."""

    async def fetch_table(
        self, *, project_id: str, dataset_id: str, table_id: str, credential: Credential
    ) -> TableFacts:
        """How a table is partitioned and clustered, and its size (tables.get). Free.

        Raises:
            UpstreamRefused: there is no such table, or the credential may not see it.
            UpstreamUnavailable: no answer, or 5xx.
        """


class Advisor(Protocol):
    """Who finds out what would make a refused query cheaper. Never asked about a query that is forwarded."""

    async def advise(self, request: QueryRequest, estimate: Estimate, credential: Credential) -> str:
        """One or two sentences for the caller, about this query; empty where nothing was found in time.

        It names tables and columns of the query, so it is for whoever sent it: not for a log, nor for the ledger.
        Raises nothing: whatever fails, the refusal goes out without advice.
        """
