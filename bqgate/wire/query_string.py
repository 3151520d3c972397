"""Read a raw query string and take parameters out of it without touching the others.

Called by the gate (formats it cannot parse, upload protocols) and by the bigquery room (credentials in the URL, which
are BigQuery's system parameters access_token, oauth_token and key:
https://cloud.google.com/apis/docs/system-parameters). What stays goes out with the percent-encoding it came with.
"""

from collections.abc import Collection
from urllib.parse import unquote_plus


def split_query(query: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a query string, decoded, in their order."""
    return tuple(_decoded(pair) for pair in query.split("&") if pair)


def values_of(query: str, name: str) -> tuple[str, ...]:
    """Every value that a parameter has, in order; its name in the given case."""
    return tuple(value for key, value in split_query(query) if key == name)


def without_parameters(query: str, names: Collection[str]) -> str:
    """The same query string without some parameters, whose names are given in lower case."""
    return "&".join(pair for pair in query.split("&") if _decoded(pair)[0].lower() not in names)


def _decoded(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    return unquote_plus(name), unquote_plus(value)
