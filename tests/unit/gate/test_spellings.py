"""However a query is spelled, it is judged as its plain form."""

import random

import pytest

from bqgate.domain.data_scope import DataScope
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.text_verdict import judge_text
from bqgate.wire.sql_facts import read_facts
from tests.support.random_sql import plain, random_query, spelled

SCOPE = DataScope.of(
    Customer("acme", Tier("standard", 10, 300, 50), projects=("acme-prod",), data=("gs://acme/in",)), ()
)


def judged(sql: str) -> tuple[object, ...]:
    """All that the gate thinks of a text."""
    verdict = judge_text(sql, SCOPE, ("acme-prod",))
    said = (verdict.names, verdict.names_before_as, verdict.dataset_names, verdict.files)
    return (str(verdict.forbidden), *(str(each) for each in said), verdict.written, read_facts(sql))


@pytest.mark.parametrize(
    ("seed", "count"),
    [(0, 3_000), *(pytest.param(seed, 10_000, marks=pytest.mark.long) for seed in range(1, 11))],
)
def test_random_spellings_are_judged_as_the_plain_form(seed: int, count: int) -> None:
    """Blanks, comments, case, quotes and escapes change nothing of what is forbidden, and what it may do and cost."""
    dice = random.Random(seed)
    for number in range(count):
        query = random_query(dice)
        odd = spelled(query, dice)
        assert judged(odd) == judged(plain(query)), f"query {number}: {plain(query)!r}\nspelled {odd!r}"
