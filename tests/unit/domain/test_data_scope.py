import pytest

from bqgate.domain.data_scope import DataScope, shown_name, split_name
from bqgate.domain.tier import Customer, Tier

TIER = Tier("standard", 10, 300, 50)
ACME = Customer(
    "acme",
    TIER,
    projects=("acme-prod",),
    data=("lake-house", "hub.acme", "gs://acme-files/in", "example.com:old", "example.com:new.acme", "hub-two"),
)
SCOPE = DataScope.of(ACME, {"hub", "hub-two"})


@pytest.mark.parametrize(
    ("project", "dataset", "is_allowed"),
    [
        pytest.param("acme-prod", "any", True, id="own project"),
        pytest.param("ACME-Prod", "any", True, id="project ids have no case"),
        pytest.param("lake-house", "any", True, id="a project in data"),
        pytest.param("hub", "acme", True, id="a dataset in data"),
        pytest.param("hub", "Acme", False, id="dataset ids have case"),
        pytest.param("hub", "globex", False, id="another dataset of a shared project"),
        pytest.param("hub-two", "any", False, id="a shared project is never whole, even where data names it"),
        pytest.param("example.com:old", "any", True, id="a project below a domain"),
        pytest.param("example.com:new", "acme", True, id="a dataset of one"),
        pytest.param("example.com:new", "other", False, id="another dataset of one"),
        pytest.param("acme-prod", "_0123abc", False, id="an anonymous dataset is nobody's"),
        pytest.param("acme-prod", "", False, id="no dataset"),
        pytest.param("acme-production", "any", False, id="a longer name"),
        pytest.param("acme-prod", "globex:ds", False, id="a project in a dataset's id"),
        pytest.param("acme-prod", "d\n", False, id="a line's end"),
        pytest.param("acme-prod", "d`", False, id="a quote"),
        pytest.param("acme-prod", "old-one", True, id="a dash separates nothing"),
        pytest.param("globex", "any", False, id="another's project"),
    ],
)
def test_datasets_are_in_scope_by_their_project_or_by_name(project: str, dataset: str, is_allowed: bool) -> None:
    """Own projects whole, named projects and datasets, shared projects by dataset only, hidden datasets never."""
    assert is_allowed is SCOPE.allows_dataset(project, dataset)
    assert is_allowed is SCOPE.allows_name(f"{project}.{dataset}.a_table")


@pytest.mark.parametrize(
    ("project", "dataset", "table", "is_allowed"),
    [
        pytest.param("acme-prod", "_0123abc", "anon4567", True, id="own project"),
        pytest.param("ACME-prod", "_0123abc", "anon4567", True, id="project ids have no case"),
        pytest.param("acme-prod", "_0123abc", "of_a_session", False, id="another hidden table"),
        pytest.param("acme-prod", "_script0123abc", "t", False, id="a script's own table"),
        pytest.param("acme-prod", "shown", "anon4567", False, id="a dataset that is not hidden"),
        pytest.param("hub", "_0123abc", "anon4567", False, id="a shared project"),
        pytest.param("lake-house", "_0123abc", "anon4567", False, id="a project that is lent as data"),
        pytest.param("globex", "_0123abc", "anon4567", False, id="another's project"),
    ],
)
def test_results_are_in_scope_in_projects_of_ones_own(project: str, dataset: str, table: str, is_allowed: bool) -> None:
    """Where nobody else's jobs run; a lent project is its owner's, whose results it holds."""
    assert is_allowed is SCOPE.allows_result(project, dataset, table)


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("gs://acme-files/in/a.csv", True),
        ("gs://acme-files/in", True),
        ("gs://acme-files/in/*", True),
        ("gs://acme-files/in*", False),
        ("gs://acme-files/input/a.csv", False),
        ("gs://acme-files/in/../out/a.csv", False),
        ("gs://acme-files/out", False),
        ("GS://acme-files/in/a.csv", False),
        ("https://drive.google.com/open?id=1", False),
        ("", False),
    ],
)
def test_files_are_in_scope_below_a_prefix(uri: str, is_allowed: bool) -> None:
    """A prefix ends where a folder ends; what could mean more than it is out."""
    assert is_allowed is SCOPE.allows_uri(uri)


def test_jobs_run_in_own_and_shared_projects() -> None:
    """Data of others may be read, but no job may be run in their projects."""
    assert [True, True, True, False, False] == [
        SCOPE.may_run_jobs_in(project) for project in ("acme-prod", "hub", "HUB", "lake-house", "globex")
    ]
    assert [True, True, True, False] == [
        SCOPE.shows_project(project) for project in ("acme-prod", "hub", "example.com:new", "globex")
    ]


def test_a_customer_of_nothing_reaches_nothing() -> None:
    """No projects and no data: nothing is in scope."""
    scope = DataScope.of(Customer("empty", TIER), ())
    assert not scope.allows_dataset("acme-prod", "d")
    assert not scope.may_run_jobs_in("acme-prod")
    assert not scope.allows_uri("gs://acme-files/in/a")


def test_names_are_split_at_their_dots_behind_the_domain() -> None:
    """A table's id may hold dots, a project's id a domain."""
    assert ("p", "d", "INFORMATION_SCHEMA.TABLES") == split_name("p.d.INFORMATION_SCHEMA.TABLES")
    assert ("example.com:p", "d", "t") == split_name("example.com:p.d.t")
    assert ("p", "", "") == split_name("p")
    assert ["p:d.t", "p:d", "p"] == [shown_name(name) for name in ("p.d.t", "p.d", "p")]
