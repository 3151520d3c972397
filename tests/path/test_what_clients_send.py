import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from bqgate.domain.entry import EntryFilter
from bqgate.sandbox import SandboxSettings
from tests.support.gate_stack import Stack, running_stack
from tests.support.two_customers import two_customers

PROXIED = {"X-Forwarded-Host": "gate.example", "X-Forwarded-Proto": "https"}
INTEGER_COLUMN = {"fields": [{"name": "x", "type": "INTEGER"}]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    document: dict[str, Any] = {
        "server": {"trusted_proxies": ["127.0.0.1"], "allowed_hosts": ["gate.example"]},
        "identity": {"mode": "open"},
        "tiers": {"standard": {"daily_usd": "1000", "monthly_usd": "30000", "emergency_usd": "2000"}},
    }
    with running_stack(tmp_path_factory.mktemp("wire"), document, sandbox=SandboxSettings()) as opened:
        yield opened


def send(
    stack: Stack,
    verb: str,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    *,
    project: str = "acme",
    **headers: str,
) -> requests.Response:
    """One call below a project; underscores in the names of headers are dashes."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    url = f"{stack.url}/bigquery/v2/projects/{project}/{path}"
    return requests.request(verb, url, data=data, headers=given, timeout=30)


def received(stack: Stack, method: str, project: str) -> Any:
    """The newest call of a project that went upstream and was no dry run."""
    entries = [each for each in stack.sandbox.journal.entries(method=method) if f"/projects/{project}/" in each.path]
    return next(each for each in reversed(entries) if not each.body.get("configuration", {}).get("dryRun"))


@pytest.mark.parametrize("alt", ["$alt=json;enum-encoding=int", "%24alt=json%3Benum-encoding%3Dint"])
@pytest.mark.parametrize("method", ["queries", "jobs"])
def test_generated_clients_get_their_rows_and_are_booked(stack: Stack, method: str, alt: str) -> None:
    """What Go's and Rust's generated clients send is answered, its job can be found again, and its cost is known."""
    project = f"gapic-{method}-{len(alt)}"
    query: dict[str, Any] = {"query": "SELECT carrier FROM nycflights13.airlines", "useLegacySql": False}
    query["maximumBytesBilled"] = "1e9"
    body = {"configuration": {"query": query}} if method == "jobs" else query | {"jobCreationMode": 2}
    answer = send(stack, "POST", f"{method}?{alt}", body, project=project)
    assert answer.status_code == 200, answer.text
    job = answer.json()["jobReference"]
    status = send(stack, "GET", f"jobs/{job['jobId']}?{alt}&location={job['location']}", project=project).json()
    assert status["jobCreationReason"] == {"code": 1}, "what the gate does not read is answered as it was asked for"
    rows = send(stack, "GET", f"queries/{job['jobId']}?{alt}&$fields=totalRows,jobComplete", project=project).json()
    assert rows == {"totalRows": "16", "jobComplete": True}
    sent = received(stack, "jobs.insert" if method == "jobs" else "jobs.query", project)
    assert ("alt", "json") in sent.query
    options = sent.body["configuration"]["query"] if method == "jobs" else sent.body
    assert int(options["maximumBytesBilled"]) <= 10**9
    stack.settle(project)
    entries = stack.run(stack.gate.ledger.fetch_entries(EntryFilter(customer=project))).entries
    assert [entry.bytes_billed for entry in entries] == [10 * 2**20]


@pytest.mark.parametrize("parameter", ["$key=k", "%24userProject=p", "$httpMethod=GET", "$ct=x"])
def test_other_system_parameters_stay_refused(stack: Stack, parameter: str) -> None:
    """What could change who asks, or which method it is, does not pass."""
    answer = send(stack, "POST", f"queries?{parameter}", {"query": "SELECT 1", "useLegacySql": False})
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (501, "notImplemented")


def test_a_fraction_of_a_byte_is_400_in_googles_words(stack: Stack) -> None:
    """10485760.5 is no int64, and nothing is asked of BigQuery."""
    answer = send(stack, "POST", "queries", b'{"query": "SELECT 1", "maximumBytesBilled": 10485760.5}')
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Invalid value at 'maximum_bytes_billed' (TYPE_INT64), 10485760.5"


NUMBER = "1234567890123456789.123456789"


def numeric_query(number: str) -> str:
    """A query whose answer is its parameter, as JSON text."""
    parameter = f'{{"name":"a","parameterType":{{"type":"NUMERIC"}},"parameterValue":{{"value":{number}}}}}'
    return f'"query":"SELECT @a AS a","useLegacySql":false,"parameterMode":"NAMED","queryParameters":[{parameter}]'


def test_a_parameters_digits_reach_bigquery_by_every_way(stack: Stack) -> None:
    """jobs.query, jobs.insert, a batch and the beginning of a resumable upload send on the number as it was written."""
    rows = [{"f": [{"v": NUMBER}]}]
    text = numeric_query(NUMBER)
    assert send(stack, "POST", "queries", f"{{{text}}}".encode()).json()["rows"] == rows
    job = send(stack, "POST", "jobs", f'{{"configuration":{{"query":{{{text}}}}}}}'.encode()).json()
    assert send(stack, "GET", f"queries/{job['jobReference']['jobId']}").json()["rows"] == rows
    line = "POST /bigquery/v2/projects/acme/queries HTTP/1.1"
    part = f"--b\r\nContent-Type: application/http\r\n\r\n{line}\r\n\r\n\ufeff{{{text}}}"
    batch = requests.post(
        f"{stack.url}/batch/bigquery/v2",
        data=f"{part}\r\n--b--".encode(),
        headers={"Content-Type": "multipart/mixed; boundary=b"},
        timeout=30,
    )
    assert f'"v": "{NUMBER}"' in batch.text
    ten = send(stack, "POST", "queries", f"{{{numeric_query('1.10')}}}".encode())
    assert received(stack, "jobs.query", "acme").body["queryParameters"][0]["parameterValue"]["value"].text == "1.10"
    assert ten.json()["rows"] == [{"f": [{"v": "1.1"}]}]


def test_a_byte_order_mark_is_read_over_and_utf_16_is_named(stack: Stack) -> None:
    """Whether it is packed or not; what is not UTF-8 is refused with what to write instead."""
    text = '{"query": "SELECT 7 AS n", "useLegacySql": false}'
    marked = b"\xef\xbb\xbf" + text.encode()
    assert send(stack, "POST", "queries", marked).json()["rows"] == [{"f": [{"v": "7"}]}]
    packed = send(stack, "POST", "queries", gzip.compress(marked), Content_Encoding="gzip")
    assert packed.json()["rows"] == [{"f": [{"v": "7"}]}]
    refused = send(stack, "POST", "queries", text.encode("utf-16"))
    assert (refused.status_code, "UTF-8" in refused.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("table", ["a\u3000b", "a\u00a0b", "a b", "Größe e\u0301", "表"])
def test_a_table_may_be_named_in_any_script(stack: Stack, table: str) -> None:
    """It is made, filled and read under the name that its caller wrote."""
    send(stack, "POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    made = send(stack, "POST", "datasets/d/tables", {"tableReference": {"tableId": table}, "schema": INTEGER_COLUMN})
    assert made.status_code == 200, made.text
    path = f"datasets/d/tables/{quote(table)}"
    assert send(stack, "POST", f"{path}/insertAll", {"rows": [{"json": {"x": 7}}]}).status_code == 200
    assert send(stack, "GET", path).json()["tableReference"]["tableId"] == table
    assert send(stack, "GET", f"{path}/data").json()["rows"] == [{"f": [{"v": "7"}]}]


@pytest.mark.parametrize("wish", ["gzip;q=0", "identity;q=1, *;q=0", "gzip; q=0.0, br"])
@pytest.mark.parametrize("path", ["queries", "jobs", "datasets"])
def test_who_takes_no_gzip_gets_none(stack: Stack, wish: str, path: str) -> None:
    """Neither for a query, whose answer the gate reads in passing, nor for anything else."""
    body: dict[str, Any] = {"query": "SELECT * FROM nycflights13.airlines", "useLegacySql": False}
    given: dict[str, Any] | None = {"queries": body, "jobs": {"configuration": {"query": body}}}.get(path)
    verb = "GET" if given is None else "POST"
    answer = send(stack, verb, path, given, Accept_Encoding=wish)
    assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, None)
    if given is not None:
        assert send(stack, verb, path, given, Accept_Encoding="gzip").headers["Content-Encoding"] == "gzip"


def test_an_upload_goes_on_by_the_address_of_the_proxy(stack: Stack) -> None:
    """The chunks come back through the proxy, whose host the Location names, and the table is loaded."""
    load = {
        "destinationTable": {"projectId": "acme", "datasetId": "uploads", "tableId": "t"},
        "schema": INTEGER_COLUMN,
        "sourceFormat": "CSV",
    }
    send(stack, "POST", "datasets", {"datasetReference": {"datasetId": "uploads"}})
    url = f"{stack.url}/upload/bigquery/v2/projects/acme/jobs?uploadType=resumable&%24alt=json"
    begun = requests.post(url, json={"configuration": {"load": load}}, headers=PROXIED, timeout=30)
    assert begun.headers["Location"].startswith("https://gate.example/upload/bigquery/v2/projects/acme/jobs?")
    by_proxy = begun.headers["Location"].replace("https://gate.example", stack.url)
    ended = requests.put(by_proxy, data=b"1\n2\n", headers=PROXIED, timeout=30)
    assert ended.status_code == 200, ended.text
    job_id = ended.json()["jobReference"]["jobId"]
    stack.run(next(job for job in stack.sandbox.jobs if job.id == job_id).done.wait())
    assert send(stack, "GET", "datasets/uploads/tables/t").json()["numRows"] == "2"


async def test_lists_are_filtered_under_any_name_of_fields(tmp_path: Path) -> None:
    """Where customers share an account, no mask takes away what tells whose a job is, and none shows another's."""
    async with two_customers(tmp_path) as gate:
        own = await gate.start("acme", "SELECT owner FROM `hub.acme.t`")
        theirs = await gate.start("globex", "SELECT owner FROM `hub.globex.t`")
        for mask in ("$fields", "%24fields", "fields"):
            path = f"projects/hub/jobs?{mask}=jobs(jobReference)&%24alt=json%3Benum-encoding%3Dint"
            reply = await gate.call("acme", "GET", path)
            assert (reply.status, own in reply.text, theirs in reply.text) == (200, True, False)
            reply = await gate.call("acme", "GET", f"projects/hub/jobs/{theirs}?{mask}=statistics&$alt=json")
            assert (reply.status, reply.reason) == (404, "notFound")


def test_failed_logins_are_counted_by_the_address_behind_the_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One client's failures do not shut out another's behind the same proxy, and nobody gets out of its own count."""
    document: dict[str, Any] = {
        "server": {"trusted_proxies": ["127.0.0.1"]},
        "identity": {
            "mode": "required",
            "token_secret": "q3Zt0Yk1v7wJm4uXeR9sPb2nLd8hGf6cTaUoWiSxKzEy",
            "failed_logins_per_minute": 1,
        },
    }
    with running_stack(tmp_path_factory.mktemp("logins"), document) as stack:

        def login(chain: str) -> int:
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"}
            headers = {"X-Forwarded-For": chain}
            return requests.post(f"{stack.url}/oauth2/token", data=form, headers=headers, timeout=30).status_code

        assert login("198.51.100.7") != 429
        assert login("203.0.113.1, 198.51.100.7") == 429
        assert login("198.51.100.8") != 429
