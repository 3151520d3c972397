"""Judge the names in a query's text against a scope, where the dry run may not tell them.

Called by queries.py and resources.py. Pure; refuses by AccessDenied. A name of three parts begins with a project, one
of two with a dataset of the job's project; a name of one part lies in the default dataset, which was judged with the
request. What may as well be a column of a table's alias is read as a table: the text is asked only where a wrong no
costs little.
"""

import re
from collections.abc import Sequence

from bqgate.domain.data_scope import DataScope
from bqgate.gate.isolation.denials import table_denied, use_denied
from bqgate.gate.isolation.sql_text import METADATA, Path, SqlText

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
_NAMESPACES = frozenset({"AEAD", "AI", "HLL_COUNT", "KEYS", "KLL_QUANTILES", "ML", "NET", "SAFE"})
_CONNECTION_ARGUMENTS = frozenset({"CONNECTION", "CONNECTION_ID"})
_DATASET_ID = re.compile(r"[A-Za-z0-9_]+")
# Shorter names are aliases: project ids have at least six characters, old ones a few less, and no capitals or "_".
_PROJECT_ID = re.compile(r"[a-z][a-z0-9.:-]{3,}")
_VERBS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"})
_AFTER_VERB = frozenset({"INTO", "FROM", "TABLE"})
_GCS = re.compile(r"gs:[^\s'\"`,\])]*", re.IGNORECASE)


def check_hidden_names(sql: SqlText, scope: DataScope, projects: Sequence[str]) -> None:
    """Return when the text hides no name, and reads metadata and models, and calls routines, of the scope only.

    Args:
        sql: the text.
        scope: what is within reach.
        projects: where names without a project may lie.

    Raises:
        AccessDenied: it does, or cannot be understood where it must be.
    """
    if sql.has_escaped_name:
        raise use_denied("A backslash in a quoted name")
    mentions = len(METADATA.findall(sql.text))
    if mentions != sum(_is_own_metadata(path, scope, projects) for path in sql.paths) or (
        mentions and not sql.is_sound
    ):
        raise use_denied(
            "INFORMATION_SCHEMA (and __TABLES__) without a dataset of your own before it, as in "
            "`project.dataset.INFORMATION_SCHEMA.TABLES`,"
        )
    for path in sql.paths:
        if path.word == "CONNECTION" and path.before == "WITH":
            raise use_denied("WITH CONNECTION")
        is_argument = path.word in _CONNECTION_ARGUMENTS and path.after == "=>"
        if is_argument or (path.parts[0].upper() == "OBJ" and path.is_called):
            raise use_denied("A connection")
        is_foreign_call = path.is_called and not _is_built_in(path) and _is_foreign(path, scope, projects)
        is_foreign_model = path.before in {"MODEL", "GRAPH"} and _is_foreign(path, scope, projects)
        if is_foreign_call or is_foreign_model:
            raise table_denied(_name_of(path, projects))


def check_all_names(sql: SqlText, scope: DataScope, projects: Sequence[str], *, until: str = "") -> None:
    """Return when every name that may be a table's lies in the scope.

    Args:
        sql: the text.
        scope: what is within reach.
        projects: where names without a project may lie.
        until: only names before this keyword.

    Raises:
        AccessDenied: a name may lie elsewhere, or the text cannot be understood.
    """
    if not sql.is_sound:
        raise use_denied("A statement that bqgate cannot read to its end")
    for path in sql.paths:
        if until and path.word == until:
            return
        if not _is_built_in(path) and _is_foreign(path, scope, projects):
            raise table_denied(_name_of(path, projects))


def check_dataset_name(sql: SqlText, scope: DataScope, projects: Sequence[str]) -> None:
    """The same for CREATE, ALTER and DROP SCHEMA, whose names are of datasets: `project.dataset` or `dataset`.

    Raises:
        AccessDenied: it may lie elsewhere.
    """
    check_all_names(sql, scope, projects)
    for path in sql.paths:
        is_named = len(path.parts) == 2 and path.before in {"SCHEMA", "EXISTS", "DATABASE"}
        if is_named and not scope.allows_dataset(*path.parts):
            raise table_denied(".".join(path.parts))


def check_files(sql: SqlText, scope: DataScope) -> None:
    """Return when every Cloud Storage address in the text is in scope.

    Raises:
        AccessDenied: one is not.
    """
    for uri in _GCS.findall(sql.text):
        if not scope.allows_uri(uri):
            raise use_denied("A file of Cloud Storage that customers.<name>.data does not list")


def written_name(sql: SqlText, projects: Sequence[str]) -> str | None:
    """What INSERT, UPDATE, DELETE, MERGE or TRUNCATE writes, as its text says; None where it does not say it first.

    A name of one part lies in the default dataset and is told as the empty text.
    """
    paths = iter(sql.paths)
    verb = next(paths, None)
    if not sql.is_sound or verb is None or verb.word not in _VERBS or verb.before:
        return None
    target = next((path for path in paths if path.word not in _AFTER_VERB), None)
    if target is None:
        return None
    return _name_of(target, projects) if len(target.parts) > 1 else ""


def _is_foreign(path: Path, scope: DataScope, projects: Sequence[str]) -> bool:
    first, *rest = path.parts
    if not rest:
        return False
    if path.has_project or len(rest) > 1:
        if scope.allows_dataset(first, rest[0]):
            return False
        if path.has_project or path.is_quoted or _PROJECT_ID.fullmatch(first.lower()):
            return True
    return not all(scope.allows_dataset(project, first) for project in projects)


def _is_built_in(path: Path) -> bool:
    return path.is_called and not path.is_quoted and path.parts[0].upper() in _NAMESPACES and len(path.parts) < 4


def _is_own_metadata(path: Path, scope: DataScope, projects: Sequence[str]) -> bool:
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
    is_own = _DATASET_ID.fullmatch(dataset) is not None and all(scope.allows_dataset(one, dataset) for one in owners)
    return is_one_view and is_own


def _name_of(path: Path, projects: Sequence[str]) -> str:
    """The dotted name that the text most likely means."""
    return ".".join(path.parts if len(path.parts) > 2 or path.has_project else (projects[0], *path.parts))
