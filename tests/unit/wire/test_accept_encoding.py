import pytest

from bqgate.wire.accept_encoding import accepts_gzip


@pytest.mark.parametrize(
    "lines",
    [
        ["gzip"],
        ["gzip, deflate, br"],
        ["br, GZIP"],
        ["x-gzip"],
        ["*"],
        ["identity;q=0.5, *"],
        ["gzip;q=0.001"],
        ["gzip ; Q=1.000"],
        ["deflate", "gzip"],
        ["gzip;q=0.5, *;q=0"],
        ["identity;q=0, gzip;q=0.2"],
        [",, gzip ,"],
    ],
)
def test_gzip_is_taken(lines: list[str]) -> None:
    """Where it is named, or meant by a star, with a weight above zero."""
    assert accepts_gzip(tuple(("accept-Encoding", line) for line in lines))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["identity"],
        ["gzip;q=0"],
        ["gzip; q=0.0"],
        ["GZIP ;q=0.000, *"],
        ["identity;q=1, *;q=0"],
        ["*;q=0"],
        ["br, gzip;q=0"],
        ["gzip;q=0, x-gzip"],
        ["gzip;q=0.3, identity;q=0.8"],
        ["gzip;q=much"],
        ["gzip;q=2"],
        ["gzipped"],
        ["not-gzip"],
    ],
)
def test_gzip_is_not_taken(lines: list[str]) -> None:
    """A weight of zero is a no, and so is one that nobody understands; what is not named was not asked for."""
    assert not accepts_gzip(tuple(("Accept-Encoding", line) for line in lines))
