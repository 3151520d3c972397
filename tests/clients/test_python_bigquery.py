"""Google's Python client, as pip installs it, against gate and sandbox: what runs. Refusals are in test_retries."""

from collections.abc import Iterator

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Conflict, PreconditionFailed
from google.cloud import bigquery

from tests.support.client_scene import DATASET, GIB, Scene
from tests.support.python_client import Watch, anonymous, python_client, token_credentials

FLIGHTS = """
    SELECT carrier, COUNT(*) AS flights, ROUND(AVG(dep_delay), 2) AS delay
    FROM nycflights13.flights WHERE dest = @dest GROUP BY carrier ORDER BY flights DESC
"""
TO_LAX = bigquery.ScalarQueryParameter("dest", "STRING", "LAX")


@pytest.fixture
def client(scene: Scene, project: str) -> Iterator[bigquery.Client]:
    with python_client(scene.url, project) as opened:
        yield opened


def no_cache(**more: object) -> bigquery.QueryJobConfig:
    return bigquery.QueryJobConfig(use_query_cache=False, **more)


@pytest.mark.parametrize("by", ["query", "query_and_wait"])
def test_a_query_returns_its_rows_and_is_booked(scene: Scene, client: bigquery.Client, by: str) -> None:
    """Both ways to run a query give the same rows; the books show estimate, bytes billed, cost and decision."""
    config = no_cache(query_parameters=[TO_LAX])
    rows = (
        client.query(FLIGHTS, config).result() if by == "query" else client.query_and_wait(FLIGHTS, job_config=config)
    )
    found = [tuple(row) for row in rows]
    assert (5, "UA", 5823) == (len(found), *found[0][:2])
    (entry,) = scene.booked(client.project)
    assert ("charge", "forward", "done", "SELECT") == tuple(
        entry[name] for name in ("kind", "decision", "outcome", "statement_type")
    )
    assert entry["estimate_bytes"] == entry["bytes_processed"] <= entry["bytes_billed"]
    assert 0 < float(entry["cost_usd"]) <= float(entry["hold_usd"])
    assert {"spent_usd": entry["cost_usd"], "held_usd": "0.00"} == scene.budget(client.project)


@pytest.mark.parametrize("by", ["query", "query_and_wait"])
def test_the_cost_is_exact(scene: Scene, client: bigquery.Client, by: str) -> None:
    """42 GiB at a cent a GiB: 0.42 dollars held, billed and booked, by both methods."""
    scene.declare(client.project, t=42)
    sql = f"SELECT a FROM {DATASET}.t"
    if by == "query":
        job = client.query(sql, no_cache())
        job.result()
        assert job.total_bytes_billed == 42 * GIB
    else:
        client.query_and_wait(sql, job_config=no_cache())
    (entry,) = scene.booked(client.project)
    shown = ("estimate_usd", "hold_usd", "cost_usd", "bytes_billed", "estimate_bytes")
    assert ("0.42", "0.42", "0.42", 42 * GIB, 42 * GIB) == tuple(entry[name] for name in shown)


@pytest.mark.parametrize("prefix", ["", "/w/dbt", "/"])
def test_every_endpoint_form_works(scene: Scene, project: str, prefix: str) -> None:
    """The root, the root with a slash, and a workload's prefix; the workload is in the books."""
    with python_client(scene.url + prefix, project, credentials=token_credentials()) as client:
        assert [(1,)] == [tuple(row) for row in client.query_and_wait("SELECT 1")]
        assert [(2,)] == [tuple(row) for row in client.query("SELECT 2").result()]
    workload = "dbt" if prefix == "/w/dbt" else None
    assert [workload, workload] == [entry["workload"] for entry in scene.booked(project)]


