from benchmarks.gated.figures import NONE, percentile, table, with_spread


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The value at that share of all, in ascending order, and the last for all of them."""
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 50) == 51
    assert percentile(values, 99) == 100
    assert percentile(values, 100) == 100


def test_a_spread_shows_the_median_between_the_least_and_the_most() -> None:
    """One value has no spread, and none is a dash."""
    assert with_spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0 to 3.0)"
    assert with_spread([1234.5], 0) == "1,234"
    assert with_spread([], 2) == NONE


def test_a_table_is_aligned_or_markdown() -> None:
    """For a terminal columns are as wide as their widest cell; a page gets Markdown."""
    assert table(["a", "rate"], [["floor", "1"]], markdown=False) == "a      rate\nfloor  1   "
    assert table(["a", "rate"], [["floor", "1"]], markdown=True) == "| a | rate |\n| --- | --- |\n| floor | 1 |"
