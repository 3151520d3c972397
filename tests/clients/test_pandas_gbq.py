"""pandas-gbq against gate and sandbox, by the environment variable and by a client handed to it."""

import pandas as pd
import pandas_gbq
import pytest

from tests.support.client_scene import Scene
from tests.support.python_client import anonymous, python_client

# pandas-gbq itself uses what Google's client announces to change.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

AIRLINES = "SELECT carrier, name FROM nycflights13.airlines WHERE carrier IN ('UA', 'AA') ORDER BY carrier"


@pytest.fixture
def by_variable(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas-gbq takes no endpoint; Google's client beneath it reads this variable."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", scene.url)


@pytest.mark.usefixtures("by_variable")
def test_a_query_becomes_a_frame(scene: Scene, project: str) -> None:
    """read_gbq gives the rows; the books have the job."""
    frame = pandas_gbq.read_gbq(AIRLINES, project_id=project, credentials=anonymous(), progress_bar_type=None)
    assert [("AA", "American Airlines Inc."), ("UA", "United Air Lines Inc.")] == list(
        frame.itertuples(index=False, name=None)
    )
    (entry,) = scene.booked(project)
    assert ("done", "SELECT", "forward") == (entry["outcome"], entry["statement_type"], entry["decision"])


@pytest.mark.usefixtures("by_variable")
@pytest.mark.parametrize("api_method", ["load_csv", "load_parquet"])
def test_a_frame_becomes_a_table(scene: Scene, project: str, api_method: str) -> None:
    """to_gbq makes dataset and table and loads it; reading it back by a query gives the same frame."""
    frame = pd.DataFrame({"id": [1, 2, 3], "text": ["a", "č", "c"]})
    options = {"project_id": project, "credentials": anonymous()}
    pandas_gbq.to_gbq(frame, "notes.n", api_method=api_method, progress_bar=False, **options)
    found = pandas_gbq.read_gbq("SELECT id, text FROM notes.n ORDER BY id", progress_bar_type=None, **options)
    assert list(frame.itertuples(index=False, name=None)) == list(found.itertuples(index=False, name=None))
    assert ["SELECT"] == [entry["statement_type"] for entry in scene.booked(project)]


def test_a_client_of_the_users_own_works(scene: Scene, project: str) -> None:
    """bigquery_client= takes the endpoint from the client."""
    with python_client(scene.url, project) as client:
        frame = pandas_gbq.read_gbq("SELECT 1 AS n", bigquery_client=client, progress_bar_type=None)
    assert [1] == list(frame["n"])
    assert len(scene.booked(project)) == 1


@pytest.mark.usefixtures("by_variable")
def test_a_refusal_is_pandas_own_error_with_the_gates_words(scene: Scene, project: str) -> None:
    """One attempt, and the numbers are in the message."""
    scene.use_up(project)
    with pytest.raises(pandas_gbq.gbq.GenericGBQException, match="Custom quota exceeded: customer"):
        pandas_gbq.read_gbq(
            "SELECT a + 1 AS b FROM shop.spent",
            project_id=project,
            credentials=anonymous(),
            progress_bar_type=None,
        )
    assert ["refusal"] == [entry["kind"] for entry in scene.booked(project)][1:]
