"""Judge the options of definitions: files, keys and other resources that they name must be the customer's.

Called by names.py for every item of a text. Values are compared as BigQuery reads them, their escapes read. What names
a file or a key must be a plain string or a list of such: BigQuery also takes expressions and parameters there
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language, "constant expression"), of
which nobody could say what they come to. Pure.
"""

import re

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied
from bqgate.gate.isolation.denials import uri_denied, use_denied
from bqgate.wire.sql_names import Path
from bqgate.wire.sql_text import Kind, Token, value_of

_FILES = frozenset(
    {
        *("LIBRARY", "MODEL_PATH", "URI", "URIS", "HIVE_PARTITION_URI_PREFIX", "REFERENCE_FILE_SCHEMA_URI"),
        *("MAIN_FILE_URI", "PY_FILE_URIS", "JAR_URIS", "FILE_URIS", "ARCHIVE_URIS", "STORAGE_URI"),
    }
)
_KEYS = frozenset({"KMS_KEY_NAME"})
_ASSIGNMENTS = frozenset({"=", "+=", "-="})
_PLAIN_MARKS = _ASSIGNMENTS | {"[", "]", ","}
_FILE = re.compile(r"gs:[^\s'\"`,\])]*", re.IGNORECASE)
_RESOURCE = re.compile(r"projects/([^/]*)", re.IGNORECASE)


class OptionsReading:
    """Follows one text, and says where an option within OPTIONS (...) leads out of the scope."""

    def __init__(self, scope: DataScope) -> None:
        self._scope = scope
        self._is_opening = False
        self._depth = 0  # of parentheses since OPTIONS
        self._brackets = 0
        self._option = ""  # whose value is being read
        self._is_behind_text = False

    def take(self, item: Path | Token) -> AccessDenied | None:
        """Go on with a name or a mark."""
        if not self._depth:
            self._depth = 1 if self._is_opening else 0  # this is the parenthesis
            self._is_opening = isinstance(item, Path) and item.word == "OPTIONS" and item.after == "("
            return None
        if isinstance(item, Path) and self._depth == 1 and item.after in _ASSIGNMENTS:
            self._option, self._is_behind_text = item.name, False
            return None
        if isinstance(item, Path) and self._depth == 1 and item.word == "FROM":
            return use_denied("OPTIONS (FROM …)")
        if isinstance(item, Token):
            self._count(item.text)
            if item.kind == Kind.TEXT:
                if self._is_behind_text:  # 'gs://in' '-another/x' is one string to BigQuery
                    return use_denied("A string made of several")
                self._is_behind_text = True
                return self._judge(item)
        self._is_behind_text = False
        must_be_plain = self._option in _FILES | _KEYS
        if must_be_plain and (isinstance(item, Path) or item.text not in _PLAIN_MARKS):
            return use_denied(f"The option {self._option.lower()} as anything but a plain string or a list of them")
        return None

    def _count(self, mark: str) -> None:
        """Keep track of where the value, and OPTIONS, end."""
        match mark:
            case "(":
                self._depth += 1
            case ")":
                self._depth -= 1
            case "[":
                self._brackets += 1
            case "]":
                self._brackets -= 1
        is_over = mark == "," and self._depth == 1 and not self._brackets
        if is_over or not self._depth:
            self._option, self._brackets = "", 0

    def _judge(self, text: Token) -> AccessDenied | None:
        value = value_of(text)
        if value is None:
            return use_denied("A string that bqgate cannot read")
        if self._option in _FILES and not self._scope.allows_uri(value):
            return uri_denied(value)
        if self._option in _KEYS and not self._scope.allows_key(value):
            return use_denied("A key of Cloud KMS of a project that is not yours")
        return foreign_resource(value, self._scope) or foreign_file(value, self._scope)


def foreign_resource(value: str, scope: DataScope) -> AccessDenied | None:
    """Why a string may not stand where resources are named by their full names."""
    for project in _RESOURCE.findall(value):
        if not scope.allows_project(project):
            return use_denied("A resource of a project that is not yours")
    return None


def foreign_file(value: str, scope: DataScope) -> AccessDenied | None:
    """Why a string may not stand where files are named; None: all that it names are in scope."""
    for uri in _FILE.findall(value):
        if not scope.allows_uri(uri):
            return use_denied("A file of Cloud Storage that customers.<name>.data does not list")
    return None
