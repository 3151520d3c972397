import ast

from bqgate.observe.metrics import COUNTERS, DECLARED, GAUGES, HISTOGRAMS, PREFIX
from tests.house.tree import ROOT, sources

_ENDINGS = ("_total", "_seconds", "_bytes", "_depth", "_state", "_projects", "_up")
_CALLS = {"count": COUNTERS, "observe": HISTOGRAMS, "read_gauge_from": GAUGES}


def said_in_code() -> dict[str, set[tuple[str, frozenset[str]]]]:
    """Metric names and labels in calls of the Telemetry, by its method."""
    found: dict[str, set[tuple[str, frozenset[str]]]] = {method: set() for method in _CALLS}
    for source in sources("bqgate"):
        if source.name.startswith("bqgate/sandbox/"):
            continue
        for node in ast.walk(source.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name)), *_]) if (
                    method in _CALLS and name.endswith(_ENDINGS)
                ):
                    labels = {keyword.arg for keyword in node.keywords if keyword.arg not in {None, "amount"}}
                    found[method].add((name, frozenset(label for label in labels if label)))
    return found


def test_what_is_counted_is_declared_with_these_labels() -> None:
    """No step counts under a name or label that bqgate/observe/metrics.py does not declare."""
    for method, said in said_in_code().items():
        declared = {(each.name, frozenset(each.labels)) for each in _CALLS[method]}
        assert said <= declared, f"declare in bqgate/observe/metrics.py, or correct the name: {said - declared}"


def test_what_is_declared_is_counted() -> None:
    """No metric stays at zero for ever because nobody counts it."""
    for method, said in said_in_code().items():
        never = {each.name for each in _CALLS[method]} - {name for name, _ in said}
        assert not never, f"count these ({method}), or delete them from bqgate/observe/metrics.py and docs: {never}"


def test_every_metric_is_explained() -> None:
    """docs/metrics.md has each metric under its full name, with its labels."""
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    missing = []
    for each in DECLARED:
        labels = f"{{{','.join(each.labels)}}}" if each.labels else ""
        if f"`{PREFIX}_{each.name}{labels}`" not in page:
            missing.append(f"{PREFIX}_{each.name}{labels}")
    assert not missing, f"explain in docs/metrics.md: {missing}"


def test_no_metric_is_explained_twice() -> None:
    """Each row of the table in docs/metrics.md stands there once."""
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith(f"| `{PREFIX}_")]
    assert len(rows) == len(set(rows)), (
        f"twice in docs/metrics.md: {sorted({row for row in rows if rows.count(row) > 1})}"
    )
