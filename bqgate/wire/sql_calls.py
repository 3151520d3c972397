"""Find in a query's text what calls another system, where neither a dry run nor a cap bounds the cost.

Used where a dry run is read. Strings and comments are taken out by GoogleSQL's lexical rules
(https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical), so that words in them cost nothing, in a time
that grows with the length alone. A text that cannot be read for sure (an end is missing, a quoted name has escapes, a
line ends as only some readers see it) is searched as it stands, on the safe side. Pure.

What no text shows: calls inside views, table functions, stored procedures and remote functions; a dry run at best says
that it names some.
"""

import re

# Why a cost is unknown. BigQuery bills what EXTERNAL_QUERY returns and enforces no cap
# (https://cloud.google.com/bigquery/docs/federated-queries-intro); functions of ML and AI may call models elsewhere,
# which are billed beside the bytes (https://cloud.google.com/bigquery/docs/bqml-introduction).
FEDERATED = "federated"
REMOTE = "remote"

# BigQuery takes a query of 1 MiB at most (https://cloud.google.com/bigquery/quotas#query_jobs).
_CHARS_MAX = 2**21
# What is to be taken out; the groups are kept: the inside of a quoted name, and the beginning of what has no end.
# Nothing is tried twice (possessive quantifiers), and what has no end is passed over to where it stops.
_SINGLE, _DOUBLE = r"(?:[^'\\\r\n]|\\.)*+", r'(?:[^"\\\r\n]|\\.)*+'
_SINGLE_TRIPLE, _DOUBLE_TRIPLE = r"(?:[^'\\]|\\.|'(?!''))*+", r'(?:[^"\\]|\\.|"(?!""))*+'
_HIDDEN = re.compile(
    rf"""'''{_SINGLE_TRIPLE}'''|('''){_SINGLE_TRIPLE}|'{_SINGLE}'|('){_SINGLE}"""
    rf'''|"""{_DOUBLE_TRIPLE}"""|("""){_DOUBLE_TRIPLE}|"{_DOUBLE}"|("){_DOUBLE}'''
    r"|`([^`\\\r\n]*)`|(?:\#|--)[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/|(/\*)(?:[^*]|\*(?!/))*+",
    re.DOTALL,
)
_KEPT = r" \1\2\3\4\5\6 "
_UNREAD = re.compile(r"""['"`]|/\*""")
_LONE_RETURN = re.compile(r"\r(?!\n)")
_FEDERATED_CALL = re.compile(r"\bexternal_query\s*\(", re.IGNORECASE)
# With SAFE before it, and in parentheses where it is chained to its first argument: x.(AI.SCORE)().
_REMOTE_CALL = re.compile(r"(?<![\w.])(?:safe\s*\.\s*)?(?:ai|ml)\s*\.\s*\w+\s*(?:\)\s*)?\(", re.IGNORECASE)
_FEDERATED_WORD = re.compile(r"external_query", re.IGNORECASE)
_REMOTE_WORD = re.compile(r"\b(?:ai|ml)\b", re.IGNORECASE)
_ESCAPED_NAME = re.compile(r"`[^`]*\\")


def unbounded_calls(sql: str) -> str | None:
    """Why a query's bytes bound nothing: FEDERATED, REMOTE, or None where its text shows no such call."""
    is_federated = _FEDERATED_WORD.search(sql) is not None or _ESCAPED_NAME.search(sql) is not None
    is_remote = _REMOTE_WORD.search(sql) is not None
    if not is_federated and not is_remote:
        return None
    if len(sql) <= _CHARS_MAX and _LONE_RETURN.search(sql) is None:
        code = _HIDDEN.sub(_KEPT, sql)
        if _UNREAD.search(code) is None:
            is_federated = _FEDERATED_CALL.search(code) is not None
            is_remote = _REMOTE_CALL.search(code) is not None
    if is_federated:
        return FEDERATED
    return REMOTE if is_remote else None
