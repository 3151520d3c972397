"""Google's own Python client judges the sandbox."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from bqgate.sandbox.faults import Fault
from bqgate.sandbox.server import Sandbox

GiB = 2**30


@pytest.fixture
def dataset(client: bigquery.Client) -> Iterator[str]:
    name = f"acme.d_{uuid.uuid4().hex}"
    client.create_dataset(name)
    yield name
    client.delete_dataset(name, delete_contents=True)


def test_query_gives_rows_and_the_bill(client: bigquery.Client, flights: str) -> None:
    """`query` runs a job, pages its rows, and the job says what was billed."""
    job = client.query(flights, job_config=bigquery.QueryJobConfig(use_query_cache=False, labels={"team": "a"}))
    rows = list(job.result(page_size=5))
    assert [row["carrier"] for row in rows][:2] == ["9E", "AA"]
    assert sum(row["n"] for row in rows) == 336_776
    assert job.total_bytes_billed >= 10 * 2**20
    assert job.total_bytes_processed > 0
    assert job.statement_type == "SELECT"
    assert job.slot_millis > 0
    assert job.labels == {"team": "a"}


def test_query_and_wait_gives_rows(client: bigquery.Client, flights: str) -> None:
    """`query_and_wait` goes through jobs.query and gives the same rows."""
    rows = client.query_and_wait(flights)
    assert rows.total_rows == 16
    assert len(list(rows)) == 16


def test_query_and_wait_without_a_job(client: bigquery.Client) -> None:
    """With JOB_CREATION_OPTIONAL a quick query has a query id and no job."""
    client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
    rows = client.query_and_wait("SELECT 1 AS x")
    assert [row["x"] for row in rows] == [1]
    assert rows.job_id is None
    assert rows.query_id


def test_dry_run_tells_the_bytes_and_runs_nothing(client: bigquery.Client, flights: str) -> None:
    """A dry run has bytes and a schema, is DONE, and leaves no job behind."""
    before = len(list(client.list_jobs(all_users=True)))
    job = client.query(flights, job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
    assert job.state == "DONE"
    assert job.total_bytes_processed > 0
    assert [field.name for field in job.schema or []] == ["carrier", "n"]
    assert len(list(client.list_jobs(all_users=True))) == before


def test_invalid_query_fails_as_a_job(client: bigquery.Client) -> None:
    """`query` of a wrong text makes a job; waiting for it raises BadRequest."""
    job = client.query("SELECT nope FROM nycflights13.flights")
    with pytest.raises(exceptions.BadRequest, match="nope"):
        job.result()
    assert job.error_result["reason"] == "invalidQuery"


def test_maximum_bytes_billed_refuses_for_free(client: bigquery.Client, flights: str) -> None:
    """A cap below the estimate fails the job with BigQuery's wording and bills nothing."""
    config = bigquery.QueryJobConfig(maximum_bytes_billed=1, use_query_cache=False)
    job = client.query(flights, job_config=config)
    with pytest.raises(exceptions.GoogleAPICallError, match="Query exceeded limit for bytes billed: 1"):
        job.result()
    assert job.error_result["reason"] == "bytesBilledLimitExceeded"
    assert not job.total_bytes_billed


def test_second_run_is_served_from_the_cache(client: bigquery.Client) -> None:
    """The same text again is a cache hit and costs nothing."""
    sql = "SELECT COUNT(DISTINCT dest) AS n FROM nycflights13.flights"
    client.query(sql).result()
    again = client.query(sql)
    again.result()
    assert again.cache_hit
    assert again.total_bytes_billed == 0


def test_tables_can_be_made_changed_listed_and_dropped(client: bigquery.Client, dataset: str) -> None:
    """The life of a table, through the client."""
    table = bigquery.Table(f"{dataset}.t", schema=[bigquery.SchemaField("x", "INTEGER", description="a number")])
    table.description = "first"
    made = client.create_table(table)
    assert made.schema[0].description == "a number"
    with pytest.raises(exceptions.Conflict):
        client.create_table(table)
    made.description, made.labels = "second", {"k": "v"}
    changed = client.update_table(made, ["description", "labels"])
    assert (changed.description, changed.labels) == ("second", {"k": "v"})
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(made, ["description"])
    assert [each.table_id for each in client.list_tables(dataset)] == ["t"]
    client.delete_table(f"{dataset}.t")
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{dataset}.t")


def test_dataset_keeps_its_labels(client: bigquery.Client, dataset: str) -> None:
    """Labels of a dataset can be set and taken away."""
    found = client.get_dataset(dataset)
    found.labels, found.description = {"a": "1", "b": "2"}, "mine"
    changed = client.update_dataset(found, ["labels", "description"])
    changed.labels = {"a": None, "b": "2"}
    assert client.update_dataset(changed, ["labels"]).labels == {"b": "2"}
    assert client.get_dataset(dataset).description == "mine"
    assert dataset.split(".")[1] in {each.dataset_id for each in client.list_datasets()}


def test_rows_can_be_streamed_in_and_listed(client: bigquery.Client, dataset: str) -> None:
    """`insert_rows_json` then `list_rows`, in pages."""
    table = bigquery.Table(
        f"{dataset}.t", schema=[bigquery.SchemaField("x", "INTEGER"), bigquery.SchemaField("s", "STRING")]
    )
    client.create_table(table)
    assert client.insert_rows_json(table, [{"x": number, "s": f"é{number}"} for number in range(7)]) == []
    rows = list(client.list_rows(client.get_table(table), page_size=3))
    assert [(row["x"], row["s"]) for row in rows] == [(number, f"é{number}") for number in range(7)]
    assert [row["s"] for row in client.list_rows(table, selected_fields=[table.schema[1]], max_results=1)] == ["é0"]


