from dataclasses import replace

import pytest

from bqgate.domain.errors import BodyTooLarge, MalformedRequest, UnsupportedRequest
from bqgate.gate.method_override import with_real_verb
from bqgate.wire.http_message import Headers, HttpRequest

FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", "8"))


async def test_a_call_without_override_is_left_alone() -> None:
    """Nothing changes where nothing is overridden."""
    call = HttpRequest("POST", "/p", "$.xgafv=2", (("X-A", "1"),), b"body")
    assert await with_real_verb(call) == call


async def test_a_form_becomes_the_query_string_of_a_get() -> None:
    """What googleapiclient sends for a long URL is the GET that it means."""
    call = HttpRequest(
        "POST", "/p", "alt=json", (("x-http-method-override", "GET"), *FORM, ("X-A", "1")), b"pageToken=a%2Fb"
    )
    real = await with_real_verb(call)
    assert (real.method, real.query, real.headers, real.body) == (
        "GET",
        "alt=json&pageToken=a%2Fb",
        (("X-A", "1"),),
        b"",
    )


async def test_an_overridden_patch_keeps_its_body() -> None:
    """PATCH by way of POST is PATCH, with its body and without the override."""
    real = await with_real_verb(HttpRequest("POST", "/p", "", (("X-HTTP-Method-Override", "patch"),), b"{}"))
    assert (real.method, real.headers, real.body) == ("PATCH", (), b"{}")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", (("X-HTTP-Method-Override", "POST"),)),
        ("PUT", (("X-HTTP-Method-Override", "POST"),)),
        ("POST", (("X-HTTP-Method-Override", "BREW"),)),
        ("POST", (("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method", "POST"))),
        ("POST", (("X-HTTP-Method-Override", "GET"), ("Content-Type", "application/json"))),
    ],
)
async def test_a_doubtful_override_is_malformed(method: str, headers: Headers) -> None:
    """Where the gate and BigQuery might take another verb, the call is refused."""
    with pytest.raises(MalformedRequest):
        await with_real_verb(HttpRequest(method, "/p", "", headers, b"a=b"))


@pytest.mark.parametrize("body", [b"a=\xc3\xa4", b"a=b\r\nX: y", b"a=b\x00"])
async def test_a_form_must_be_percent_encoded(body: bytes) -> None:
    """Nothing gets into the request line that could not be there."""
    with pytest.raises(MalformedRequest):
        await with_real_verb(HttpRequest("POST", "/p", "", (("X-HTTP-Method-Override", "GET"), *FORM), body))


async def test_a_form_is_bounded_like_a_url() -> None:
    """A form longer than a URL may be is refused."""
    with pytest.raises(BodyTooLarge):
        await with_real_verb(HttpRequest("POST", "/p", "", (("X-HTTP-Method-Override", "GET"), *FORM), b"a" * 20_000))


@pytest.mark.parametrize(
    "name",
    ["$httpMethod", "%24httpHeaders", "$key", "$userProject", "%24callback", "$ct", "$ALT", "$", "$alt%00", "$$alt"],
)
async def test_an_override_inside_the_url_is_refused(name: str) -> None:
    """Google's front end knows parameters that change verb and headers; the gate passes on none of them."""
    with pytest.raises(UnsupportedRequest):
        await with_real_verb(HttpRequest("POST", "/p", f"a=1&{name}=GET"))


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("$alt=json;enum-encoding=int", "alt=json;enum-encoding=int"),
        ("%24alt=json%3Benum-encoding%3Dint&a=b%2Fc", "alt=json%3Benum-encoding%3Dint&a=b%2Fc"),
        ("x=1&%24%66ields=a%2Cb&$prettyPrint=false", "x=1&fields=a%2Cb&prettyPrint=false"),
        ("$fields=a&fields=a&prettyPrint=false&prettyPrint=false", "fields=a&prettyPrint=false"),
        ("$alt", "alt"),
        ("alt=json&&x", "alt=json&&x"),
        ("f%69elds=a", "fields=a"),
    ],
)
async def test_system_parameters_mean_their_plain_names(query: str, plain: str) -> None:
    """Generated clients write a dollar before them; no step behind this one has to look for two spellings."""
    assert (await with_real_verb(HttpRequest("GET", "/p", query))).query == plain


@pytest.mark.parametrize(
    "query",
    ["$fields=a&fields=b", "fields=a&fields=b", "$alt=json&%24alt=media", "prettyPrint=true&$prettyPrint=false"],
)
async def test_a_system_parameter_has_one_value(query: str) -> None:
    """Which of two Google takes is not written anywhere, so the gate takes neither."""
    with pytest.raises(MalformedRequest, match="twice"):
        await with_real_verb(HttpRequest("GET", "/p", query))


async def test_a_form_may_hold_system_parameters() -> None:
    """A GET that was sent as a form is read like one that was not."""
    call = HttpRequest(
        "POST", "/p", "fields=a", (("x-http-method-override", "GET"), *FORM), b"%24alt=json&$prettyPrint=true"
    )
    assert (await with_real_verb(call)).query == "fields=a&alt=json&prettyPrint=true"
    with pytest.raises(MalformedRequest):
        await with_real_verb(replace(call, body=b"$fields=b"))
