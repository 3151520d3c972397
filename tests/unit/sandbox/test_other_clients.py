"""Clients that stand on Google's own: pandas-gbq and the SQLAlchemy dialect."""

from __future__ import annotations

from typing import Any

import pandas_gbq
import pytest
import sqlalchemy
from google.cloud import bigquery


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::PendingDeprecationWarning", "ignore::UserWarning")
def test_pandas_gbq_reads_and_writes(client: bigquery.Client, flights: str) -> None:
    """`read_gbq` and `to_gbq` work with a client that points at the sandbox."""
    frame = pandas_gbq.read_gbq(
        flights, project_id="acme", bigquery_client=client, use_bqstorage_api=False, progress_bar_type=None
    )
    assert int(frame["n"].sum()) == 336_776
    client.create_dataset("acme.frames", exists_ok=True)
    pandas_gbq.to_gbq(
        frame, "frames.carriers", project_id="acme", bigquery_client=client, if_exists="replace", progress_bar=False
    )
    assert client.get_table("acme.frames.carriers").num_rows == 16


@pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client")
def test_sqlalchemy_reads_tables_and_rows(client: bigquery.Client) -> None:
    """The dialect lists tables and columns, and runs a select with a parameter."""
    arguments: dict[str, Any] = {"client": client}
    engine = sqlalchemy.create_engine("bigquery://acme?user_supplied_client=True", connect_args=arguments)
    try:
        with engine.connect() as connection:
            inspector = sqlalchemy.inspect(connection)
            assert "flights" in inspector.get_table_names(schema="nycflights13")
            flights = sqlalchemy.Table("flights", sqlalchemy.MetaData(), schema="nycflights13", autoload_with=engine)
            count = sqlalchemy.select(sqlalchemy.func.count()).where(flights.c.carrier == "AA")
            assert connection.execute(count).scalar() == 32_729
    finally:
        engine.dispose()
