import json

import pytest

from bqgate.budgets.write_message import BYTES_MAX, decode_writes, encode_writes
from bqgate.domain.touched import EVERYTHING, Touched, Writes, touched_names


@pytest.mark.parametrize("touched", [touched_names(["p.d.t", "p.d", "p", "p.d.größe"]), Touched(), EVERYTHING])
@pytest.mark.parametrize("jobs", [frozenset[str](), frozenset({"p:a", "p:größe"})])
def test_what_is_written_is_read(touched: Touched, jobs: frozenset[str]) -> None:
    """Sender, names and jobs come back."""
    writes = Writes(touched, jobs)
    assert decode_writes(encode_writes("me", writes)) == ("me", writes)


def test_an_older_gate_names_no_jobs() -> None:
    """Its message is read all the same."""
    message = json.dumps({"from": "me", "tables": ["p.d.t"], "datasets": [], "projects": [], "everything": False})
    assert decode_writes(message) == ("me", Writes(touched_names(["p.d.t"])))


def test_a_message_is_bounded() -> None:
    """Too many or too long names become their projects, and too many of those everything."""
    tables = touched_names(f"p.d.{'ü' * 500}{number}" for number in range(200))
    message = encode_writes("me", Writes(tables, frozenset({"p:job"})))
    assert len(message) <= BYTES_MAX
    assert decode_writes(message) == ("me", Writes(Touched(projects=frozenset({"p"}))))
    projects = touched_names(f"{'x' * 500}{number}" for number in range(200))
    assert decode_writes(encode_writes("me", Writes(projects))) == ("me", Writes(EVERYTHING))


@pytest.mark.parametrize(
    "message",
    [
        "",
        "changed",
        "[]",
        "{}",
        json.dumps({"from": 1, "tables": [], "datasets": [], "projects": [], "everything": False}),
        json.dumps({"from": "me", "tables": [1], "datasets": [], "projects": [], "everything": False}),
        json.dumps({"from": "me", "tables": [], "datasets": {}, "projects": [], "everything": False}),
        json.dumps({"from": "me", "tables": [], "datasets": [], "projects": []}),
        "x" * (BYTES_MAX + 1),
    ],
)
def test_what_cannot_be_read_may_mean_anything(message: str) -> None:
    """A newer gate's message, or a stranger's, costs dry runs and never a stale estimate."""
    assert decode_writes(message)[1] == Writes(EVERYTHING)
