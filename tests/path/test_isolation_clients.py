import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.cloud import bigquery
from google.oauth2.credentials import Credentials

from tests.support.two_customers import TwoCustomers, two_customers


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[TwoCustomers]:
    async with two_customers(tmp_path) as stand:
        yield stand


def client_of(gate: TwoCustomers, who: str) -> bigquery.Client:
    """Google's client for Python, logged in as a customer, at work in the shared project."""
    credentials = Credentials(gate.tokens[who])  # type: ignore[no-untyped-call]  # Google's types leave it out
    return bigquery.Client("hub", credentials=credentials, client_options={"api_endpoint": gate.stack.url})


def work(gate: TwoCustomers, who: str) -> list[str]:
    """A query, an upload in chunks and one in one piece, under ids that others choose as well; then its jobs."""
    client = client_of(gate, who)
    query = client.query(f"SELECT owner FROM `hub.{who}.t`", job_id="report", job_retry=None)
    assert [f"row of hub:{who}"] == [row["owner"] for row in query.result()]
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
        schema=[bigquery.SchemaField("owner", "STRING", description="whose it is")],
        write_disposition="WRITE_APPEND",
    )
    for size, job_id in ((None, "in-chunks"), (18, "in-one-piece")):
        file = io.BytesIO(b'{"owner": "again"}')
        load = client.load_table_from_file(file, f"hub.{who}.t", job_id=job_id, job_config=config, size=size)
        load.result()
        assert (1, job_id) == (load.output_rows, load.job_id)
    assert "report" == client.get_job("report", location="US").job_id
    return sorted(job.job_id for job in client.list_jobs())


@pytest.mark.slow
async def test_customers_whose_jobs_are_named_alike_work_side_by_side(gate: TwoCustomers) -> None:
    """With Google's client, which follows a job by the id that it chose, and an upload by the address that it gets."""
    for who in ("globex", "acme"):
        assert ["in-chunks", "in-one-piece", "report"] == await asyncio.to_thread(work, gate, who)
