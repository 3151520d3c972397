import json
from typing import Any

import pytest

from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.domain.table import TableFacts
from tests.support.recording_upstream import RecordingUpstream, replying

CALLER = Credential("Bearer caller", "quota")
TABLE = {
    "numBytes": "1234",
    "timePartitioning": {"type": "DAY", "field": "Day"},
    "clustering": {"fields": ["Country", "city"]},
    "schema": {"fields": [{"name": "Day", "type": "DATE"}, {"name": "country", "type": "string"}]},
}


@pytest.fixture
def bigquery(upstream: HttpUpstream) -> GoogleBigQuery:
    return GoogleBigQuery(upstream)


async def fetch(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, document: Any = None, status: int = 200
) -> TableFacts:
    recorder.reply = replying(status, json.dumps(document).encode(), {"Content-Type": "application/json"})
    return await bigquery.fetch_table(project_id="example.com:p", dataset_id="d", table_id="a b", credential=CALLER)


async def test_a_table_is_asked_for_in_the_callers_name(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """Partitioning, clustering, columns and size come back, names in small letters."""
    facts = await fetch(bigquery, recorder, TABLE)
    assert facts == TableFacts(
        project_id="example.com:p",
        dataset_id="d",
        table_id="a b",
        size_bytes=1234,
        partition_column="day",
        clustering=("country", "city"),
        column_types={"day": "DATE", "country": "STRING"},
    )
    assert facts.partition_type == "DATE"
    path, _, query = recorder.last.target.partition("?")
    assert (path, query) == ("/bigquery/v2/projects/example.com:p/datasets/d/tables/a%20b", "prettyPrint=false")
    assert (recorder.last.method, recorder.last.header("authorization")) == ("GET", "Bearer caller")


@pytest.mark.parametrize(
    ("partitioning", "column", "kind"),
    [
        ({"timePartitioning": {"type": "DAY"}}, "_partitiontime", "TIMESTAMP"),
        ({"rangePartitioning": {"field": "id", "range": {}}, "schema": {"fields": []}}, "id", None),
        ({"rangePartitioning": {}}, None, None),
        ({}, None, None),
        (
            {"timePartitioning": "DAY", "clustering": {"fields": [1]}, "schema": {"fields": [1, {"name": 2}]}},
            None,
            None,
        ),
        ({"schema": [], "clustering": [], "numBytes": "-1"}, None, None),
    ],
)
async def test_what_a_table_does_not_say_is_not_known(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, partitioning: Any, column: str | None, kind: str | None
) -> None:
    """Partitions by load time have BigQuery's own column; whatever is missing or malformed is left out."""
    facts = await fetch(bigquery, recorder, partitioning)
    assert (facts.partition_column, facts.partition_type) == (column, kind)
    assert (facts.size_bytes, facts.clustering, dict(facts.column_types)) == (0, (), {})


async def test_a_table_that_is_not_shown_is_refused(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """A table that is not there, or not the caller's to see, is BigQuery's refusal; 5xx is an outage."""
    with pytest.raises(UpstreamRefused):
        await fetch(bigquery, recorder, {"error": {"code": 404}}, 404)
    with pytest.raises(UpstreamUnavailable):
        await fetch(bigquery, recorder, {"error": {"code": 503}}, 503)
