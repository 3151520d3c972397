from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bqgate.domain.job import JobRef
from bqgate.wire.query_rows import own_query_body, rows_in

JOB = JobRef("p", "bqgate_own_h1", "EU")
SCHEMA = {
    "fields": [
        {"name": "n", "type": "INTEGER"},
        {"name": "labels", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "k", "type": "STRING"}]},
        {"name": "error", "type": "RECORD", "fields": [{"name": "reason", "type": "STRING"}]},
        {"name": "days", "type": "STRING", "mode": "REPEATED"},
    ]
}


def cells(*values: Any) -> dict[str, Any]:
    return {"f": [{"v": value} for value in values]}


def test_rows_have_the_names_of_their_columns() -> None:
    """Numbers stay text, records become mappings, lists tuples; NULL is None, and an empty list is empty."""
    page = {
        "schema": SCHEMA,
        "rows": [
            cells("12", [{"v": cells("a")}, {"v": cells(None)}], cells("quota"), [{"v": "x"}, {"v": "y"}]),
            cells(None, [], None, None),
        ],
    }
    assert rows_in(page) == (
        {"n": "12", "labels": ({"k": "a"}, {"k": None}), "error": {"reason": "quota"}, "days": ("x", "y")},
        {"n": None, "labels": (), "error": None, "days": ()},
    )


@pytest.mark.parametrize("page", [{}, {"schema": SCHEMA}, {"schema": SCHEMA, "rows": []}])
def test_a_page_without_rows_is_empty(page: dict[str, Any]) -> None:
    """A statement without a result has no schema either."""
    assert rows_in(page) == ()


@pytest.mark.parametrize(
    "page",
    [
        {"rows": [cells("1")]},
        {"schema": SCHEMA, "rows": [cells("1")]},
        {"schema": SCHEMA, "rows": "none"},
        {"schema": SCHEMA, "rows": [cells(1, [], None, [])]},
        {"schema": SCHEMA, "rows": [cells("1", "x", None, [])]},
        {"schema": SCHEMA, "rows": [{"f": [{}, {}, {}, {}]}]},
        {"schema": SCHEMA, "rows": [None]},
    ],
)
def test_rows_that_do_not_fit_their_schema_are_refused(page: dict[str, Any]) -> None:
    """Nothing is made up of an answer that is not of BigQuery's form."""
    with pytest.raises(ValueError, match=r"^(a|rows) "):
        rows_in(page)


def test_a_query_bears_its_bounds_and_whose_it_is() -> None:
    """Standard SQL, uncached, capped, with typed parameters, ended by BigQuery itself, and labelled with its hold."""
    noon = datetime(2026, 11, 24, 13, tzinfo=timezone(timedelta(hours=1)))
    body = own_query_body("SELECT @a", JOB, {"a": noon, "b": 7, "c": "x"}, maximum_bytes_billed=99, timeout_ms=5)
    assert body == {
        "jobReference": {"projectId": "p", "jobId": "bqgate_own_h1", "location": "EU"},
        "configuration": {
            "jobTimeoutMs": "5",
            "labels": {"bqgate_own": "true", "bqgate_hold": "h1"},
            "query": {
                "query": "SELECT @a",
                "useLegacySql": False,
                "useQueryCache": False,
                "maximumBytesBilled": "99",
                "parameterMode": "NAMED",
                "queryParameters": [
                    _parameter("a", "TIMESTAMP", noon.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")),
                    _parameter("b", "INT64", "7"),
                    _parameter("c", "STRING", "x"),
                ],
            },
        },
    }


def _parameter(name: str, kind: str, value: str) -> dict[str, Any]:
    return {"name": name, "parameterType": {"type": kind}, "parameterValue": {"value": value}}
