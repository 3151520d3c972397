import json

import pytest

from bqgate.budgets.write_message import BYTES_MAX, decode_writes, encode_writes
from bqgate.domain.touched import EVERYTHING, Touched, touched_names


@pytest.mark.parametrize("touched", [touched_names(["p.d.t", "p.d", "p", "p.d.größe"]), Touched(), EVERYTHING])
def test_what_is_written_is_read(touched: Touched) -> None:
    """Sender and names come back."""
    assert decode_writes(encode_writes("me", touched)) == ("me", touched)


def test_a_message_is_bounded() -> None:
    """Too many or too long names become their projects, and too many of those everything."""
    tables = touched_names(f"p.d.{'ü' * 500}{number}" for number in range(200))
    message = encode_writes("me", tables)
    assert len(message) <= BYTES_MAX
    assert decode_writes(message) == ("me", Touched(projects=frozenset({"p"})))
    projects = touched_names(f"{'x' * 500}{number}" for number in range(200))
    assert decode_writes(encode_writes("me", projects)) == ("me", EVERYTHING)


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
    assert decode_writes(message)[1] == EVERYTHING
