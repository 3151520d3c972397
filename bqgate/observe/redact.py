"""Take credentials and SQL out of what is about to be logged (invariant 10).

Called by logs.py as the last step before a line is rendered, on every field of every line, other libraries' included.
Two nets: a field whose name says that it holds a secret or SQL loses its value, and text that looks like a credential
is masked wherever it stands. What leaves are plain JSON values of bounded depth and length. Shapes: Bearer and Basic
(RFC 9110 section 11.6.2), Google's opaque tokens (ya29.), the gate's (bqg_), JWTs (RFC 7519), PEM keys, passwords in
URLs (RFC 3986).
"""

import re
from collections.abc import Mapping

MASK = "[masked]"

# A traceback of our own depth fits; a body that somebody logs by mistake does not.
TEXT_CHARS_MAX = 4_000
# Of a longer text no more is looked at: every shape below takes time by the length of what it is looked for in.
_LOOKED_AT_CHARS_MAX = 4 * TEXT_CHARS_MAX
_DEPTH_MAX = 6
_ITEMS_MAX = 50
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})

_SECRET_NAMES = frozenset(
    {
        *("authorization", "proxy_authorization", "www_authenticate", "cookie", "set_cookie"),
        *("token", "access_token", "refresh_token", "id_token", "assertion", "credential", "credentials"),
        *("password", "passwd", "secret", "client_secret", "private_key", "api_key", "key"),
        *("sql", "query", "query_text", "statement", "body", "parameters"),
    }
)

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\bya29\.[A-Za-z0-9._-]+"), MASK),
    # The gate's own static tokens; what comes before the secret names the key, as `bqgate keys list` shows it.
    (re.compile(r"(?<![A-Za-z0-9])(bqg_[0-9a-f]{16})_[A-Za-z0-9_-]+"), rf"\1_{MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){0,2}+"), MASK),
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), rf"\1:{MASK}@"),
    (
        re.compile(
            r"\b(access_token|refresh_token|id_token|token|assertion|client_secret|api_key|key|password)=[^\s&'\"]+",
            re.IGNORECASE,
        ),
        rf"\1={MASK}",
    ),
)

# One of these stands, in whatever case, in every text that one of the shapes fits.
_SIGNS = (
    *("private key-----", "bearer", "basic", "ya29.", "bqg_", "eyj", "://"),
    *("token=", "assertion=", "secret=", "key=", "password="),
)


def redact_text(text: str) -> str:
    """The text with everything masked that looks like a credential, cut to a bounded length."""
    length = len(text)
    if length <= TEXT_CHARS_MAX and _is_harmless(text):
        return text
    if length > _LOOKED_AT_CHARS_MAX:
        # Without the last word: cut in two, a password in a URL would not be known for one.
        text = text[:_LOOKED_AT_CHARS_MAX].rsplit(maxsplit=1)[0]
    for shape, masked in _SHAPES:
        text = shape.sub(masked, text)
    if length > _LOOKED_AT_CHARS_MAX or len(text) > TEXT_CHARS_MAX:
        return f"{text[:TEXT_CHARS_MAX]}… ({length} characters)"
    return text


def _is_harmless(text: str) -> bool:
    """Whether no shape fits, as a plain search shows, which is many times faster."""
    if not text.isascii():  # the shapes know more spellings of a letter than its two cases
        return False
    lower = text.lower()
    for sign in _SIGNS:  # noqa: SIM110 - any() over a generator takes thrice as long
        if sign in lower:
            return False
    return True


def redact_field(name: str, value: object, *, depth: int = 0) -> object:
    """One field of a line as it may be shown; nested names are looked at too."""
    if name.lower().replace("-", "_") in _SECRET_NAMES and value is not None:
        return MASK
    if type(value) is str:
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_ITEMS_MAX]
        return {redact_text(str(key)): redact_field(str(key), item, depth=depth + 1) for key, item in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        # The name of the list is the name of its items: headers are logged as pairs by some libraries.
        return [_redact_item(name, item, depth) for item in list(value)[:_ITEMS_MAX]]
    return redact_text(str(value))


def redact_line(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a line as they may be shown.

    Nearly every line is plain: short values, none of which needs a mask. That is seen at one look at all of them.
    """
    values = fields.values()
    names = "\n".join(fields)
    said = "\n".join([names, *[value for value in values if type(value) is str]])
    if (
        len(said) <= TEXT_CHARS_MAX
        and {type(value) for value in values} <= _PLAIN_TYPES
        and _SECRET_NAMES.isdisjoint(names.lower().replace("-", "_").split("\n"))
        and _is_harmless(said)
    ):
        return dict(fields)
    return {name: redact_field(name, value) for name, value in fields.items()}


def _redact_item(name: str, item: object, depth: int) -> object:
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str):
        return [redact_text(item[0]), redact_field(item[0], item[1], depth=depth + 1)]
    return redact_field(name, item, depth=depth + 1)
