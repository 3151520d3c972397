import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.breakers.tally import ACTIVE_S, FailureTally

LIMIT = 10


def tally_of(*customers: str, limit: int = LIMIT) -> FailureTally:
    """A tally of a system that these customers have just called."""
    made = FailureTally(limit)
    for customer in customers:
        made.note_call(customer, 0)
    return made


def fail(tally: FailureTally, customer: str, times: int, *, is_everybodys: bool = False) -> None:
    for _ in range(times):
        tally.fail(customer, is_everybodys=is_everybodys)


@pytest.mark.parametrize("active", [(), ("acme",), ("acme", "acme")])
def test_where_one_is_active_its_failures_count_as_they_come(active: tuple[str, ...]) -> None:
    """Nobody else can be hurt; calls of nobody's, as the gate's own, count too."""
    tally = tally_of(*active)
    fail(tally, "acme", LIMIT - 2)
    fail(tally, "", 1)
    assert not tally.is_enough(0)
    fail(tally, "", 1)
    assert tally.is_enough(0)


def test_one_of_several_is_never_enough() -> None:
    """Whatever one provokes, nor with what nobody pays for, which it may have provoked too."""
    tally = tally_of("acme", "globex")
    fail(tally, "acme", 1_000)
    fail(tally, "", 1_000)
    assert not tally.is_enough(0)


def test_two_of_several_are_enough_where_each_brings_half() -> None:
    """A thousand of one and a few of another are that one's; five of each are BigQuery's."""
    tally = tally_of("acme", "globex")
    fail(tally, "acme", 1_000)
    fail(tally, "globex", LIMIT // 2 - 1)
    assert not tally.is_enough(0)
    fail(tally, "globex", 1)
    assert tally.is_enough(0)


def test_many_with_one_failure_each_are_enough() -> None:
    """The usual sign that BigQuery is away."""
    names = [f"c{number}" for number in range(LIMIT)]
    tally = tally_of(*names)
    for name in names:
        assert not tally.is_enough(0)
        fail(tally, name, 1)
    assert tally.is_enough(0)


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_what_no_caller_can_bring_about_counts_at_once(limit: int) -> None:
    """A refused connection is nobody's doing, whoever meets it."""
    tally = tally_of("acme", "globex", limit=limit)
    fail(tally, "acme", limit - 1, is_everybodys=True)
    assert not tally.is_enough(0)
    fail(tally, "acme", 1, is_everybodys=True)
    assert tally.is_enough(0)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_small_limits_need_two_customers_all_the_same(limit: int) -> None:
    """Also where one failure is enough to open."""
    tally = tally_of("acme", "globex", limit=limit)
    fail(tally, "acme", 5)
    assert not tally.is_enough(0)
    fail(tally, "globex", 2)
    assert tally.is_enough(0)


def test_who_has_not_called_for_long_is_not_active() -> None:
    """Then the one that is left counts alone."""
    tally = tally_of("globex", "acme")
    fail(tally, "acme", LIMIT)
    assert not tally.is_enough(ACTIVE_S - 1)
    tally.note_call("acme", ACTIVE_S)
    assert tally.is_enough(ACTIVE_S)
    tally.note_call("globex", ACTIVE_S)
    assert not tally.is_enough(ACTIVE_S)


def test_a_success_clears_it() -> None:
    """Failures count in a row only."""
    tally = tally_of("acme")
    fail(tally, "acme", LIMIT - 1)
    tally.clear()
    fail(tally, "acme", 1)
    assert not tally.is_enough(0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=50))
def test_activity_is_that_of_the_calls(calls: list[tuple[str, int]]) -> None:
    """Two places remember as much of who is active as a list of all calls."""
    tally, now_s, last = FailureTally(LIMIT), 0.0, dict[str, float]()
    for customer, steps in calls:
        now_s += steps * ACTIVE_S / 4
        tally.note_call(customer, now_s)
        last[customer] = now_s
        assert tally.has_several(now_s) == (sum(now_s - at_s < ACTIVE_S for at_s in last.values()) > 1)


@given(st.lists(st.text("ab", min_size=1, max_size=8), max_size=100))
def test_a_share_for_no_more_than_what_opens(failed: list[str]) -> None:
    """A breaker that clears its tally when it opens keeps no more customers than failures that open it."""
    tally = tally_of("x", "y")
    for customer in failed:
        tally.fail(customer, is_everybodys=False)
        if tally.is_enough(0):
            tally.clear()
        assert tally.customers < LIMIT
