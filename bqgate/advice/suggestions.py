"""Turn what is known of a query and its tables into sentences for its sender, the one that saves most first.

Called by query_advisor; pure. Numbers come from dry runs only. No sentence contains "limit": after "exceeded" and
"rate" that word makes Java clients repeat the query (see gate.reply). Names that contain it are not quoted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bqgate.advice.query_shape import Condition, QueryShape, TableUse
from bqgate.domain.table import TableFacts
from bqgate.domain.units import GIB

SENTENCES_MAX = 2
_CHARS_MAX = 600
_FORBIDDEN = "limit"

# What a missing filter is tried with: what most dashboards look at.
RECENT = timedelta(days=7)
# The types that BigQuery compares with a day written as text.
_MOMENTS = frozenset({"DATE", "DATETIME", "TIMESTAMP"})
_LOAD_TIME = frozenset({"_partitiontime", "_partitiondate"})


@dataclass(frozen=True, slots=True)
class RewrittenQuery:
    """What the query would process with the conditions."""

    conditions: tuple[Condition, ...]
    bytes_before: int
    bytes_after: int


Facts = Mapping[tuple[str, ...], TableFacts]  # by the path as the query writes it


def unpruned(shape: QueryShape, facts: Facts) -> tuple[tuple[TableUse, str], ...]:
    """The mentions of partitioned tables that no filter prunes, each with the partition column."""
    found = []
    for use in shape.uses:
        column = facts[use.path].partition_column if use.path in facts else None
        if column is None:
            continue
        names = _LOAD_TIME if column in _LOAD_TIME else {column}
        if not names & use.pruning:
            found.append((use, column))
    return tuple(found)


def conditions_for(shape: QueryShape, facts: Facts, now: datetime) -> tuple[Condition, ...]:
    """A filter on the last days for each mention of a table whose partitions go by time and are not pruned."""
    first_day = (now - RECENT).date().isoformat()
    return tuple(
        Condition(use, column, first_day)
        for use, column in unpruned(shape, facts)
        if facts[use.path].partition_type in _MOMENTS
    )


def advice_for(shape: QueryShape, facts: Facts, rewritten: RewrittenQuery | None = None) -> str:
    """One or two sentences; empty where nothing stands out."""
    sentences = (*_partitions(shape, facts, rewritten), *_wildcards(shape), *_stars(shape))
    sentences += (*_clusters(shape, facts), *_unfiltered(shape, facts), *_crosses(shape), *_fewer_rows(shape))
    kept = [sentence for sentence in dict.fromkeys(sentences) if _FORBIDDEN not in sentence.lower()][:SENTENCES_MAX]
    while kept and sum(len(sentence) for sentence in kept) > _CHARS_MAX:
        kept.pop()
    return " ".join(kept)


def _partitions(shape: QueryShape, facts: Facts, rewritten: RewrittenQuery | None) -> tuple[str, ...]:
    missing = unpruned(shape, facts)
    if not missing:
        return ()
    if rewritten is not None:
        if rewritten.bytes_after >= rewritten.bytes_before:
            return ()  # BigQuery says that such a filter helps nothing
        by_use = {(condition.use, condition.column) for condition in rewritten.conditions}
        missing = tuple(each for each in missing if each in by_use)
    tables = " and ".join(dict.fromkeys(f"{use.name} (partitioned by {_shown(column)})" for use, column in missing))
    sentence = f"No filter prunes the partitions of {tables}"
    if any(column in use.wrapped for use, column in missing):
        sentence += "; compare the column itself with constants, not what a function makes of it"
    if rewritten is None:
        return (f"{sentence}.",)
    shown = " and ".join(
        dict.fromkeys(f"{_shown(condition.column)} >= '{condition.value}'" for condition in rewritten.conditions)
    )
    sizes = f"{_size(rewritten.bytes_after)} instead of {_size(rewritten.bytes_before)}"
    return (f"{sentence}: with {shown} it would process {sizes}.",)


def _wildcards(shape: QueryShape) -> tuple[str, ...]:
    return tuple(
        f"Filter {use.name} on _TABLE_SUFFIX, with constants, to read fewer tables."
        for use in shape.uses
        if use.is_wildcard and "_table_suffix" not in use.pruning
    )


def _stars(shape: QueryShape) -> tuple[str, ...]:
    if not shape.starred:
        return ()
    return (f"SELECT * reads every column of {' and '.join(shape.starred)}: select only the columns that you need.",)


def _clusters(shape: QueryShape, facts: Facts) -> tuple[str, ...]:
    found = []
    for use in shape.uses:
        clustering = facts[use.path].clustering if use.path in facts else ()
        if clustering and clustering[0] not in use.pruning:
            found.append(f"{use.name} is clustered by {clustering[0]}: a filter on that column reads fewer blocks.")
    return tuple(found)


def _unfiltered(shape: QueryShape, facts: Facts) -> tuple[str, ...]:
    """Tables of which nobody asked what they are, and of which the query wants every row."""
    return tuple(
        f"{use.name} is read without a filter: if it is partitioned, filter on the partition column."
        for use in shape.uses
        if use.path not in facts and not use.is_wildcard and not use.pruning and not use.wrapped
    )


def _crosses(shape: QueryShape) -> tuple[str, ...]:
    return tuple(
        f"{before} and {table} are joined without a condition, which multiplies rows and slot time."
        for before, table in shape.crossed
    )


def _fewer_rows(shape: QueryShape) -> tuple[str, ...]:
    if not shape.has_limit:
        return ()
    return ("Asking for fewer rows does not make it cheaper: BigQuery bills what it reads, not what it returns.",)


def _shown(column: str) -> str:
    """BigQuery's own columns are written in capitals."""
    return column.upper() if column in _LOAD_TIME else column


def _size(size_bytes: int) -> str:
    tenths = -(-size_bytes * 10 // GIB)
    return f"{tenths // 10}.{tenths % 10} GiB"
