"""The names of keys, and what is written in them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.budgets.keys import (
    ROWS,
    CustomerKeys,
    customer_of,
    escape,
    hold_record,
    placed_at_of,
    unescape,
    window_name,
    window_ttl_s,
)
from bqgate.domain.budget import Period, WindowId
from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import START


@given(st.text(st.characters(), min_size=1))
def test_any_id_comes_back_and_needs_no_braces(text: str) -> None:
    """Escaping loses nothing and leaves no brace, blank or glob that Redis or a record could take for its own."""
    written = escape(text)
    assert unescape(written) == text
    assert not set(written) & set("{} *?[]\n\\")
    assert written.isascii()


@given(st.text(st.characters(), min_size=1))
def test_all_keys_of_a_customer_share_one_hash_tag(text: str) -> None:
    """The text between the first { and the first } after it is the customer, whole, in each of its keys."""
    keys = CustomerKeys(text)
    for key in (keys.holds, keys.idempotency, keys.ended("{h}"), keys.window("day:2026-11-24")):
        assert key.split("{", 1)[1].split("}", 1)[0] == escape(text)
    assert customer_of(keys.holds) == text


def test_a_customer_without_a_name_is_a_bug() -> None:
    """An empty hash tag would be no hash tag."""
    with pytest.raises(AssertionError):
        CustomerKeys("")


def test_a_record_says_what_ending_the_hold_takes() -> None:
    """Amount, moment in microseconds, key or nothing, windows in a fixed order; a blank between them."""
    moment = START + timedelta(microseconds=7)
    hold = hold_on(windows_of(), "1.5", idempotency_key="job:p:a b", placed_at=moment)
    micros = 1795521600000007
    assert hold_record(hold) == f"1500000000 {micros} job:p:a%20b day:2026-11-24 month:2026-11"
    assert placed_at_of(hold_record(hold)) == moment
    assert hold_record(hold_on(windows_of(), "0")).startswith("0 1795521600000000  day:")


def test_a_parts_window_is_named_by_what_it_is_about() -> None:
    """Behind what it is about, whatever characters that has; the customer's own stays short."""
    scope = BudgetScope(ScopeKind.PRINCIPAL, "a:b {c}@d/e")
    assert window_name(WindowId(scope, Period.DAY, "2026-11-24")) == "principal/a%3Ab%20%7Bc%7D@d%2Fe:day:2026-11-24"
    assert window_name(windows_of()[0].id) == "day:2026-11-24"


def test_a_window_lives_past_its_end() -> None:
    """A day 3 days, a month 40 days after its end; one of long ago an hour from now."""
    day, month = windows_of()
    assert window_ttl_s(day, START) == 12 * 3600 + 3 * 86400
    assert window_ttl_s(month, START) == 6 * 86400 + 12 * 3600 + 40 * 86400
    assert window_ttl_s(day, START + timedelta(days=99)) == 3600


def test_every_row_of_the_table_is_told() -> None:
    """A row says who deletes its keys, and each pattern stands there once."""
    assert all(row.deleted_by for row in ROWS)
    assert len({row.pattern for row in ROWS}) == len(ROWS)
