"""The text of a query, before the rest of its request is read."""

from typing import Any

import pytest

from bqgate.wire.query_text import sql_in


@pytest.mark.parametrize(
    ("document", "sql"),
    [
        ({"query": "SELECT 1"}, "SELECT 1"),
        ({"configuration": {"query": {"query": "SELECT 1"}}}, "SELECT 1"),
        ({"query": "SELECT 12345", "configuration": {}}, "SELECT 12345"),
        ({"query": "SELECT 12345", "configuration": {"query": {"query": "SELECT 1"}}}, "SELECT 12345"),
        ({"query": "SELECT 1", "configuration": {"query": {"query": "SELECT 12345"}}}, "SELECT 12345"),
        ({"query": 5, "configuration": {"query": "SELECT 1"}}, ""),
        ({"configuration": []}, ""),
        ({}, ""),
    ],
)
def test_the_longest_text_that_may_be_read_is_found(document: dict[str, Any], sql: str) -> None:
    """Whichever method the document is sent to: by its length it is known how long reading takes."""
    assert sql_in(document) == sql
