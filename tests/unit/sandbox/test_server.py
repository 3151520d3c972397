from __future__ import annotations

import gzip
import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from yarl import URL

QUERY = {"query": "SELECT 1 AS x", "useLegacySql": False}


@pytest.mark.parametrize(
    "path",
    [
        "/bigquery/v2/projects/p/queries",
        "/projects/p/queries",
        "//bigquery//v2/projects//p/queries",
        "/bigquery/v2/bigquery/v2/projects/p/queries",
        "/bigquery/v2/projects/p/queries/",
    ],
)
async def test_path_may_be_written_in_many_ways(api: Any, path: str) -> None:
    """With and without the prefix, with doubled slashes."""
    assert (await api("POST", path, QUERY)).body["rows"] == [{"f": [{"v": "1"}]}]


async def test_gzip_goes_both_ways(api: Any, flights: str) -> None:
    """A gzipped request is read, and a caller who takes gzip gets it."""
    body = gzip.compress(json.dumps({"query": flights, "useLegacySql": False}).encode())
    url = f"{api.sandbox.url}/projects/p/queries"
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Accept-Encoding": "gzip"}
    async with api.session.post(url, data=body, headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert (await response.json())["totalRows"] == "16"
    async with api.session.post(url, data=body, headers={**headers, "Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize(
    "wish", ["gzip;q=0", "identity;q=1, *;q=0", "GZIP; q=0.0, deflate", "identity, gzip;q=0.5", "br"]
)
async def test_who_takes_no_gzip_gets_none(api: Any, flights: str, wish: str) -> None:
    """A weight of zero is a no; plain text that is wanted more is sent."""
    body = json.dumps({"query": flights, "useLegacySql": False}).encode()
    url = f"{api.sandbox.url}/projects/p/queries"
    async with api.session.post(url, data=body, headers={"Accept-Encoding": wish}) as response:
        assert "Content-Encoding" not in response.headers


async def test_broken_gzip_is_refused(api: Any) -> None:
    """A body that is not what its Content-Encoding says is a 400."""
    url = f"{api.sandbox.url}/projects/p/queries"
    async with api.session.post(url, data=b"plain", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400


async def test_method_override(api: Any) -> None:
    """A POST that means GET or PATCH is one; a form body holds a long GET's parameters."""
    await api("POST", "jobs", {"configuration": {"query": QUERY}, "jobReference": {"jobId": "a"}})
    answer = await api(
        "POST", "queries/a", data={"maxResults": "0", "fields": "totalRows"}, headers={"X-HTTP-Method-Override": "GET"}
    )
    assert answer.body == {"totalRows": "1"}
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    patched = await api("POST", "datasets/d", {"description": "x"}, headers={"X-HTTP-Method-Override": "PATCH"})
    assert patched.body["description"] == "x"


async def test_long_urls_are_read(api: Any) -> None:
    """A URL of 16 KiB is no error of the server."""
    answer = await api("GET", f"jobs?pageToken={'x' * 16_000}")
    assert (answer.status, answer.reason) == (400, "invalid")


@pytest.mark.parametrize("query", ["alt=media", "alt=proto", "callback=f", "$alt=media", "%24alt=json%3Bx"])
async def test_only_json_is_spoken(api: Any, query: str) -> None:
    """Other forms of answers are refused."""
    assert (await api("GET", f"jobs?{query}")).status == 400
    assert (await api("GET", "jobs?alt=json")).status == 200


async def test_system_parameters_have_a_name_with_a_dollar(api: Any) -> None:
    """$alt, $fields and $prettyPrint are alt, fields and prettyPrint, and enums come as numbers on demand."""
    url = f"{api.sandbox.url}/bigquery/v2/projects/p/queries"
    masked = "%24alt=json%3Benum-encoding%3Dint&$fields=jobCreationReason,cacheHit&%24prettyPrint=false"
    async with api.session.post(URL(f"{url}?{masked}", encoded=True), json=QUERY) as response:
        assert (await response.text()).strip() == '{"cacheHit": false, "jobCreationReason": {"code": 1}}'
    assert (await api("POST", "queries", QUERY)).body["jobCreationReason"] == {"code": "REQUESTED"}


async def test_a_byte_order_mark_is_read_over(api: Any) -> None:
    """What follows it is the body."""
    answer = await api("POST", "queries", data=b"\xef\xbb\xbf" + json.dumps(QUERY).encode())
    assert answer.body["rows"] == [{"f": [{"v": "1"}]}]


async def test_numbers_in_parameters_keep_every_digit(api: Any) -> None:
    """Each is another query with another result, cached or not."""
    for number in ("1234567890123456789.123456789", "1234567890123456789.123456788"):
        parameter = f'{{"name":"a","parameterType":{{"type":"NUMERIC"}},"parameterValue":{{"value":{number}}}}}'
        body = f'{{"query":"SELECT @a AS a","useLegacySql":false,"queryParameters":[{parameter}]}}'
        assert (await api("POST", "queries", data=body.encode())).body["rows"] == [{"f": [{"v": number}]}]


async def test_a_table_may_be_named_with_any_space(api: Any) -> None:
    """Every kind of space is a character of a table's name."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    schema = {"fields": [{"name": "x", "type": "INTEGER"}]}
    for name in ("a\u3000b", "a\u00a0b", "a b"):
        assert (
            await api("POST", "datasets/d/tables", {"tableReference": {"tableId": name}, "schema": schema})
        ).status == 200
        row = {"rows": [{"json": {"x": 7}}]}
        assert (await api("POST", f"datasets/d/tables/{quote(name)}/insertAll", row)).status == 200
        assert (await api("GET", f"datasets/d/tables/{quote(name)}/data")).body["rows"] == [{"f": [{"v": "7"}]}]


async def test_pretty_print_and_content_type(api: Any) -> None:
    """Indented unless prettyPrint=false; JSON in UTF-8 always."""
    url = f"{api.sandbox.url}/projects/p/jobs"
    async with api.session.get(url) as pretty, api.session.get(f"{url}?prettyPrint=false") as plain:
        assert "\n  " in await pretty.text()
        assert "\n  " not in await plain.text()
        assert plain.headers["Content-Type"] == "application/json; charset=UTF-8"


@pytest.mark.parametrize(
    "body",
    [
        b"{broken",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b"{" * 3000,
        b"[" * 200_000,
    ],
)
async def test_body_that_is_no_json_object_is_a_parse_error(api: Any, body: bytes) -> None:
    """400 `parseError` in BigQuery's form."""
    answer = await api("POST", "queries", data=body)
    assert (answer.status, answer.reason) == (400, "parseError")


async def test_deeply_nested_body_is_refused(api: Any) -> None:
    """A schema nested beyond all reason is a 400, not a crash."""
    field = '{"name":"x","type":"RECORD","fields":[' * 400 + "]}" * 400
    body = f'{{"tableReference":{{"tableId":"t"}},"schema":{{"fields":[{field}]}}}}'
    assert (await api("POST", "datasets/d/tables", data=body.encode())).status == 400


async def test_fields_trims_the_answer_but_not_errors(api: Any) -> None:
    """`fields=` selects; an error stays whole; a broken mask is refused."""
    answer = await api("POST", "queries?fields=jobReference/jobId,rows", QUERY)
    assert set(answer.body) == {"jobReference", "rows"}
    assert set(answer.body["jobReference"]) == {"jobId"}
    assert (await api("GET", "jobs/none?fields=id")).reason == "notFound"
    assert (await api("GET", "jobs?fields=a(")).status == 400


async def test_unknown_methods_and_unsupported_ones(api: Any) -> None:
    """What is not in the API is 404; what the sandbox can not do is 501 and says so."""
    assert (await api("GET", "/bigquery/v2/nonsense")).status == 404
    assert (await api("DELETE", "/bigquery/v2/projects/p/queries")).status == 404
    for verb, path in (("GET", "datasets/d/routines"), ("POST", "datasets/d/tables/t:getIamPolicy")):
        answer = await api(verb, path, {} if verb == "POST" else None)
        assert (answer.status, answer.reason) == (501, "notImplemented")


async def test_tokens_name_users(api: Any) -> None:
    """A known token is its user, none is the default user, "invalid" is a 401 with a challenge."""

    async def email(headers: Any) -> str:
        body = {"configuration": {"query": QUERY}}
        found: str = (await api("POST", "jobs", body, headers=headers)).body["user_email"]
        return found

    assert await email({}) == "sandbox@example.com"
    assert await email({"Authorization": "Bearer ann-token"}) == "ann@example.com"
    answer = await api("GET", "jobs", headers={"Authorization": "Bearer invalid"})
    assert (answer.status, answer.reason) == (401, "authError")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert (await api("GET", "jobs?access_token=invalid")).status == 401


async def test_journal_shows_what_was_received(api: Any) -> None:
    """Method, path, body and headers of every call, over HTTP too."""
    await api("POST", "queries", QUERY, headers={"X-Test": "yes"})
    calls = (await api("GET", "/sandbox/v1/calls?method=jobs.query")).body["calls"]
    assert len(calls) == 1
    assert calls[0]["path"] == "/bigquery/v2/projects/p/queries"
    assert calls[0]["body"] == QUERY
    assert calls[0]["headers"]["X-Test"] == "yes"
    assert calls[0]["status"] == 200
    await api("DELETE", "/sandbox/v1/calls")
    assert (await api("GET", "/sandbox/v1/calls")).body == {"calls": []}


async def test_admin_paths_refuse_nonsense(api: Any) -> None:
    """Unknown paths are 404, a clock does not run backwards."""
    assert (await api("GET", "/sandbox/v1/nothing")).status == 404
    assert (await api("POST", "/sandbox/v1/clock:advance", {"seconds": -1})).status == 400
    assert (await api("POST", "/sandbox/v1/clock:advance", {"seconds": 5})).body["now"]


async def test_cache_can_be_cleared(api: Any, flights: str) -> None:
    """After clearing, the next query runs again."""
    await api.query(flights)
    assert (await api("POST", "/sandbox/v1/cache:clear", {})).status == 204
    assert (await api.query(flights)).body["cacheHit"] is False


async def test_etag_header_stands_beside_the_body(api: Any) -> None:
    """Answers with an etag say it in the header as well."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    answer = await api("GET", "datasets/d")
    assert answer.headers["ETag"] == f'"{answer.body["etag"]}"'


async def test_absolute_request_target(api: Any) -> None:
    """A percent-encoded dollar in the discovery path is the same path."""
    assert (await api("GET", f"/{quote('$discovery')}/rest?version=v2")).body["id"] == "bigquery:v2"
    assert urlsplit(api.sandbox.url).hostname == "127.0.0.1"


async def test_client_that_leaves_harms_nobody(api: Any) -> None:
    """A connection that breaks in the middle of a request leaves the sandbox well."""
    parts = urlsplit(api.sandbox.url)
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        raw.sendall(b"POST /projects/p/queries HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await api("GET", "jobs")).status == 200
