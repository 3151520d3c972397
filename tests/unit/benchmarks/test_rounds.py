from array import array

import pytest

from benchmarks.gated.rounds import own_ms, strict_ms
from benchmarks.gated.stub_bigquery import DRY_RUN, GET, QUERY

MS = 1_000_000


def test_own_time_is_what_the_answer_does_not_say_of_dry_run_and_forward() -> None:
    """Of 10 ms from the load's write to the answer, 7 for both of them leave 3."""
    assert own_ms(array("Q", [7, 100 * MS, 110 * MS, 7 * MS])) == pytest.approx([3.0])


def test_strict_time_is_what_neither_the_stub_nor_the_way_to_it_took() -> None:
    """Of 10 ms from the load's write to the answer, 1 and 2 ms at the stub and 0.1 ms for each way there leave 6.8."""
    sent = array("Q", [7, 100 * MS, 110 * MS, 7 * MS])
    calls = array("Q", [7, DRY_RUN, 102 * MS, 103 * MS, 7, QUERY, 105 * MS, 107 * MS])
    assert strict_ms(sent, calls, 0.1 * MS) == pytest.approx([6.8])


def test_a_query_without_a_dry_run_of_its_own_has_one_call_taken_off() -> None:
    """Where the estimate is known, or the text is everybody's, nothing but the forward is the outside world's."""
    sent = array("Q", [8, 0, 10 * MS, 0])
    calls = array("Q", [999, DRY_RUN, 1 * MS, 2 * MS, 8, QUERY, 5 * MS, 7 * MS])
    assert strict_ms(sent, calls, 0.0) == pytest.approx([8.0])


def test_what_the_gate_asks_behind_its_answers_is_not_taken_off() -> None:
    """Polling a job takes no time of the query's, whose answer is there already."""
    sent = array("Q", [9, 0, 10 * MS, 0])
    calls = array("Q", [9, QUERY, 5 * MS, 7 * MS, 9, GET, 11 * MS, 14 * MS])
    assert strict_ms(sent, calls, 0.0) == pytest.approx([8.0])
