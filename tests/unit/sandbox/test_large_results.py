from typing import Any

import pytest
from google.cloud import bigquery

from bqgate.sandbox.settings import SandboxSettings

ROWS = 120_000
SQL = f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {ROWS})) AS n"


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> SandboxSettings:
    """Settings whose pages end at the parameter's bytes, or at Google's."""
    return SandboxSettings(page_bytes=getattr(request, "param", 10 * 2**20))


SMALL_PAGES = pytest.mark.parametrize("settings", [1_000], indirect=True)


def test_google_s_client_reads_120_000_rows(client: bigquery.Client) -> None:
    """Every row of a large result comes once and in order, over pages of 100,000 at most."""
    rows = client.query(SQL).result()
    assert rows.total_rows == ROWS
    pages = [[row.n for row in page] for page in rows.pages]
    assert [n for page in pages for n in page] == list(range(1, ROWS + 1))
    assert len(pages) > 1


@SMALL_PAGES
async def test_a_page_ends_where_its_bytes_are_used_up(api: Any) -> None:
    """jobs.query, getQueryResults and tabledata.list stop at the page's bytes and go on by the token."""
    first = (await api.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 200)) AS n ORDER BY n")).body
    assert first["totalRows"] == "200"
    assert 0 < len(first["rows"]) < 60
    found = [row["f"][0]["v"] for row in first["rows"]]
    path, token = f"queries/{first['jobReference']['jobId']}", first["pageToken"]
    while token:
        page = (await api("GET", path, params={"pageToken": token})).body
        found += [row["f"][0]["v"] for row in page["rows"]]
        token = page.get("pageToken", "")
    assert found == [str(n) for n in range(1, 201)]


@SMALL_PAGES
async def test_a_row_larger_than_a_page_is_a_page(api: Any) -> None:
    """A row that alone is larger than the bytes of a page is answered, one at a time."""
    answer = await api.query("SELECT REPEAT('x', 5000) AS x FROM UNNEST([1, 2])")
    assert len(answer.body["rows"]) == 1
    assert len(answer.body["rows"][0]["f"][0]["v"]) == 5000


@pytest.mark.parametrize(
    ("params", "first", "count"),
    [
        ({"maxResults": "3"}, "0", 3),
        ({"maxResults": "3", "startIndex": "4998"}, "4998", 2),
        ({"startIndex": "5000"}, None, 0),
        ({"maxResults": "0"}, None, 0),
        ({"selectedFields": "name", "maxResults": "1"}, "row 0", 1),
    ],
)
async def test_stored_rows_are_read_page_by_page(params: Any, first: str | None, count: int, api: Any) -> None:
    """tabledata.list answers the rows from startIndex on, maxResults of them, and the selected columns."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    await api.query(
        "CREATE TABLE d.t AS SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name "
        "FROM UNNEST(GENERATE_ARRAY(0, 4999)) AS n"
    )
    body = (await api("GET", "datasets/d/tables/t/data", params=params)).body
    assert body["totalRows"] == "5000"
    rows = body.get("rows", [])
    assert len(rows) == count
    assert (rows[0]["f"][0]["v"] if rows else None) == first


@pytest.mark.parametrize("pretty", ["true", "false"])
async def test_rows_are_the_same_in_a_pretty_answer(pretty: str, api: Any) -> None:
    """Many rows, with quotes, line ends and braces in them, are valid JSON whichever way the answer is written."""
    sql = "SELECT '},{\"f\": \\n' AS x FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS n"
    answer = await api("POST", "queries", {"query": sql, "useLegacySql": False}, params={"prettyPrint": pretty})
    assert [row["f"][0]["v"] for row in answer.body["rows"]] == ['},{"f": \n'] * 1500


async def test_a_mask_looks_into_rows(api: Any) -> None:
    """`fields=rows(f)` and `fields=rows` keep the rows and nothing else."""
    for mask in ("rows", "rows(f)"):
        answer = await api("POST", "queries", {"query": "SELECT 1", "useLegacySql": False}, params={"fields": mask})
        assert answer.body == {"rows": [{"f": [{"v": "1"}]}]}
