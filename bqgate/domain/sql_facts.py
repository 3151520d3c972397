"""Say what may occur when a query's text runs, as far as its words tell and no dry run does. Pure.

Made by wire/sql_facts.py once for each query, read by admission to size holds and to judge reservations.
"""

from dataclasses import dataclass

# Why a cost is unknown. BigQuery bills what EXTERNAL_QUERY returns and enforces no cap
# (https://cloud.google.com/bigquery/docs/federated-queries-intro); functions of ML and AI may call models elsewhere,
# which are billed beside the bytes (https://cloud.google.com/bigquery/docs/bqml-introduction).
FEDERATED = "federated"
REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class SqlFacts:
    """What may occur when a text runs.

    `is_one_statement`: it is no script. `may_create_model`: a CREATE MODEL stands in it, or may be made by what it
    runs. `is_dynamic`: it runs text or procedures that do not stand in it. `unbounded_because`: FEDERATED or REMOTE
    where it calls another system, whose cost neither a dry run nor a cap bounds. `sets_labels`: it sets @@query_label.
    `reservations` are what it sets @@reservation to, in words that can be read; None among them: something else.
    """

    is_one_statement: bool = True
    may_create_model: bool = False
    is_dynamic: bool = False
    unbounded_because: str | None = None
    sets_labels: bool = False
    reservations: tuple[str | None, ...] = ()


# Of a text of which nobody can say what it does, apart from the systems that it names.
ANYTHING = SqlFacts(
    is_one_statement=False, may_create_model=True, is_dynamic=True, sets_labels=True, reservations=(None,)
)
