"""Read the table that `bqgate demo --once` prints, and say what it must show."""

# Customer, query, decision: what a newcomer is to see of the gate. Money follows from the stand-in's bytes.
EXPECTED = [
    ("acme", "delays by carrier", "forward"),
    ("acme", "the same again", "cached"),
    ("acme", "busiest routes", "forward"),
    ("globex", "delays in storms", "forward"),
    ("globex", "fleet by maker", "forward"),
    ("globex", "SELECT * of a table", "reject (query_too_big)"),
    ("initech", "longest flight", "forward"),
    ("initech", "longest flight + 1", "forward"),
    ("initech", "longest flight + 2", "throttle"),
    ("initech", "longest flight + 3", "reject (budget_used_up)"),
]


def decisions_in(output: str) -> list[tuple[str, ...]]:
    """Customer, query and decision of each row of the table."""
    rows = [line.strip("│").split("│") for line in output.splitlines() if line.startswith("│")]
    return [tuple(cell.strip() for cell in row[:3]) for row in rows]


def costs_in(output: str) -> dict[str, str]:
    """What each query cost, in dollars, by its name."""
    rows = [line.strip("│").split("│") for line in output.splitlines() if line.startswith("│")]
    return {row[1].strip(): row[5].strip() for row in rows}
