"""Say what a cost metric is: a plug-in that measures what costs money at BigQuery and is no job.

Anybody may write one (docs/cost_metrics.md) and needs nothing of the gate but this module. It is found by its entry
point in the group `bqgate.cost_metrics`, or by its import path, and runs in the gate's process. Amounts are whole
nano-dollars, moments are aware.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bqgate.domain.place import Place

ENTRY_POINTS = "bqgate.cost_metrics"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured: all that was used at a place from `since` on and before `until`, whole hours of UTC."""

    place: Place
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class MeteredCost:
    """What something cost from `since` on and before `until`: an hour, a day, as long as the metric likes.

    Metric, place, span, dataset, table and principal together name it: measured again, it is the same cost, and where
    it is another amount by then the difference is booked. `quantity` of `unit` is shown to people. `principal` is who
    caused it; "": nobody can say.
    """

    since: datetime
    until: datetime
    quantity: int
    unit: str
    cost_nanos: int
    dataset: str = ""
    table: str = ""
    principal: str = ""


class BoundedQueries(Protocol):
    """Queries in the gate's own name, where the metric looks. What they cost is bounded and booked as the gate's."""

    async def run(self, sql: str, **parameters: int | str | datetime) -> Sequence[Mapping[str, Any]]:
        """The rows of a query, by the names of their columns.

        Values are as BigQuery's JSON has them: text or None, also of whole numbers; moments are microseconds since
        1970; repeated fields are tuples, records mappings. In the text a parameter is @name.

        Raises:
            UpstreamRefused: BigQuery refuses it.
            UpstreamUnavailable: no answer.
            OwnQueriesSpent: the gate's own queries have cost as much as they may today.
            LedgerUnavailable: its cost could not be recorded.
        """


class CostMetric(Protocol):
    """A measure of one kind of cost.

    A class that has `Options`, a model of pydantic, is made with one argument, the options of the settings as that
    model; one that has none is made without arguments, and takes no options.
    """

    look_back: timedelta
    """How far back each look goes: for as long as BigQuery may still show more, or other figures. At most 180 days."""

    async def measure(self, question: Question, queries: BoundedQueries) -> Sequence[MeteredCost]:
        """Everything that cost something in the question's time, in whole spans; what is not whole yet is left out.

        What it raises ends this look at this place; the next one comes as usual. It must not block: the gate's queries
        wait for it meanwhile.
        """
