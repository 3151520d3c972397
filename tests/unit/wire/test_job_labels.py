from typing import Any

import pytest

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.job import QueryRequest
from bqgate.wire.job_labels import check_room, labels_at, merged_labels, with_callers_labels
from bqgate.wire.query_request import parse_insert, parse_query

GATES = ("bqgate_hold", "bqgate_customer", "BQGATE_HOLD", "bqGate_x", "bqgate_", " bqgate_hold")


def some(count: int) -> dict[str, str]:
    return {f"own_{number}": "x" for number in range(count)}


def requests_with(labels: dict[str, str], **fields: Any) -> tuple[QueryRequest, QueryRequest]:
    """The same query by both methods."""
    query = {"query": "SELECT 1", **fields}
    by_insert = parse_insert("p", {"configuration": {"query": query, "labels": labels}})
    assert by_insert is not None
    return by_insert, parse_query("p", {**query, "labels": labels})


@pytest.mark.parametrize(
    "labels",
    [
        {"k": ""},
        {"k" * 63: "v" * 63},
        {"team-a_1": "_-9"},
        {"équipe": "größe"},
        {"部門": "データ"},
        {"विभाग": "हिन्दी"},
        some(64),
    ],
)
def test_labels_that_bigquery_takes_pass(labels: dict[str, str]) -> None:
    """64 of them, each side 63 characters long at most; letters of all scripts but no capitals."""
    assert labels_at({"labels": labels}) == labels


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"": "x"}, 'Label key ""'),
        ({"k" * 64: "x"}, "Label key"),
        ({"1k": "x"}, "Label key"),
        ({"_k": "x"}, "Label key"),
        ({"Team": "x"}, 'Label key "Team" has invalid characters'),
        ({"te am": "x"}, "Label key"),
        ({"team": "v" * 64}, "Label value"),
        ({"team": "A"}, 'Label value "A" has invalid characters'),
        ({"team": "Ä"}, "Label value"),
        ({"team": "a.b"}, "Label value"),
        ({"team": "m\0l"}, r'Label value "m\?l"'),
        ({"team": "\ud800"}, "Label value"),
        ({"team": "\u202e"}, "Label value"),
        ({"team": "x" * (8 * 2**20)}, r'Label value "x{64}…" has invalid'),
        ({"k" * (8 * 2**20): "x"}, r'Label key "k{64}…" has invalid'),
        (some(65), "exceeds the limit of 64"),
        (some(100_000), "exceeds the limit of 64"),
    ],
)
def test_labels_that_bigquery_refuses_are_refused_at_the_door(labels: dict[str, str], told: str) -> None:
    """In its own words, which stay short however long the label is."""
    with pytest.raises(MalformedRequest, match=told) as caught:
        labels_at({"labels": labels})
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("kind", ["query", "load", "copy", "extract"])
def test_no_kind_of_job_keeps_a_label_of_the_gates(kind: str) -> None:
    """A label that begins with bqgate_ is the gate's; in whatever case a caller writes it, it is dropped."""
    sent = {"configuration": {kind: {}, "labels": {"team": "ml", **dict.fromkeys(GATES, "forged")}}}
    assert with_callers_labels(sent) == {"configuration": {kind: {}, "labels": {"team": "ml"}}}


def test_neither_does_a_query_request() -> None:
    """jobs.query has its labels at the top."""
    sent = {"query": "SELECT 1", "labels": {**dict.fromkeys(GATES, "forged"), "team": "ml"}}
    assert with_callers_labels(sent) == {"query": "SELECT 1", "labels": {"team": "ml"}}


@pytest.mark.parametrize("document", [{}, {"configuration": 1}, {"configuration": {"load": {}}}, {"labels": None}])
def test_what_has_no_labels_stays_as_it_is(document: dict[str, Any]) -> None:
    """What is wrong with it, its reader says."""
    assert with_callers_labels(document) == document


@pytest.mark.parametrize(
    ("own", "workload", "fits"),
    [(63, None, True), (64, None, False), (62, "etl", True), (63, "etl", False), (64, "etl", False)],
)
def test_the_gates_labels_need_room(own: int, workload: str | None, *, fits: bool) -> None:
    """The hold's label always, the workload's where there is one: without them the job could not be found again."""
    for request in requests_with(some(own)):
        if fits:
            check_room(request, workload=workload)
            continue
        with pytest.raises(MalformedRequest, match="exceeds the limit of 64") as caught:
            check_room(request, workload=workload)
        assert caught.value.reason == "invalid"


@pytest.mark.parametrize(("value", "fits"), [("a:1", True), ("a:1,b:2", False)])
def test_labels_of_a_connection_property_count(value: str, *, fits: bool) -> None:
    """BigQuery adds those of query_label to the job's."""
    for request in requests_with(some(62), connectionProperties=[{"key": "query_label", "value": value}]):
        if fits:
            check_room(request, workload=None)
            continue
        with pytest.raises(MalformedRequest, match="exceeds the limit of 64"):
            check_room(request, workload=None)


@pytest.mark.parametrize(
    "value", ["bqgate_hold:1", "team:a,bqgate_hold:1", "team:a, BQGATE_HOLD:1", " bqgate_customer:x"]
)
@pytest.mark.parametrize("name", ["connectionProperties", "connection_properties"])
def test_a_connection_property_sets_no_label_of_the_gates(name: str, value: str) -> None:
    """Whichever way the query comes."""
    with pytest.raises(MalformedRequest, match="query_label"):
        requests_with({}, **{name: [{"key": "query_label", "value": value}]})


@pytest.mark.parametrize(
    "sql",
    [
        "SET @@query_label = 'bqgate_hold:1'; SELECT 1",
        'set @@Query_Label="team:a,BQGATE_HOLD:1"',
        "SET @@ `query_label` = 'bqgate_hold:1'",
    ],
)
def test_a_script_that_sets_one_in_plain_sight_is_refused(sql: str) -> None:
    """A session's or a script's later jobs would bear it."""
    with pytest.raises(MalformedRequest, match="query_label"):
        requests_with({}, query=sql)


def test_other_labels_of_a_script_are_the_callers() -> None:
    """So is a look at the gate's labels."""
    assert requests_with({}, query="SET @@query_label = 'team:a'; SELECT 1")
    assert requests_with({}, query="SELECT * FROM jobs WHERE label = 'bqgate_hold'")


def test_the_gates_labels_go_out_whatever_the_callers_are() -> None:
    """Of more labels than there is room for, the caller's last ones stay behind; that is refused before a hold."""
    merged = merged_labels({"bqgate_hold": "forged", "bqgate_customer": "c", **some(64)}, {"bqgate_hold": "h"}, {})
    assert (len(merged), merged["bqgate_hold"], merged["bqgate_customer"]) == (64, "h", "c")
