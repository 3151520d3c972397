import ast

import pytest

from bqgate.observe.redact import MASK, redact_field
from tests.house.tree import sources


def fields_in_code() -> set[tuple[str, str]]:
    """Each event that is noted, with the name of each field that it is noted with."""
    found: set[tuple[str, str]] = set()
    for source in sources("bqgate"):
        for node in ast.walk(source.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="log"), args=[event, *_]):
                    found |= {(ast.unparse(event), keyword.arg) for keyword in node.keywords if keyword.arg}
    return found


def test_no_event_has_a_field_that_is_masked() -> None:
    """A field whose name says that it is secret loses its value; what operators are to read is called otherwise."""
    masked = {(event, name) for event, name in fields_in_code() if redact_field(name, "value") == MASK}
    assert not masked, f"rename these fields, or they are written as {MASK}: {sorted(masked)}"


@pytest.mark.parametrize("event", ["'threshold_passed'", "'grace_started'", "'budget_drift'", "'request'"])
def test_events_are_found(event: str) -> None:
    """The test above looks at the lines that there are."""
    assert event in {each for each, _ in fields_in_code()}
