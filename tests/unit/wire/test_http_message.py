from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.http_message import Headers, header_of, headers_of, indexed, named_by_connection, replaced, without

_NAMES = ("Host", "host", "HOST", "Accept", "X-A", "x-a", "Connection")
_HEADERS = st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(("1", "2", "x-a, Accept", "")))).map(tuple)
_WANTED = st.sets(st.sampled_from([name.lower() for name in _NAMES]))


@given(_HEADERS, _WANTED, st.booleans())
def test_headers_are_the_same_looked_through_or_not(headers: Headers, names: set[str], is_indexed: bool) -> None:
    """Order, repeats and the sender's case stay; names are compared in whatever case."""
    known = indexed(headers) if is_indexed else headers
    kept = tuple(each for each in headers if each[0].lower() not in names)
    assert without(known, names) == kept
    assert replaced(known, names, ("New", "n")) == (*kept, ("New", "n"))
    assert header_of(replaced(known, names, ("New", "n")), "nEW") == "n"
    assert headers_of(known, names) == [value for name, value in headers if name.lower() in names]
    assert header_of(known, "hOst") == next((value for name, value in headers if name.lower() == "host"), None)
    assert named_by_connection(known) <= {"1", "2", "x-a", "accept", ""}
