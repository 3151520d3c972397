"""Say in a few words why Google gave no token: what its answer calls the error, or why there was no answer.

Called by token_source.py and impersonation.py. Of Google's answers only the word that names the error leaves
(invalid_grant, PERMISSION_DENIED), because their texts may quote what was sent. Format: RFC 6749 section 5.2, and
https://cloud.google.com/apis/design/errors for IAM.
"""

import re
from typing import Any

from bqgate.wire.json_text import read_answer

_WORD = re.compile(r"[A-Za-z_]{1,64}")
# What requests and urllib3 call it.
_NO_ANSWER = {
    "NameResolutionError": "DNS does not know its name",
    "NewConnectionError": "no connection",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "ReadTimeout": "no answer in time",
    "SSLError": "TLS failed",
}


def cause_of_failure(error: Exception) -> str:
    """The cause, as it stands in brackets behind a sentence."""
    for part in error.args[1:]:
        word = _word_in(part)
        if word is not None:
            return word
    inner = error.__cause__ or error
    reason = getattr(inner.args[0], "reason", None) if inner.args else None
    name = type(reason or inner).__name__
    return _NO_ANSWER.get(name, name)


def _word_in(answer: Any) -> str | None:
    """The name of the error in an answer of the token endpoint or of IAM; None: it is not one."""
    if isinstance(answer, str):
        answer = read_answer(answer)
    error = answer.get("error") if isinstance(answer, dict) else None
    word = error.get("status") if isinstance(error, dict) else error
    return word if isinstance(word, str) and _WORD.fullmatch(word) else None
