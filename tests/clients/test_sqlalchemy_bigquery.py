"""sqlalchemy-bigquery against gate and sandbox: queries, parameters, reflection, writes, refusals."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tests.support.client_scene import Scene
from tests.support.python_client import python_client

# Without google-cloud-bigquery-storage rows come by REST, through the gate; the driver would rather have the other.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client")


@pytest.fixture
def engine(scene: Scene, project: str) -> Iterator[sa.Engine]:
    with python_client(scene.url, project) as client:
        engine = sa.create_engine(f"bigquery://{project}?user_supplied_client=True", connect_args={"client": client})
        yield engine
        engine.dispose()


def test_a_table_is_reflected_and_queried(scene: Scene, project: str, engine: sa.Engine) -> None:
    """Column names and types come from tables.get; a bound parameter and an aggregate work."""
    flights = sa.Table("flights", sa.MetaData(), schema="nycflights13", autoload_with=engine)
    assert isinstance(flights.c.distance.type, sa.Integer)
    assert isinstance(flights.c.time_hour.type, sa.TIMESTAMP)
    count = sa.func.count().label("n")
    query = (
        sa.select(flights.c.origin, count)
        .where(flights.c.dest == "LAX")
        .group_by(flights.c.origin)
        .order_by(count.desc())
    )
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    assert [("JFK", 11_262), ("EWR", 4_912)] == rows
    (entry,) = scene.booked(project)
    assert ("SELECT", "done") == (entry["statement_type"], entry["outcome"])


def test_datasets_and_tables_are_listed(scene: Scene, project: str, engine: sa.Engine) -> None:
    """The inspector's lists come through the gate and cost nothing."""
    scene.declare(project, t=1, u=2)
    inspector = sa.inspect(engine)
    assert "shop" in inspector.get_schema_names()
    assert ["t", "u"] == sorted(name.rpartition(".")[2] for name in inspector.get_table_names(schema="shop"))
    assert ["a"] == [column["name"] for column in inspector.get_columns("t", schema="shop")]
    scene.assert_nothing_booked(project)


def test_tables_are_made_and_filled(scene: Scene, project: str, engine: sa.Engine) -> None:
    """CREATE TABLE, INSERT with parameters, UPDATE, SELECT, DROP TABLE, each booked."""
    scene.declare(project)
    notes = sa.Table("notes", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("text", sa.String), schema="shop")
    notes.create(engine)
    with engine.connect() as connection:
        connection.execute(notes.insert().values(id=1, text="it's"))
        connection.execute(notes.update().where(notes.c.id == 1).values(text="ünï"))
        assert [(1, "ünï")] == [tuple(row) for row in connection.execute(sa.select(notes))]
    notes.drop(engine)
    kinds = [entry["statement_type"] for entry in scene.booked(project)]
    assert ["CREATE_TABLE", "INSERT", "UPDATE", "SELECT", "DROP_TABLE"] == kinds


def test_a_refusal_is_a_database_error(scene: Scene, project: str, engine: sa.Engine) -> None:
    """The gate's words are in it, and it is not tried again."""
    scene.use_up(project)
    with engine.connect() as connection, pytest.raises(DatabaseError, match="Custom quota exceeded"):
        connection.execute(sa.text("SELECT a + 1 FROM shop.spent"))
    assert ["refusal"] == [entry["kind"] for entry in scene.booked(project)][1:]
