"""Name the kinds of statements that BigQuery runs, and what a byte of each costs against a byte of a query.

Used by pricing and by wire.job_resource; pure. The names are those of statementType
(https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2). A kind that is not listed here is
unknown, because a new kind may have a price of its own.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

# 312.50 against 6.25 dollars per TiB. Google's own reconciliation query multiplies every CREATE_MODEL so
# (https://cloud.google.com/bigquery/docs/information-schema-jobs); models that are trained several times over bill
# the bytes of every training, which totalBytesBilled reports.
BYTES_FACTORS: Mapping[str, int] = MappingProxyType({"CREATE_MODEL": 50})

# Kinds whose jobs bear the sum of other jobs: each of their statements is a job of its own kind.
MULTI_STATEMENT = frozenset({"SCRIPT", "CALL", "EXECUTE_IMMEDIATE"})

_PLAIN = frozenset(
    {
        *("SELECT", "ASSERT", "EXPLAIN", "INSERT", "UPDATE", "DELETE", "MERGE"),
        *("EXPORT_DATA", "EXPORT_MODEL", "EXPORT_METADATA", "LOAD_DATA", "CREATE_TABLE_AS_SELECT"),
        *("CREATE_MATERIALIZED_VIEW", "CREATE_MATERIALIZED_VIEW_REPLICA", "CREATE_TABLE", "CREATE_EXTERNAL_TABLE"),
        *("CREATE_SNAPSHOT_TABLE", "CREATE_TABLE_CLONE", "CREATE_VIEW", "CREATE_SCHEMA", "CREATE_EXTERNAL_SCHEMA"),
        *("CREATE_FUNCTION", "CREATE_AGGREGATE_FUNCTION", "CREATE_TABLE_FUNCTION", "CREATE_PROCEDURE"),
        *("CREATE_ROW_ACCESS_POLICY", "CREATE_DATA_POLICY", "CREATE_SEARCH_INDEX", "CREATE_VECTOR_INDEX"),
        *("CREATE_CONNECTION", "CREATE_CAPACITY", "CREATE_RESERVATION", "CREATE_ASSIGNMENT", "CREATE_PROPERTY_GRAPH"),
    }
)
# Families of which no member reads rows.
_READS_NOTHING = re.compile(
    r"(?:ALTER|DROP|UNDROP|TRUNCATE|GRANT|REVOKE)(?:_[A-Z]+)*|(?:BEGIN|COMMIT|ROLLBACK)_TRANSACTION"
)
# What costs by the hour for as long as it stands, whoever uses it: no job reports it
# (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_capacity_statement).
_BUYS = re.compile(r"(?:CREATE|ALTER)_(?:CAPACITY|BI_CAPACITY|RESERVATION|ASSIGNMENT)")
# What is told of kinds is remembered for so many of them, which are more than there are.
_KINDS_MAX = 256
_READS = frozenset({"CREATE_TABLE_AS_SELECT", "CREATE_MATERIALIZED_VIEW", "CREATE_MODEL"})


def is_multi_statement(kind: str | None) -> bool:
    """Whether a job of this kind may run statements of other kinds."""
    return kind in MULTI_STATEMENT


@lru_cache(maxsize=_KINDS_MAX)
def is_known(kind: str | None) -> bool:
    """Whether it is known what this kind of statement is and costs."""
    return kind is not None and (
        kind in BYTES_FACTORS or kind in MULTI_STATEMENT or kind in _PLAIN or _READS_NOTHING.fullmatch(kind) is not None
    )


@lru_cache(maxsize=_KINDS_MAX)
def is_single(kind: str | None) -> bool:
    """Whether it is known that a query is one statement of one kind: no script, and nothing that may turn out one."""
    return is_known(kind) and not is_multi_statement(kind)


def may_be_cached(kind: str | None) -> bool:
    """Whether BigQuery may have the result in its cache: of a plain query only. All else runs, and bills.

    Source: https://cloud.google.com/bigquery/docs/cached-results.
    """
    return kind == "SELECT"


@lru_cache(maxsize=_KINDS_MAX)
def buys(kind: str | None) -> bool:
    """Whether it makes or changes what is paid for beside all jobs, so that a job's bytes and slots tell no cost."""
    return kind is not None and _BUYS.fullmatch(kind) is not None


@lru_cache(maxsize=_KINDS_MAX)
def reads_nothing(kind: str | None) -> bool:
    """Whether it is a definition that reads no rows and is never charged for bytes."""
    if kind is None or kind in _READS or not is_known(kind):
        return False
    return kind.startswith("CREATE_") or _READS_NOTHING.fullmatch(kind) is not None
