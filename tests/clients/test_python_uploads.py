"""Load jobs by Google's Python client: the file goes through the gate, nothing is held and nothing booked."""

import io
import json

import pandas as pd
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from tests.support.client_scene import Scene
from tests.support.python_client import Watch, python_client

CSV = bigquery.LoadJobConfig(
    source_format="CSV",
    skip_leading_rows=1,
    schema=[bigquery.SchemaField("id", "INTEGER"), bigquery.SchemaField("text", "STRING")],
)
# The client sends less than 5 MB in one multipart request and the rest as a resumable upload.
ROWS_OF_7_MB = 70_000


def csv_file(rows: int) -> io.BytesIO:
    lines = (f"{number},{'x' * 90} {number}\n" for number in range(rows))
    return io.BytesIO(b"id,text\n" + "".join(lines).encode())


@pytest.mark.parametrize("prefix", ["", "/w/nightly"])
@pytest.mark.parametrize(("rows", "kind"), [(100, "multipart"), (ROWS_OF_7_MB, "resumable")])
def test_a_file_is_loaded_through_the_gate(scene: Scene, project: str, rows: int, kind: str, prefix: str) -> None:
    """Small and large, with and without a workload; every request stays at the address that the client was given."""
    watch = Watch()
    file = csv_file(rows)
    with python_client(scene.url + prefix, project, watch=watch) as client:
        client.create_dataset("files")
        table = f"{project}.files.f"
        job = client.load_table_from_file(file, table, size=file.getbuffer().nbytes, job_config=CSV)
        job.result()
        assert (rows, "DONE", None) == (job.output_rows, job.state, job.error_result)
        (row,) = client.query_and_wait("SELECT COUNT(*) AS n, SUM(id) AS s, MAX(LENGTH(text)) AS longest FROM files.f")
    assert (rows, rows * (rows - 1) // 2, 91 + len(str(rows - 1))) == tuple(row)
    uploads = [(verb, path) for verb, path, _ in watch.seen if "/upload/" in path]
    assert {"multipart": ["POST"], "resumable": ["POST", "PUT"]}[kind] == [verb for verb, _ in uploads]
    assert all(path.startswith(f"{prefix}/upload/bigquery/v2/") for _, path in uploads)
    assert ["SELECT"] == [entry["statement_type"] for entry in scene.booked(project)]


def test_a_resumable_upload_in_chunks_meets_308_on_its_way(scene: Scene, project: str) -> None:
    """A chunk that is not the last is answered by 308, which reaches the client untouched."""
    watch = Watch()
    file = csv_file(ROWS_OF_7_MB)
    destination = bigquery.TableReference.from_string(f"{project}.files.f")
    with python_client(scene.url, project, watch=watch) as client:
        client.create_dataset("files")
        reference = {"projectId": project, "jobId": "chunked"}
        load = {**CSV.to_api_repr()["load"], "destinationTable": destination.to_api_repr()}
        metadata = {"jobReference": reference, "configuration": {"load": load}}
        upload, _ = client._initiate_resumable_upload(file, metadata, num_retries=0, timeout=None)
        upload._chunk_size = 2 * 2**20
        while not upload.finished:
            answer = upload.transmit_next_chunk(client._http)
        assert answer.json()["jobReference"]["jobId"] == "chunked"
        job = client.get_job("chunked")
        job.result()
    assert job.output_rows == ROWS_OF_7_MB
    puts = [status for verb, _, status in watch.seen if verb == "PUT"]
    assert [308] * 3 + [200] == puts


@pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning")
def test_json_and_data_frames_are_loaded(scene: Scene, project: str) -> None:
    """load_table_from_json sends newline-delimited JSON, load_table_from_dataframe Parquet."""
    with python_client(scene.url, project) as client:
        client.create_dataset("files")
        client.load_table_from_json(
            [{"id": 1, "text": "a"}], f"{project}.files.j", job_config=bigquery.LoadJobConfig(schema=CSV.schema)
        ).result()
        frame = pd.DataFrame({"id": [1, 2], "text": ["č", None]})
        client.load_table_from_dataframe(frame, f"{project}.files.p").result()
        assert [(1, "a")] == [tuple(row) for row in client.list_rows(f"{project}.files.j")]
        assert [(1, "č"), (2, None)] == sorted(tuple(row) for row in client.list_rows(f"{project}.files.p"))
    scene.assert_nothing_booked(project)


def test_a_bad_file_fails_its_job(scene: Scene, project: str) -> None:
    """The job's error is BigQuery's own."""
    with python_client(scene.url, project) as client:
        client.create_dataset("files")
        job = client.load_table_from_file(io.BytesIO(b"id,text\nno number,a\n"), f"{project}.files.f", job_config=CSV)
        with pytest.raises(BadRequest):
            job.result()
    scene.assert_nothing_booked(project)


def test_a_query_on_the_upload_path_is_gated(scene: Scene, project: str) -> None:
    """A query configuration packed as an upload is held and booked like any other."""
    scene.declare(project, t=7)
    configuration = {"query": {"query": "SELECT a FROM shop.t", "useLegacySql": False}}
    parts = {"configuration": configuration}
    boundary = "b0undary"
    body = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(parts)}\r\n"
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--{boundary}--\r\n"
    )
    with python_client(scene.url, project) as client:
        answer = client._http.post(
            f"{scene.url}/upload/bigquery/v2/projects/{project}/jobs?uploadType=multipart",
            data=body.encode(),
            headers={"Content-Type": f'multipart/related; boundary="{boundary}"'},
        )
    assert answer.status_code == 200, answer.text
    assert ["0.07"] == [entry["cost_usd"] for entry in scene.booked(project)]
