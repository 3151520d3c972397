"""Say of a name in a query's text, or in a message of BigQuery's, whether it may lie out of a customer's scope.

Called by text_verdict.py and queries.py. Pure. A name of three parts begins with a project, one of two with a dataset
of the job's project; a name of one part lies in the default dataset, which was judged with the request. What may as
well be a column of a table's alias is read as a table: the text is asked only where a wrong no costs little.
"""

import re
from collections.abc import Sequence

from bqgate.domain.data_scope import DataScope
from bqgate.gate.isolation.options import foreign_file, foreign_resource
from bqgate.wire.sql_names import Path

# Names that show metadata: of a dataset where one stands before them, else of a whole project or region.
METADATA = re.compile(r"information_schema|__(?:tables|partitions|datasets|schemas)\w*", re.IGNORECASE)

# Views of a dataset. Those of a project or region show what all customers do there.
_DATASET_VIEWS = frozenset(
    {
        *("TABLES", "TABLE_OPTIONS", "TABLE_CONSTRAINTS", "TABLE_SNAPSHOTS", "VIEWS", "MATERIALIZED_VIEWS"),
        *("COLUMNS", "COLUMN_FIELD_PATHS", "KEY_COLUMN_USAGE", "CONSTRAINT_COLUMN_USAGE", "PARTITIONS"),
        *("ROUTINES", "ROUTINE_OPTIONS", "PARAMETERS", "SEARCH_INDEXES", "SEARCH_INDEX_COLUMNS"),
        *("VECTOR_INDEXES", "VECTOR_INDEX_COLUMNS", "VECTOR_INDEX_OPTIONS"),
    }
)
# Built-in functions live below these names, which are no datasets.
_NAMESPACES = frozenset({"AEAD", "AI", "HLL_COUNT", "KEYS", "KLL_QUANTILES", "ML", "NET"})
_DATASET_ID = re.compile(r"[A-Za-z0-9_]+")
# Shorter names are aliases: project ids have at least six characters, old ones a few less, and no capitals or "_";
# BigQuery also takes the project's number.
_PROJECT_ID = re.compile(r"[a-z][a-z0-9.:-]{3,}|[0-9]{6,}")
# What may be a name in a message of BigQuery's: project:dataset, project:dataset.table, project.dataset.table.
_MAY_BE_NAME = re.compile(r"[\w.:$*@-]++")
_ADDRESS = re.compile(r"https?://\S++")
_WITHOUT_QUOTES = str.maketrans(dict.fromkeys("'\"`"))


def is_foreign(path: Path, scope: DataScope, projects: Sequence[str]) -> bool:
    """Whether a name lies, or may lie, out of scope; one of a single part lies in the default dataset."""
    first, *rest = _named_parts(path)
    if not rest:
        return False
    if path.has_project or len(rest) > 1:
        if scope.allows_dataset(first, rest[0]):
            return False
        if path.has_project or path.is_one_quote or _PROJECT_ID.fullmatch(first.lower()):
            return True
    return not all(scope.allows_dataset(project, first) for project in projects)


def is_own_metadata(path: Path, scope: DataScope, projects: Sequence[str]) -> bool:
    """Whether a name is that of one view of metadata, behind a dataset of the scope."""
    at = next((number for number, part in enumerate(path.parts) if METADATA.fullmatch(part)), None)
    if at not in {1, 2} or not path.is_whole or path.has_project or path.before not in {"FROM", "JOIN", ","}:
        return False
    if path.parts[at].upper() == "INFORMATION_SCHEMA":
        is_one_view = len(path.parts) == at + 2 and path.parts[-1].upper() in _DATASET_VIEWS
    else:
        is_one_view = len(path.parts) == at + 1
    dataset = path.parts[at - 1]
    owners = projects if at == 1 else path.parts[:1]
    is_plain = _DATASET_ID.fullmatch(dataset) is not None
    return is_one_view and is_plain and all(scope.allows_dataset(one, dataset) for one in owners)


def name_of(path: Path, projects: Sequence[str]) -> str:
    """The dotted name that the text most likely means."""
    parts = _named_parts(path)
    return ".".join(parts if len(parts) > 2 or path.has_project else (projects[0], *parts))


def is_built_in(path: Path) -> bool:
    """Whether a call is of a function of BigQuery's own."""
    if not path.is_called or path.is_one_quote:
        return False
    if "-" in path.parts[0] and (path.is_quoted or len(path.parts) > 2):
        return False  # no minus but a project's dash, or it may be
    namespace = path.function[:-1]
    return not namespace or (len(namespace) == 1 and namespace[0] in _NAMESPACES)


def _named_parts(path: Path) -> tuple[str, ...]:
    """The parts that name something: SAFE before a function is none (SAFE.dataset.f)."""
    is_safe = path.is_called and not path.is_one_quote and path.parts[0].upper() == "SAFE"
    return path.parts[1:] if is_safe and len(path.parts) > 1 else path.parts


def names_others(message: str, scope: DataScope) -> bool:
    """Whether a message of BigQuery's names a dataset, something in one, a file or a resource that is not in scope."""
    if (
        foreign_resource(message, scope) is not None
        or foreign_file(message.replace("/gs/", "gs://"), scope) is not None
    ):
        return True
    for found in _MAY_BE_NAME.findall(_ADDRESS.sub(" ", message).translate(_WITHOUT_QUOTES)):
        domain, colon, rest = found.strip(".:").rpartition(":")
        project, *below = [domain, *rest.split(".")] if colon else rest.split(".")
        is_name = (bool(below) if colon else len(below) > 1) and _PROJECT_ID.fullmatch(project.lower()) is not None
        if is_name and not scope.allows_dataset(project, below[0]):
            return True
    return False
