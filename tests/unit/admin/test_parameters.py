"""Query parameters, whatever somebody writes: a plain value, or 400 with its name."""

import string
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st

from bqgate.admin.documents import write_moment
from bqgate.admin.guard import OWN_CUSTOMER
from bqgate.admin.parameters import Parameters
from bqgate.admin.problem import Problem

KNOWN = ("customer", "size", "since")
NAMES = st.sampled_from(KNOWN) | st.text(max_size=8)


def read(query: str, own: str | None = None) -> Parameters:
    """The parameters of a query."""
    request = make_mocked_request("GET", f"/?{query}")
    if own is not None:
        request[OWN_CUSTOMER] = own
    return Parameters(request, KNOWN)


@given(st.lists(st.tuples(NAMES, st.text(max_size=12)), max_size=4))
@example([("size", "٣")])
@example([("since", "2026-11-24T12:00:00Z ")])
@example([("access_token", "secret")])
def test_anything_is_read_or_refused_by_name(pairs: list[tuple[str, str]]) -> None:
    """Nothing else leaves, and no value of a refused one is repeated where it may be a token."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    refused: Problem | None = None
    try:
        parameters = read(query)
        parameters.customer()
        size = parameters.integer("size", default=7, at_least=1, at_most=9)
        moment = parameters.moment("since")
    except Problem as problem:
        refused = problem
    if refused is not None:
        assert (refused.status, refused.field is None) == (400, False)
    else:
        assert 1 <= size <= 9
        assert moment is None or moment.tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_that_was_written_is_read_again(moment: datetime) -> None:
    """To the microsecond."""
    assert read(f"since={quote(write_moment(moment))}").moment("since") == moment


@given(st.integers(), st.integers(-5, 20), st.integers(-5, 20))
def test_a_number_is_within_its_bounds_or_refused(number: int, low: int, high: int) -> None:
    """Only digits are a number."""
    try:
        assert read(f"size={number}").integer("size", default=0, at_least=low, at_most=high) == number
    except Problem:
        assert number < 0 or not low <= number <= high or number > 999_999_999
    else:
        assert low <= number <= high


@given(st.text(string.ascii_letters, min_size=1, max_size=9))
def test_who_is_bound_to_a_customer_gets_that_one_when_none_is_named(own: str) -> None:
    """And who is not gets all."""
    assert read("", own).customer() == own
    assert read("").customer() is None
