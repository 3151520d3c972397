"""Part a finished script into the jobs that BigQuery bills, each of a kind of its own.

Used by pricing; pure. The parent bears the sum of its statements' jobs
(https://cloud.google.com/bigquery/docs/information-schema-jobs), so what they do not explain is a part, too, of unknown
kind: a list of children may be short, and expressions that read tables are billed without a job that is listed.
"""

from collections.abc import Iterator
from dataclasses import replace

from bqgate.domain.job import Outcome, Usage
from bqgate.domain.statements import is_multi_statement


def billed_parts(usage: Usage) -> Iterator[Usage]:
    """The jobs that cost something under a name: itself, or a script's children and what they leave unexplained.

    A child that sums up others (a procedure's call) is left out: what it bears is listed beside it, or unexplained.
    """
    if usage.outcome in {Outcome.NEVER_RAN, Outcome.REFUSED}:
        return
    if not is_multi_statement(usage.statement_type) or usage.children is None:
        yield usage
        return
    single = [child for child in usage.children if not is_multi_statement(child.statement_type)]
    known_bytes = sum(child.bytes_billed or 0 for child in single)
    known_slot_ms = sum(child.slot_ms or 0 for child in single)
    for child in single:
        # What a child hides is in its parent's sum, where that is told.
        yield replace(
            child,
            bytes_billed=child.bytes_billed if usage.bytes_billed is None else child.bytes_billed or 0,
            slot_ms=child.slot_ms if usage.slot_ms is None else child.slot_ms or 0,
        )
    yield replace(
        usage,
        bytes_processed=0,
        bytes_billed=None if usage.bytes_billed is None else max(usage.bytes_billed - known_bytes, 0),
        slot_ms=None if usage.slot_ms is None else max(usage.slot_ms - known_slot_ms, 0),
        statement_type=None,
        children=None,
    )
