"""Read the text of a submitted query: find it, bound it, and see what it may do.

Called by query_request.py as a part of reading the request, and by whoever must know beforehand how long that takes.
Pure.
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.sql_facts import SqlFacts
from bqgate.wire.fields import text_at
from bqgate.wire.job_labels import check_other_labels
from bqgate.wire.sql_facts import read_facts
from bqgate.wire.sql_text import check_length


def sql_in(document: Mapping[str, Any]) -> str:
    """The query's text in a submitted Job or QueryRequest that has not been read yet; empty where there is none.

    A document may have both places, of which one method reads the one and another the other: the longer text counts.
    """
    configuration = document.get("configuration")
    in_job = configuration.get("query") if isinstance(configuration, dict) else None
    sql = _text(document.get("query"))
    longer = _text(in_job.get("query")) if isinstance(in_job, dict) else ""
    return sql if len(sql) >= len(longer) else longer


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_query_text(query: Mapping[str, Any], path: str) -> tuple[str, SqlFacts]:
    """The query's text, and what it may do.

    Raises:
        MalformedRequest: there is none, it is longer than BigQuery takes it, or it sets one of the gate's labels.
    """
    sql = text_at(query, "query", path=path)
    if sql is None:
        raise MalformedRequest("Required parameter is missing: query", reason="required", field=f"{path}query")
    check_length(sql, is_legacy=query.get("useLegacySql") is True, field=f"{path}query")
    facts = read_facts(sql)
    check_other_labels(query, sql, facts, path=path)
    return sql, facts