def test_the_emulator_variable_works(scene: Scene, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """BIGQUERY_EMULATOR_HOST is enough, for tools that take no endpoint."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", scene.url)
    with bigquery.Client(project, anonymous()) as client:
        assert [(1,)] == [tuple(row) for row in client.query("SELECT 1").result()]
    assert len(scene.booked(project)) == 1


def test_the_gate_and_not_google_is_called(scene: Scene, project: str) -> None:
    """Every request of a query goes to the gate, and its answer bears the gate's headers."""
    watch = Watch()
    with python_client(scene.url, project, watch=watch) as client:
        client.query_and_wait("SELECT 1")
    assert ["POST"] == [verb for verb, _, _ in watch.seen]
    assert ("forward", "0.00") == (watch.last_headers["X-Bqgate-Decision"], watch.last_headers["X-Bqgate-Cost-Usd"][:4])


def test_the_callers_token_reaches_bigquery(scene: Scene, project: str) -> None:
    """With credentials: caller the gate's dry run and the query both bear the caller's own token."""
    with python_client(scene.url, project, credentials=token_credentials("my-own")) as client:
        client.query_and_wait("SELECT 1")
    tokens = [entry.headers.get("Authorization") for entry in scene.received(project, "jobs.insert", "jobs.query")]
    assert tokens == ["Bearer my-own"] * 2


def test_a_dry_run_is_free_and_unbooked(scene: Scene, client: bigquery.Client) -> None:
    """Even one that no budget would allow; nothing is held, nothing booked."""
    scene.declare(client.project, huge=5_000)
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    job = client.query(f"SELECT a FROM {DATASET}.huge", config)
    assert (5_000 * GIB, [("a", "INTEGER")]) == (
        job.total_bytes_processed,
        [(one.name, one.field_type) for one in job.schema or ()],
    )
    by_query = client.query(f"SELECT a FROM {DATASET}.huge", config, api_method="QUERY")
    assert by_query.total_bytes_processed == 5_000 * GIB
    scene.assert_nothing_booked(client.project)


def test_a_cached_result_costs_nothing(scene: Scene, client: bigquery.Client) -> None:
    """The repeat is held like the first, since the cache may be gone, and booked at zero."""
    scene.declare(client.project, t=10)
    client.query_and_wait(f"SELECT a FROM {DATASET}.t")
    client.query_and_wait(f"SELECT a FROM {DATASET}.t")
    first, second = scene.booked(client.project)
    assert ("0.10", False, "0.00", True) == (
        first["cost_usd"],
        first["cache_hit"],
        second["cost_usd"],
        second["cache_hit"],
    )


def test_parameters_of_every_shape_arrive(client: bigquery.Client) -> None:
    """Named scalars, arrays and structs, and positional ones, by both methods."""
    sql = "SELECT @n + 1 AS n, @s AS s, ARRAY_LENGTH(@a) AS a, @r.x AS x, @d AS d"
    parameters = [
        bigquery.ScalarQueryParameter("n", "INT64", 9_007_199_254_740_993),
        bigquery.ScalarQueryParameter("s", "STRING", "žluťoučký 🐴 'quoted'"),
        bigquery.ArrayQueryParameter("a", "INT64", [1, 2, 3]),
        bigquery.StructQueryParameter("r", bigquery.ScalarQueryParameter("x", "FLOAT64", 1.5)),
        bigquery.ScalarQueryParameter("d", "DATE", "2013-01-01"),
    ]
    (row,) = client.query_and_wait(sql, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
    assert (9_007_199_254_740_994, "žluťoučký 🐴 'quoted'", 3, 1.5) == tuple(row)[:4]
    assert row["d"].isoformat() == "2013-01-01"
    positional = [bigquery.ScalarQueryParameter(None, "INT64", 20), bigquery.ScalarQueryParameter(None, "INT64", 22)]
    (row,) = client.query("SELECT ? + ?", bigquery.QueryJobConfig(query_parameters=positional)).result()
    assert row[0] == 42


def test_a_large_result_is_paged_through(scene: Scene, client: bigquery.Client) -> None:
    """45,000 rows in several pages, complete and in order, and booked once."""
    job = client.query(
        "SELECT x, CONCAT('row ', CAST(x AS STRING)) AS s FROM UNNEST(GENERATE_ARRAY(1, 45000)) AS x ORDER BY x"
    )
    rows = list(job.result(page_size=10_000))
    assert [1, 45_000, 45_000] == [rows[0][0], rows[-1][0], len({row[0] for row in rows})]
    assert rows[41_999]["s"] == "row 42000"
    assert len(scene.received(client.project, "jobs.getQueryResults")) >= 5
    assert len(scene.booked(client.project)) == 1


def test_query_and_wait_pages_too(scene: Scene, client: bigquery.Client) -> None:
    """The first page comes with the answer, the others by getQueryResults."""
    rows = client.query_and_wait("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 45000)) AS x", page_size=20_000)
    assert sum(row[0] for row in rows) == 45_000 * 45_001 // 2
    assert len(scene.booked(client.project)) == 1


@pytest.mark.filterwarnings("ignore:Retrieving DataFrames:PendingDeprecationWarning")
def test_a_result_becomes_a_data_frame(client: bigquery.Client) -> None:
    """to_dataframe without the Storage API, with the types that pandas users expect."""
    sql = "SELECT origin, COUNT(*) AS n, MIN(time_hour) AS first FROM nycflights13.flights GROUP BY 1 ORDER BY 1"
    frame = client.query(sql).to_dataframe(create_bqstorage_client=False)
    assert ["EWR", "JFK", "LGA"] == list(frame["origin"])
    assert 336_776 == int(frame["n"].sum())
    assert ["Int64", "datetime64[us, UTC]"] == [str(kind) for kind in frame.dtypes[["n", "first"]]]


def test_tables_are_listed_read_and_written(scene: Scene, client: bigquery.Client) -> None:
    """create_dataset, create_table, insert_rows_json, list_rows and the listings pass; nothing is booked for them."""
    client.create_dataset("notes")
    schema = [
        bigquery.SchemaField("id", "INTEGER", mode="REQUIRED"),
        bigquery.SchemaField("tags", "STRING", mode="REPEATED"),
    ]
    table = client.create_table(bigquery.Table(f"{client.project}.notes.n", schema=schema))
    assert [] == client.insert_rows_json(table, [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}])
    errors = client.insert_rows_json(table, [{"id": "no number"}])
    assert [0] == [error["index"] for error in errors]
    assert [(1, ["a", "b"]), (2, [])] == sorted(tuple(row) for row in client.list_rows(table))
    assert "notes" in {one.dataset_id for one in client.list_datasets()}
    assert ["n"] == [one.table_id for one in client.list_tables("notes")]
    assert client.get_table(f"{client.project}.notes.n").num_rows == 2
    client.delete_dataset("notes", delete_contents=True)
    scene.assert_nothing_booked(client.project)


def test_ddl_and_dml_run_and_are_booked(scene: Scene, client: bigquery.Client) -> None:
    """CREATE, INSERT, UPDATE, MERGE and DELETE do what they say; each is one entry."""
    client.create_dataset("work")
    statements = {
        "CREATE TABLE work.t AS SELECT 1 AS id, 'a' AS name": None,
        "INSERT INTO work.t (id, name) VALUES (2, 'b'), (3, 'c')": 2,
        "UPDATE work.t SET name = 'z' WHERE id = 3": 1,
        "MERGE work.t AS t USING (SELECT 4 AS id) AS s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (id, 'd')": 1,
        "DELETE FROM work.t WHERE id = 1": 1,
    }
    for sql, affected in statements.items():
        job = client.query(sql)
        job.result()
        assert affected == job.num_dml_affected_rows, sql
    rows = client.query_and_wait("SELECT id, name FROM work.t ORDER BY id")
    assert [(2, "b"), (3, "z"), (4, "d")] == [tuple(row) for row in rows]
    kinds = [entry["statement_type"] for entry in scene.booked(client.project)]
    assert ["CREATE_TABLE_AS_SELECT", "INSERT", "UPDATE", "MERGE", "DELETE", "SELECT"] == kinds


def test_a_script_runs_capped_and_is_booked_once(scene: Scene, client: bigquery.Client) -> None:
    """Nobody knows a script's cost beforehand: the configured 100 GiB are held, what it billed is booked."""
    scene.declare(client.project, t=3)
    script = f"DECLARE n INT64 DEFAULT 1; SELECT a FROM {DATASET}.t; SELECT n + 1 AS n;"
    assert [(2,)] == [tuple(row) for row in client.query(script).result()]
    (entry,) = scene.booked(client.project)
    assert ("SCRIPT", "1.00", "0.03") == (entry["statement_type"], entry["hold_usd"], entry["cost_usd"])
    query = scene.submitted(client.project)[0].body["configuration"]["query"]
    assert [str(100 * GIB)] * 2 == [query["maximumBytesBilled"], query["scriptOptions"]["statementByteBudget"]]


def test_a_job_id_of_the_clients_own_is_kept_and_booked_once(scene: Scene, client: bigquery.Client) -> None:
    """The same id again is a conflict, as at Google, and costs nothing more."""
    scene.declare(client.project, t=10)
    sql = f"SELECT a FROM {DATASET}.t"
    client.query(sql, no_cache(), job_id="mine-1", job_retry=None).result()
    with pytest.raises(Conflict):
        client.query(sql, no_cache(), job_id="mine-1", job_retry=None)
    job = client.get_job("mine-1")
    assert isinstance(job, bigquery.QueryJob)
    assert ("DONE", 10 * GIB) == (job.state, job.total_bytes_billed)
    entries = scene.booked(client.project)
    assert [("mine-1", "0.10")] == [(entry["job"]["job_id"], entry["cost_usd"]) for entry in entries]
    assert {"spent_usd": "0.10", "held_usd": "0.00"} == scene.budget(client.project)


def test_the_clients_own_labels_and_cap_stay(scene: Scene, client: bigquery.Client) -> None:
    """The gate adds its label and never raises a cap."""
    scene.declare(client.project, t=10)
    config = no_cache(labels={"team": "blue"}, maximum_bytes_billed=10 * GIB)
    job = client.query(f"SELECT a FROM {DATASET}.t", config)
    job.result()
    assert ("blue", 10 * GIB) == (job.labels["team"], job.maximum_bytes_billed)
    (entry,) = scene.booked(client.project)
    assert job.labels["bqgate_hold"] == entry["hold_id"]


def test_options_name_the_gate_as_google_would(scene: Scene, project: str) -> None:
    """A ClientOptions object works as well as a dict."""
    for given in ({"api_endpoint": scene.url}, ClientOptions(api_endpoint=scene.url)):
        with bigquery.Client(project, anonymous(), client_options=given) as client:
            assert [(1,)] == [tuple(row) for row in client.query_and_wait("SELECT 1")]


def test_a_query_without_a_job_is_given_one(scene: Scene, project: str) -> None:
    """JOB_CREATION_OPTIONAL would leave nothing to ask after; the client takes the job that comes instead."""
    options = {"api_endpoint": scene.url}
    mode = "JOB_CREATION_OPTIONAL"
    with bigquery.Client(project, anonymous(), client_options=options, default_job_creation_mode=mode) as client:
        rows = client.query_and_wait("SELECT 1 AS n")
        assert [(1,)] == [tuple(row) for row in rows]
    (entry,) = scene.booked(project)
    assert rows.job_id == entry["job"]["job_id"]


def test_what_only_looks_passes_unbooked(scene: Scene, client: bigquery.Client) -> None:
    """Projects, jobs, tables read in part, changes under an etag, copies: everything that costs no query."""
    client.create_dataset("d")
    schema = [bigquery.SchemaField("a", "INTEGER"), bigquery.SchemaField("b", "STRING")]
    table = client.create_table(bigquery.Table(f"{client.project}.d.t", schema=schema))
    stale = client.get_table(table)
    table.description = "fresh"
    assert "fresh" == client.update_table(table, ["description"]).description
    stale.description = "stale"
    with pytest.raises(PreconditionFailed):
        client.update_table(stale, ["description"])
    client.insert_rows_json(table, [{"a": number, "b": "x"} for number in range(100)])
    rows = list(client.list_rows(table, start_index=90, selected_fields=schema[:1], page_size=3))
    assert [(number,) for number in range(90, 100)] == [tuple(row) for row in rows]
    client.copy_table(table, f"{client.project}.d.u").result()
    assert 100 == client.get_table("d.u").num_rows
    assert client.project in {one.project_id for one in client.list_projects()}
    assert ["copy"] == [job.job_type for job in client.list_jobs()]
    scene.assert_nothing_booked(client.project)
