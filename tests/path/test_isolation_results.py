from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.two_customers import TwoCustomers, two_customers


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[TwoCustomers]:
    async with two_customers(tmp_path) as stand:
        yield stand


async def result_of(gate: TwoCustomers, who: str, *, project: str) -> str:
    """Where BigQuery keeps the rows of a query: the path of the anonymous table that its job names."""
    job = await gate.start(who, "SELECT 'a row of theirs' AS row", project=project)
    resource = (await gate.call("root", "GET", f"projects/{project}/jobs/{job}")).json
    table = resource["configuration"]["query"]["destinationTable"]
    assert table["datasetId"].startswith("_")
    return f"projects/{table['projectId']}/datasets/{table['datasetId']}/tables/{table['tableId']}"


async def test_results_in_ones_own_project_are_read_by_their_table(gate: TwoCustomers) -> None:
    """As dbt and Java do: the table that the job names, and its rows; nothing else can be done with it."""
    table = await result_of(gate, "acme", project="acme-prod")
    assert (await gate.call("acme", "GET", table)).status == 200
    rows = await gate.call("acme", "GET", f"{table}/data")
    assert [["a row of theirs"]] == [[cell["v"] for cell in row["f"]] for row in rows.json["rows"]]
    for verb, path in (("DELETE", table), ("PATCH", table), ("POST", f"{table}/insertAll")):
        body: dict[str, str] | None = None if verb == "DELETE" else {}
        assert (await gate.call("acme", verb, path, body)).status == 403, (verb, path)


@pytest.mark.parametrize("project", ["globex-prod", "hub"])
async def test_results_of_others_are_not_read(gate: TwoCustomers, project: str) -> None:
    """Neither in another's project nor where everybody's jobs run, even by who knows the table's name."""
    table = await result_of(gate, "globex", project=project)
    for path in (table, f"{table}/data"):
        reply = await gate.call("acme", "GET", path)
        assert (403, "accessDenied") == (reply.status, reply.reason)
        assert "a row of theirs" not in reply.text


async def test_what_is_hidden_beside_results_stays_so(gate: TwoCustomers) -> None:
    """A hidden dataset of the own project cannot be listed, and no table in it but results read."""
    dataset = (await result_of(gate, "acme", project="acme-prod")).rpartition("/tables/")[0]
    for path in (dataset, f"{dataset}/tables", f"{dataset}/tables/of_a_session", f"{dataset}/tables/of_a_session/data"):
        assert (await gate.call("acme", "GET", path)).status == 403, path
