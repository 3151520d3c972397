"""Medians, spreads and tables."""

from collections.abc import Sequence
from statistics import median

NONE = "-"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so many percent of all lie."""
    ascending = sorted(values)
    return ascending[min(int(len(ascending) * share / 100), len(ascending) - 1)]


def with_spread(values: Sequence[float], digits: int) -> str:
    """The median, and the least and the most behind it."""
    if not values:
        return NONE
    least, middle, most = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least} to {most})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Columns below one another; as Markdown where a page is to have it."""
    if markdown:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[at]) for line in (head, *rows)) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *rows)
    )
