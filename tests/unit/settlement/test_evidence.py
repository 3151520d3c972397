"""What the attempts at one hold prove together: a cost that was told, that nothing was sent, or that one must ask."""

import itertools

import pytest

from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.settlement.evidence import Denied, Evidence, Inquiry, JobMade, NothingSent, NotSent, Told, Unknown, conclude

JOB = JobRef("p", "j", "US")
COST = Told(Usage(JOB, Outcome.DONE, bytes_billed=5))
PIECES: tuple[Evidence, ...] = (NotSent(), COST, JobMade(JOB), Denied(), Denied(may_bill=True), Unknown())


@pytest.mark.parametrize("pieces", [*itertools.product(PIECES, repeat=1), *itertools.product(PIECES, repeat=3)])
def test_only_two_conclusions_end_a_hold_unasked(pieces: tuple[Evidence, ...]) -> None:
    """A told cost is the cost; a hold is given back unasked only where every attempt sent nothing."""
    conclusion = conclude(pieces)
    if COST in pieces:
        assert conclusion == COST
    elif all(piece == NotSent() for piece in pieces):
        assert conclusion == NothingSent()
    else:
        assert isinstance(conclusion, Inquiry)
        assert conclusion.is_made is (JobMade(JOB) in pieces)
        assert conclusion.is_answered is (Unknown() not in pieces)


@pytest.mark.parametrize(
    ("pieces", "is_free"),
    [
        ((Denied(),), True),
        ((Denied(), NotSent()), True),
        ((Denied(may_bill=True),), False),
        ((Denied(), Unknown()), False),
        ((Denied(), JobMade(None)), False),
    ],
)
def test_a_refusal_is_free_only_where_all_were(pieces: tuple[Evidence, ...], *, is_free: bool) -> None:
    """Where nobody may ask BigQuery, its no to every attempt is the last word, unless something ran before it."""
    conclusion = conclude(pieces)
    assert isinstance(conclusion, Inquiry)
    assert conclusion.is_free is is_free


def test_the_job_is_the_one_that_any_answer_named() -> None:
    """One attempt's answer was cut before the reference, the other's was not."""
    assert conclude((JobMade(None), Unknown(), JobMade(JOB))) == Inquiry(JOB, is_made=True)
