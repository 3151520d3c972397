"""Read a query's text once and say what in it may lead out of a customer's scope.

Called by queries.py, before the dry run and after it: BigQuery's dry run is the word on what a query reads, and the
text is asked where that word may be missing. Nothing of the text is kept, however long it is: what comes out are
verdicts. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied
from bqgate.gate.isolation.arguments import ArgumentsReading
from bqgate.gate.isolation.denials import table_denied, use_denied
from bqgate.gate.isolation.names import METADATA, is_built_in, is_foreign, is_own_metadata, name_of
from bqgate.gate.isolation.options import OptionsReading, foreign_file
from bqgate.wire.sql_names import Path, names_and_marks
from bqgate.wire.sql_text import Kind, Token, odd_character, value_of

# Those of KEYS that use no key of Cloud KMS
# (https://cloud.google.com/bigquery/docs/reference/standard-sql/aead_encryption_functions).
_KEY_FUNCTIONS = frozenset(
    {"ADD_KEY_FROM_RAW_BYTES", "KEYSET_FROM_JSON", "KEYSET_LENGTH", "KEYSET_TO_JSON", "NEW_KEYSET", "ROTATE_KEYSET"}
)
# Languages of routines whose code reaches out of BigQuery; the REST side refuses them as well.
_LANGUAGES = frozenset({"JAVA", "PYTHON", "SCALA"})
_VERBS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"})
_AFTER_VERB = frozenset({"INTO", "FROM", "TABLE"})
# What legacy SQL may read otherwise: it has no strings in three quotes, and comments of its own.
_QUOTES_AND_COMMENTS = str.maketrans(dict.fromkeys("'\"`\\#/*", " "))


@dataclass(frozen=True, slots=True)
class TextVerdict:
    """What a query's text says of what it touches; None is a good word.

    `forbidden`: why the query may not even be asked about: it cannot be read as BigQuery reads it, hides a name, or
    uses what leads past the scope. `names`: the first name that may be a table's out of scope; `names_before_as`: the
    same before the keyword AS; `dataset_names`: the same where names are of datasets, as in CREATE SCHEMA. `files`: a
    file of Cloud Storage out of scope, anywhere in the text. `written`: what INSERT, UPDATE, DELETE, MERGE or TRUNCATE
    writes; None where the text does not say it first, empty where it is a name of one part, in the default dataset.
    """

    forbidden: AccessDenied | None = None
    names: AccessDenied | None = None
    names_before_as: AccessDenied | None = None
    dataset_names: AccessDenied | None = None
    files: AccessDenied | None = None
    written: str | None = None


def judge_text(sql: str, scope: DataScope, projects: Sequence[str], *, may_be_legacy: bool = False) -> TextVerdict:
    """Read a text once, against a scope.

    Args:
        sql: the text.
        scope: what is within reach.
        projects: where names without a project may lie.
        may_be_legacy: the text may be legacy SQL, which has other strings and comments: what is in them counts as well.
    """
    odd = odd_character(sql)
    if odd is not None:
        return TextVerdict(forbidden=use_denied(f"The character {_shown(sql, odd)}, outside of quotes,"))
    reading = _Reading(scope, tuple(projects))
    for item in names_and_marks(sql):
        reading.take(item)
        if reading.forbidden is not None:
            return TextVerdict(forbidden=reading.forbidden)
    verdict = reading.verdict()
    if not may_be_legacy:
        return verdict
    bare = judge_text(sql.replace("--", "  ").translate(_QUOTES_AND_COMMENTS), scope, projects)
    forbidden = verdict.forbidden or (bare.forbidden if METADATA.search(sql) else None)
    return replace(verdict, forbidden=forbidden, names=verdict.names or bare.forbidden or bare.names)


class _Reading:
    """The verdicts so far, and what the items before the next one were."""

    def __init__(self, scope: DataScope, projects: tuple[str, ...]) -> None:
        self.forbidden: AccessDenied | None = None
        self._scope = scope
        self._projects = projects
        self._options = OptionsReading(scope)
        self._arguments = ArgumentsReading(scope)
        self._names: AccessDenied | None = None
        self._names_before_as: AccessDenied | None = None
        self._dataset_names: AccessDenied | None = None
        self._files: AccessDenied | None = None
        self._is_before_as = True
        self._depth = 0  # of parentheses
        self._last: tuple[str, str] = ("", "")  # what the two items before were
        self._reads_files = False  # whatever a string or a column names: a function of AI may
        self._item_count = 0
        self._is_written_next = False
        self._written: str | None = None

    def verdict(self) -> TextVerdict:
        return TextVerdict(
            forbidden=self._files if self._reads_files else None,
            names=self._names,
            names_before_as=self._names_before_as,
            dataset_names=self._dataset_names,
            files=self._files,
            written=self._written,
        )

    def take(self, item: Path | Token) -> None:
        """Go on with a name or a mark."""
        self.forbidden = self.forbidden or self._options.take(item) or self._arguments.take(item)
        if isinstance(item, Path):
            self.forbidden = self.forbidden or self._forbidden(item)
            self._take_name(item)
            self._take_written(item)
        elif item.kind == Kind.FAULT:
            self.forbidden = self.forbidden or use_denied("A statement that bqgate cannot read to its end")
        elif item.kind == Kind.TEXT:
            self._files = self._files or foreign_file(value_of(item) or item.text, self._scope)
        else:
            self._depth += (item.text == "(") - (item.text == ")")
        self._last = (self._last[1], item.word if isinstance(item, Path) else item.text)
        self._item_count += 1

    def _forbidden(self, path: Path) -> AccessDenied | None:
        """What may be no part of any query."""
        if path.has_escape:
            return use_denied("A backslash in a quoted name")
        if path.name == "CONNECTION" and path.before == "WITH":
            return use_denied("WITH CONNECTION")
        if path.name in _LANGUAGES and self._last[1] == "LANGUAGE":
            return use_denied(f"A routine in {path.name}")
        if path.is_called:
            namespace, called = path.function[0], path.function[-1]
            if namespace == "OBJ" or called == "EXTERNAL_QUERY":
                return use_denied("A connection")
            if namespace == "KEYS" and called not in _KEY_FUNCTIONS:
                return use_denied("A key of Cloud KMS")
            is_reading = namespace == "AI" or (namespace == "ML" and called.startswith("GENERATE_"))
            self._reads_files = self._reads_files or is_reading
        if any(METADATA.search(part) for part in path.parts) and not is_own_metadata(path, self._scope, self._projects):
            return use_denied(
                "INFORMATION_SCHEMA (and __TABLES__) without a dataset of your own before it, as in "
                "`project.dataset.INFORMATION_SCHEMA.TABLES`,"
            )
        is_foreign_call = path.is_called and not is_built_in(path) and is_foreign(path, self._scope, self._projects)
        is_model = path.before in {"MODEL", "GRAPH"} or self._last == ("GRAPH_TABLE", "(")
        is_foreign_model = is_model and is_foreign(path, self._scope, self._projects)
        return table_denied(name_of(path, self._projects)) if is_foreign_call or is_foreign_model else None

    def _take_name(self, path: Path) -> None:
        if path.word == "AS" and not self._depth:  # CAST(a AS b) within a column's default is none
            self._is_before_as = False
        is_of_dataset = len(path.parts) < 3 and path.before in {"SCHEMA", "EXISTS", "DATABASE"} and path.word != "IF"
        if self._dataset_names is None and is_of_dataset:
            names = [path.parts] if len(path.parts) == 2 else [(project, *path.parts) for project in self._projects]
            foreign = next((name for name in names if not self._scope.allows_dataset(*name)), None)
            self._dataset_names = None if foreign is None else table_denied(".".join(foreign))
        is_found = self._names is not None and self._dataset_names is not None
        if not is_found and not is_built_in(path) and is_foreign(path, self._scope, self._projects):
            denied = table_denied(name_of(path, self._projects))
            self._names = self._names or denied
            if self._is_before_as:
                self._names_before_as = self._names_before_as or denied
            if not is_of_dataset:
                self._dataset_names = self._dataset_names or denied

    def _take_written(self, path: Path) -> None:
        """The name behind the verb that the statement begins with."""
        if self._item_count == 0:
            self._is_written_next = path.word in _VERBS
        elif self._is_written_next and path.word not in _AFTER_VERB:
            self._written = name_of(path, self._projects) if len(path.parts) > 1 else ""
            self._is_written_next = False


def _shown(sql: str, at: int) -> str:
    """A character and where it stands, as BigQuery counts lines and columns."""
    line_start = sql.rfind("\n", 0, at) + 1
    return f"U+{ord(sql[at]):04X} at [{sql.count(chr(10), 0, at) + 1}:{at - line_start + 1}]"
