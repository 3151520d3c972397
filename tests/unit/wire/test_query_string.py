from bqgate.wire.query_string import split_query, values_of, without_parameters


def test_parameters_are_decoded_in_order() -> None:
    """Names and values come decoded, a parameter without '=' has an empty value."""
    assert split_query("a=1&b%5F=x+y%26&c") == (("a", "1"), ("b_", "x y&"), ("c", ""))


def test_all_values_of_a_name_are_found() -> None:
    """A repeated parameter has several values."""
    assert values_of("alt=json&alt=proto&Alt=x", "alt") == ("json", "proto")


def test_what_stays_keeps_its_encoding() -> None:
    """Parameters are taken out, however they are written, and the others keep every byte."""
    query = "pageToken=a%2fb+c&access%5Ftoken=secret&KEY=k&fields=a%2Cb"
    assert without_parameters(query, {"access_token", "key"}) == "pageToken=a%2fb+c&fields=a%2Cb"
