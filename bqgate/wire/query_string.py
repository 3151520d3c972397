"""Read a raw query string and take parameters out of it without touching the others.

Called by the gate (formats it cannot parse, upload protocols) and by the bigquery room (credentials in the URL, which
are BigQuery's system parameters access_token, oauth_token and key:
https://cloud.google.com/apis/docs/system-parameters). What stays goes out with the percent-encoding it came with.
"""

from collections.abc import Collection
from urllib.parse import unquote_plus

from bqgate.domain.errors import MalformedRequest

PLAIN_JSON = "alt=json"
# Google reads these with a dollar before them as well, which is how generated clients write them.
_SYSTEM_PARAMETERS = frozenset({"alt", "fields", "prettyPrint"})
# No method of BigQuery's has more than some twenty; every step of a call reads all of them.
PARAMETERS_MAX = 200
_JSON_FORMATS = frozenset({"json", "json;enum-encoding=int", "json;enum-encoding=string"})


def split_query(query: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a query string, decoded, in their order.

    Raises:
        MalformedRequest: there are more than PARAMETERS_MAX.
    """
    return tuple(_decoded(pair) for pair in _pairs(query) if pair)


def values_of(query: str, name: str) -> tuple[str, ...]:
    """Every value that a parameter has, in order; its name in the given case."""
    if name not in query and "%" not in query:
        return ()
    return tuple(value for key, value in split_query(query) if key == name)


def without_parameters(query: str, names: Collection[str]) -> str:
    """The same query string without some parameters, whose names are given in lower case."""
    if not _may_have(query, names):
        return query
    return "&".join([pair for pair in _pairs(query) if _decoded(pair)[0].lower() not in names])


def values_of_any(query: str, names: Collection[str]) -> list[str]:
    """Every value of some parameters, whose names are given in lower case and count in whatever case."""
    return [value for name, value in split_query(query) if name.lower() in names] if _may_have(query, names) else []


def _may_have(query: str, names: Collection[str]) -> bool:
    """Whether any of these names may be in a query string, whose names need not be decoded to tell."""
    lower = query.lower()
    for name in ("%", *names):  # noqa: SIM110 - any() over a generator takes thrice as long
        if name in lower:
            return True
    return False


def with_plain_names(query: str) -> str:
    """The same query string with $alt, $fields and $prettyPrint under their plain names, each at most once.

    Raises:
        MalformedRequest: one of them is given twice, with two values: nothing says which of them Google takes.
    """
    seen: dict[str, str] = {}
    pairs: list[str] = []
    for pair in _pairs(query):
        name, value = _decoded(pair)
        plain = name.removeprefix("$")
        if plain not in _SYSTEM_PARAMETERS:
            pairs.append(pair)
        elif plain not in seen:
            seen[plain] = value
            _, equals, encoded = pair.partition("=")
            pairs.append(f"{plain}{equals}{encoded}")
        elif seen[plain] != value:
            raise MalformedRequest(f"{plain} is given twice, with different values.", field=plain)
    return "&".join(pairs)


def is_json(alt: str) -> bool:
    """Whether a value of `alt` asks for JSON; its enums may be names or numbers."""
    return alt in _JSON_FORMATS


def _pairs(query: str) -> list[str]:
    if query.count("&") > PARAMETERS_MAX:
        raise MalformedRequest(f"The URL has more than {PARAMETERS_MAX} parameters.", reason="badRequest")
    return query.split("&")


def _decoded(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    if "%" in pair or "+" in pair:
        return unquote_plus(name), unquote_plus(value)
    return name, value
