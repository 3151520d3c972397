import pytest

from bqgate.domain.job import Estimate
from bqgate.domain.touched import EVERYTHING, Touched, plain_name, reads_of, touched_names

MIB = 2**20


def of(*tables: str, **more: object) -> Estimate:
    """A dry run that names these tables."""
    return Estimate(MIB, "SELECT", len(tables), referenced_tables=tables, **more)  # type: ignore[arg-type]  # per test


@pytest.mark.parametrize(
    ("estimate", "name"),
    [
        pytest.param(of("p.d.t"), "p.d.t", id="its table"),
        pytest.param(of("p.d.t"), "p.d", id="its dataset"),
        pytest.param(of("p.d.t"), "p", id="its project"),
        pytest.param(of("other.d.t"), "p", id="the project it runs in"),
        pytest.param(of("p.d.t"), "P.D.T", id="in other letters"),
        pytest.param(of("p.d.t"), "p.d.t$20260101", id="a partition"),
        pytest.param(of("p.d.t@-3600000"), "p.d.t", id="a moment of it"),
        pytest.param(of("example.com:p.d.t"), "example.com:p.d.t", id="in a domain's project"),
        pytest.param(of("p.d.t", referenced_views=("p.v.view",)), "p.v.view", id="a view"),
        pytest.param(of("p.d.t", referenced_routines=("p.f.double",)), "p.f.double", id="a routine"),
        pytest.param(of("p.d.t", targets=("p.d.made",)), "p.d.made", id="what it writes itself"),
        pytest.param(of("p.d.events_*"), "p.d.events_20260101", id="one of a wildcard"),
        pytest.param(of("p.d.INFORMATION_SCHEMA.TABLES"), "p.d.new", id="metadata of a dataset"),
        pytest.param(of("p.region-us.INFORMATION_SCHEMA.JOBS"), "p.d.new", id="metadata of a region"),
        pytest.param(of("p.d.__TABLES__"), "p.d.new", id="metadata by the old name"),
        pytest.param(of(*(f"p.d.t{number}" for number in range(50))), "p.d.more", id="a list that may be cut"),
        pytest.param(of(), "p.d.any", id="bytes of no table"),
        pytest.param(Estimate(0, "SCRIPT", 0, unknown_because="script"), "p.d.any", id="a script"),
    ],
)
def test_a_write_may_change_what_was_read(estimate: Estimate, name: str) -> None:
    """Whatever an estimate was made of, or may have been made of, is met by a write to it."""
    assert reads_of(estimate, "p").may_change_by(touched_names([name]))
    assert reads_of(estimate, "p").may_change_by(EVERYTHING)


@pytest.mark.parametrize(
    ("estimate", "name"),
    [
        (of("p.d.t"), "p.d.t2"),
        (of("p.d.t"), "p.d2"),
        (of("p.d.t"), "p2"),
        (of("p.d.events_*"), "p.d.event"),
        (of("p.d.events_*"), "p.d2.events_1"),
        (of(*(f"p.d.t{number}" for number in range(50))), "p2.d.t"),
        (Estimate(0, "SELECT", 0), "p.d.t"),
    ],
)
def test_other_writes_change_nothing(estimate: Estimate, name: str) -> None:
    """Who writes elsewhere costs nobody a dry run."""
    assert not reads_of(estimate, "p").may_change_by(touched_names([name]))


def test_names_are_sorted_by_what_they_are_of() -> None:
    """Dots before a colon belong to the project."""
    touched = touched_names(["p.d.t", "p.d", "p", "example.com:p", "example.com:p.d"])
    assert touched == Touched(
        frozenset({"p.d.t"}), frozenset({"p.d", "example.com:p.d"}), frozenset({"p", "example.com:p"})
    )
    assert touched.all_projects == {"p", "example.com:p"}
    assert plain_name("P.d.T$2026") == "p.d.t"


def test_many_names_become_fewer_and_never_less() -> None:
    """Tables become their datasets, those their projects, those everything; all that was touched stays so."""
    tables = touched_names(f"p{number % 2}.d{number % 4}.t{number}" for number in range(100))
    assert tables.within(100) == tables
    assert tables.within(99) == Touched(datasets=frozenset({"p0.d0", "p1.d1", "p0.d2", "p1.d3"}))
    assert tables.within(3) == Touched(projects=frozenset({"p0", "p1"}))
    assert tables.within(1) == EVERYTHING
    assert (tables | EVERYTHING).within(1000) == EVERYTHING


def test_what_was_said_already_changes_nothing() -> None:
    """Thousands of streaming inserts into one table cost no new sets of names."""
    table, dataset = touched_names(["p.d.t"]), touched_names(["p.d"])
    both = table | dataset
    assert (both | table) is both
    assert (both | EVERYTHING).is_everything
    assert (EVERYTHING | both) is EVERYTHING
    assert (table | dataset, both | touched_names(["p"])) == (
        Touched(table.tables, dataset.datasets),
        Touched(table.tables, dataset.datasets, frozenset({"p"})),
    )
