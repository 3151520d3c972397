"""Clients that stand on Google's own: pandas-gbq and the SQLAlchemy dialect."""

from __future__ import annotations

from typing import Any

import pandas_gbq
import pytest
import sqlalchemy
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from bqgate.sandbox.server import Sandbox


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::PendingDeprecationWarning", "ignore::UserWarning")
def test_pandas_gbq_reads_and_writes(
    client: bigquery.Client, threaded: Sandbox, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`read_gbq` and `to_gbq` find the sandbox through the environment, and a frame makes the round trip."""
    # A client that is handed over is not used for all calls of `to_gbq`; the variable is.
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", threaded.url)
    options: dict[str, Any] = {
        "project_id": "acme",
        "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]  # Google gives it no types
    }
    frame = pandas_gbq.read_gbq(flights, use_bqstorage_api=False, progress_bar_type=None, **options)
    assert int(frame["n"].sum()) == 336_776
    client.create_dataset("acme.frames", exists_ok=True)
    pandas_gbq.to_gbq(frame, "frames.carriers", if_exists="replace", progress_bar=False, **options)
    assert client.get_table("acme.frames.carriers").num_rows == 16


@pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client")
def test_sqlalchemy_reads_tables_and_rows(client: bigquery.Client) -> None:
    """The dialect lists tables and columns, and runs a select with a parameter."""
    arguments: dict[str, Any] = {"client": client}
    engine = sqlalchemy.create_engine("bigquery://acme?user_supplied_client=True", connect_args=arguments)
    try:
        with engine.connect() as connection:
            inspector = sqlalchemy.inspect(connection)
            assert "nycflights13.flights" in inspector.get_table_names(schema="nycflights13")
            flights = sqlalchemy.Table("flights", sqlalchemy.MetaData(), schema="nycflights13", autoload_with=engine)
            count = sqlalchemy.select(sqlalchemy.func.count()).where(flights.c.carrier == "AA")
            assert connection.execute(count).scalar() == 32_729
    finally:
        engine.dispose()