@pytest.mark.parametrize("rows", [3, 200_000], ids=["multipart", "resumable"])
def test_a_file_can_be_loaded(client: bigquery.Client, threaded: Sandbox, dataset: str, rows: int) -> None:
    """`load_table_from_file` loads a CSV file by multipart or by resumable upload, whatever its size."""
    data = "x,s\n" + "".join(f"{number},some text\n" for number in range(rows))
    config = bigquery.LoadJobConfig(
        schema=[bigquery.SchemaField("x", "INTEGER"), bigquery.SchemaField("s", "STRING")],
        skip_leading_rows=1,
        source_format="CSV",
    )
    size = len(data) if rows < 10 else None
    threaded.journal.clear()
    job = client.load_table_from_file(io.BytesIO(data.encode()), f"{dataset}.t", job_config=config, size=size)
    job.result()
    assert job.output_rows == rows
    assert client.get_table(f"{dataset}.t").num_rows == rows
    kinds = {dict(entry.query).get("uploadType") for entry in threaded.journal.entries(method="upload")}
    assert kinds == {"multipart" if size else "resumable"}


def test_a_table_can_be_copied(client: bigquery.Client, dataset: str) -> None:
    """A copy job copies the rows and is free."""
    client.query(f"CREATE TABLE `{dataset}.a` AS SELECT 1 AS x UNION ALL SELECT 2").result()
    client.copy_table(f"{dataset}.a", f"{dataset}.b").result()
    assert sorted(row["x"] for row in client.list_rows(f"{dataset}.b")) == [1, 2]


def test_dml_reports_its_rows(client: bigquery.Client, dataset: str) -> None:
    """INSERT says how many rows it wrote."""
    client.query(f"CREATE TABLE `{dataset}.t` (x INT64)").result()
    job = client.query(f"INSERT INTO `{dataset}.t` (x) VALUES (1), (2)")
    job.result()
    assert job.num_dml_affected_rows == 2
    assert job.statement_type == "INSERT"


@pytest.mark.filterwarnings("ignore:Retrieving DataFrames:PendingDeprecationWarning")
def test_to_dataframe(client: bigquery.Client, flights: str) -> None:
    """`to_dataframe` over REST gives a frame of the right types."""
    frame = client.query(flights).to_dataframe(create_bqstorage_client=False)
    assert list(frame.columns) == ["carrier", "n"]
    assert int(frame["n"].sum()) == 336_776


def test_parameters(client: bigquery.Client) -> None:
    """Named parameters reach the query."""
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("c", "STRING", "AA")])
    sql = "SELECT COUNT(*) AS n FROM nycflights13.flights WHERE carrier = @c"
    assert [row["n"] for row in client.query_and_wait(sql, job_config=config)] == [32_729]


def test_rows_of_an_anonymous_table_can_be_listed(client: bigquery.Client) -> None:
    """A job's destination is a table that can be got and listed."""
    job = client.query("SELECT 5 AS five")
    job.result()
    assert [row["five"] for row in client.list_rows(client.get_table(job.destination))] == [5]


def test_script_has_children_that_add_up(client: bigquery.Client, flights: str) -> None:
    """A script is one SCRIPT job with a child per statement, and its bill is their sum."""
    job = client.query(f"SELECT 1 AS one; {flights};", job_config=bigquery.QueryJobConfig(use_query_cache=False))
    job.result()
    children = list(client.list_jobs(parent_job=job.job_id))
    assert job.statement_type == "SCRIPT"
    assert job.num_child_jobs == len(children) == 2
    assert job.total_bytes_billed == sum(child.total_bytes_billed for child in children)
    assert job.job_id not in {child.job_id for child in children}
    assert all(child.parent_job_id == job.job_id for child in children)
    assert not {child.job_id for child in children} & {each.job_id for each in client.list_jobs(all_users=True)}


def test_client_retries_what_it_knows(client: bigquery.Client, threaded: Sandbox) -> None:
    """503 backendError is repeated by the client and the query succeeds."""
    threaded.faults.add(Fault(method="jobs.insert", status=503, reason="backendError", count=1))
    assert [row["x"] for row in client.query("SELECT 3 AS x").result()] == [3]


def test_lost_answer_is_found_again(client: bigquery.Client, threaded: Sandbox) -> None:
    """An insert whose answer is lost ends in 409 and jobs.get inside the client; there is one job only."""
    threaded.faults.add(Fault(kind="lost", method="jobs.insert", count=1))
    job = client.query("SELECT 4 AS x")
    assert [row["x"] for row in job.result()] == [4]
    assert sum(each.job_id == job.job_id for each in client.list_jobs(all_users=True)) == 1


def test_information_schema_knows_the_jobs(client: bigquery.Client) -> None:
    """INFORMATION_SCHEMA.JOBS shows a job with its bill."""
    job = client.query("SELECT COUNT(tailnum) AS n FROM nycflights13.flights")
    job.result()
    sql = f"""SELECT job_id, state, total_bytes_billed, user_email FROM `region-us`.INFORMATION_SCHEMA.JOBS
              WHERE job_id = '{job.job_id}'"""
    rows = list(client.query_and_wait(sql))
    assert [(row["state"], row["total_bytes_billed"]) for row in rows] == [("DONE", job.total_bytes_billed)]
