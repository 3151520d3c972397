"""Judge the named arguments of calls: connections, endpoints and models' parameters must lead to nobody else.

Called by text_verdict.py for every item of a text. What names a model elsewhere must be a plain string, of which it is
clear where it leads; expressions and query parameters may come to anything
(https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-ai-generate). Pure.
"""

import re

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied
from bqgate.gate.isolation.denials import use_denied
from bqgate.gate.isolation.options import foreign_file, foreign_resource
from bqgate.wire.sql_names import Path
from bqgate.wire.sql_text import Kind, Token, value_of

_CONNECTIONS = frozenset({"CONNECTION", "CONNECTION_ID"})
_ENDPOINT, _PARAMETERS = "ENDPOINT", "MODEL_PARAMS"
# By these JSON hides letters of a name.
_JSON_ESCAPE = re.compile(r"\\[u/]")


class ArgumentsReading:
    """Follows one text, and says where a named argument leads out of the scope."""

    def __init__(self, scope: DataScope) -> None:
        self._scope = scope
        self._name = ""  # of the argument whose value is being read
        self._has_text = False

    def take(self, item: Path | Token) -> AccessDenied | None:
        """Go on with a name or a mark."""
        if isinstance(item, Path) and item.after == "=>":
            self._has_text = False
            self._name = item.name if item.name in {_ENDPOINT, _PARAMETERS} else ""
            return use_denied("A connection") if item.name in _CONNECTIONS else None
        if not self._name or (isinstance(item, Token) and item.text == "=>"):
            return None
        if isinstance(item, Token) and item.text in {",", ")"}:
            self._name = ""
            return None
        return self._endpoint(item) if self._name == _ENDPOINT else self._parameters(item)

    def _endpoint(self, item: Path | Token) -> AccessDenied | None:
        """A model elsewhere may be named by its short name only: a longer one tells in whose project it is."""
        value = self._plain_text(item)
        return use_denied("An endpoint that is no plain model's name") if value is None or "/" in value else None

    def _parameters(self, item: Path | Token) -> AccessDenied | None:
        """They may name caches, data stores and files."""
        if isinstance(item, Path) and item.word in {"JSON", "NULL"}:
            return None
        value = self._plain_text(item)
        if value is None or _JSON_ESCAPE.search(value) is not None:
            return use_denied("MODEL_PARAMS as anything but plain JSON")
        return foreign_resource(value, self._scope) or foreign_file(value, self._scope)

    def _plain_text(self, item: Path | Token) -> str | None:
        """What the one string of an argument says; None: it is something else, or not the only one."""
        if self._has_text or isinstance(item, Path) or item.kind != Kind.TEXT:
            return None
        self._has_text = True
        return value_of(item)
