from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.field_mask import parse_mask

JOB: dict[str, Any] = {
    "jobReference": {"projectId": "p", "jobId": "j"},
    "status": {"state": "DONE"},
    "statistics": {"totalSlotMs": "7", "query": {"statementType": "SELECT", "referencedTables": [{"tableId": "t"}]}},
    "rows": [{"f": [{"v": "1"}, {"v": None}], "x": 1}, {"f": []}],
    "user_email": "ann@example.com",
    "etag": None,
}


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("status", {"status": {"state": "DONE"}}),
        ("user_email,etag", {"user_email": "ann@example.com", "etag": None}),
        ("jobReference/jobId", {"jobReference": {"jobId": "j"}}),
        ("jobReference.jobId", {"jobReference": {"jobId": "j"}}),
        ("job_reference/job_id", {"jobReference": {"jobId": "j"}}),
        ("jobReference(jobId)", {"jobReference": {"jobId": "j"}}),
        (" jobReference ( jobId , projectId ) ", {"jobReference": {"projectId": "p", "jobId": "j"}}),
        ("statistics(query/statementType,totalSlotMs)", {
            "statistics": {"totalSlotMs": "7", "query": {"statementType": "SELECT"}}
        }),
        ("statistics(query(referencedTables(tableId)))", {
            "statistics": {"query": {"referencedTables": [{"tableId": "t"}]}}
        }),
        ("rows/f/v", {"rows": [{"f": [{"v": "1"}, {"v": None}]}, {"f": []}]}),
        ("rows(x)", {"rows": [{"x": 1}, {}]}),
        ("*", JOB),
        ("*/state", {"jobReference": {}, "status": {"state": "DONE"}, "statistics": {}, "rows": [{}, {}]}),
        ("statistics/*/statementType", {"statistics": {"query": {"statementType": "SELECT"}}}),
        ("status/state,status", {"status": {"state": "DONE"}}),
        ("jobReference,jobReference/jobId", {"jobReference": {"projectId": "p", "jobId": "j"}}),
        ("jobReference/jobId,*/projectId", {
            "jobReference": {"projectId": "p", "jobId": "j"}, "status": {}, "statistics": {}, "rows": [{}, {}]
        }),
        ("unheardOf", {}),
        ("user_email/x", {}),
    ],
)  # fmt: skip
def test_a_mask_selects_what_it_names(mask: str, kept: dict[str, Any]) -> None:
    """Paths, lists, wildcards; lists of the document are looked through, and two paths add up."""
    assert parse_mask(mask).applied_to(JOB) == kept


@pytest.mark.parametrize(
    "mask",
    [
        "", " ", ",", "a,", ",a", "a,,b", "a/", "/a", "a//b", "a(", "a()", "a(b", "a)", "a(b))", "(a)",
        "a(b)c", "a(b)/c", "a(b)(c)", "a b", "a;b", "a[0]", "1a", "a=b", "a\0", "ä", "a/(b)", "x" * 70 + "(",
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_before_anything_runs(mask: str) -> None:
    """As BigQuery refuses it."""
    with pytest.raises(MalformedRequest, match=r"^Invalid field selection ") as caught:
        parse_mask(mask)
    assert (caught.value.reason, caught.value.field) == ("invalidParameter", "fields")
    assert len(caught.value.message) < 100


@given(st.text(alphabet="ab(),/.* ", max_size=40))
def test_any_text_is_a_mask_or_is_refused(text: str) -> None:
    """And what a mask leaves is part of the document."""
    try:
        mask = parse_mask(text)
    except MalformedRequest:
        return
    document = {"a": {"b": 1, "a": [{"b": 2}]}, "b": "x"}
    assert mask.applied_to(document).items() <= document.items() or set(mask.applied_to(document)) <= set(document)


def test_the_longest_mask_is_read_and_applied() -> None:
    """Five hundred levels are read; what is looked through is the document, which has few."""
    assert parse_mask("a(" * 499 + "a" + ")" * 499).applied_to({"a": {"a": 1}}) == {"a": {}}
    assert parse_mask("/".join("a" * 500)).applied_to({"a": {"b": 1}}) == {"a": {}}
