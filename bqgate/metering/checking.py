"""Look whether what a plug-in answered can be booked. Pure.

Called by metering.py with every answer. Plug-ins are others' code, and what is booked stays: an answer of which one
part is unfit is refused whole, with the reason.
"""

from collections.abc import Sequence

from bqgate.domain.money import MAX_NANOS
from bqgate.domain.units import INT64_MAX
from bqgate.ports.cost_metrics import MeteredCost, Question

COSTS_MAX = 20_000
# Names of datasets and tables have up to 1,024 characters (https://cloud.google.com/bigquery/docs/datasets).
_CHARS_MAX = 1_024


class AnswerUnfit(ValueError):
    """A plug-in's answer cannot be booked."""


def check_answer(costs: object, question: Question) -> tuple[MeteredCost, ...]:
    """The answer, if all of it can be booked.

    Raises:
        AnswerUnfit: it can not; says why.
    """
    if not isinstance(costs, Sequence) or isinstance(costs, str):
        raise AnswerUnfit("it answers no list")
    if len(costs) > COSTS_MAX:
        raise AnswerUnfit(f"it answers more than {COSTS_MAX} costs at once")
    for cost in costs:
        _check(cost, question)
    if len({_name(cost) for cost in costs}) < len(costs):
        raise AnswerUnfit("it answers one cost twice")
    return tuple(costs)


def _check(cost: MeteredCost, question: Question) -> None:
    if not isinstance(cost, MeteredCost):
        raise AnswerUnfit("it answers what is no MeteredCost")
    if type(cost.cost_nanos) is not int or not 0 <= cost.cost_nanos <= MAX_NANOS:
        raise AnswerUnfit(f"a cost is {cost.cost_nanos!r}, and no whole number of nano-dollars from 0")
    if type(cost.quantity) is not int or not 0 <= cost.quantity <= INT64_MAX:
        raise AnswerUnfit(f"a quantity is {cost.quantity!r}, and no whole number from 0")
    texts = (cost.unit, cost.dataset, cost.table, cost.principal)
    if not all(isinstance(text, str) and len(text) <= _CHARS_MAX and text.isprintable() for text in texts):
        raise AnswerUnfit("a name is no text, too long, or not printable")
    if cost.since.tzinfo is None or cost.until.tzinfo is None:
        raise AnswerUnfit("a moment has no time zone")
    if not question.since <= cost.since < cost.until <= question.until:
        raise AnswerUnfit(f"a span is not within what was asked: {cost.since.isoformat()}")


def _name(cost: MeteredCost) -> tuple[object, ...]:
    return (cost.since, cost.until, cost.dataset, cost.table, cost.principal)
