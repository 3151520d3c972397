"""Describe a table as far as it decides what a query of it costs: how it is partitioned and clustered, and its size.

Made by wire.table_resource from tables.get, read by advice. Column names are in small letters, because BigQuery takes
them in any; sizes are bytes of all columns together, as BigQuery stores them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Where a table is partitioned by the time at which its rows came, BigQuery shows that as a column of this name.
LOAD_TIME_COLUMN = "_partitiontime"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table. `column_types` are those of the outermost columns: DATE, TIMESTAMP, INTEGER….

    `partition_column` None: it is not partitioned. `clustering` is the order in which its rows lie.
    """

    project_id: str
    dataset_id: str
    table_id: str
    size_bytes: int = 0
    partition_column: str | None = None
    clustering: tuple[str, ...] = ()
    column_types: Mapping[str, str] = field(default_factory=dict)

    @property
    def partition_type(self) -> str | None:
        """The type of the partition column; None where nobody knows it."""
        if self.partition_column == LOAD_TIME_COLUMN:
            return "TIMESTAMP"
        return self.column_types.get(self.partition_column or "")
