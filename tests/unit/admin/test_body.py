"""Bodies, preconditions and patches: what is refused, and by which name."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from bqgate.admin.body import read_whole
from bqgate.admin.merge_patch import merged
from bqgate.admin.problem import Problem
from tests.unit.admin.conftest import Plane

PATH = "/v1/customers/acme/budget:check"

# RFC 7396, appendix A.
CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("target", "patch", "expected"), CASES)
def test_a_merge_patch_does_what_its_rfc_says(target: Any, patch: Any, expected: Any) -> None:
    """Every example of the appendix."""
    assert merged(target, patch) == expected


@given(VALUES, VALUES)
def test_a_merge_patch_applied_again_changes_nothing(target: Any, patch: Any) -> None:
    """And what is given is left as it was."""
    before = json.dumps([target, patch])
    once = merged(target, patch)
    assert merged(once, patch) == once
    assert json.dumps([target, patch]) == before


@pytest.mark.parametrize(
    ("data", "content_type", "status", "field"),
    [
        (b'{"cost_usd": "1", "cost_usd": "2"}', "application/json", 400, "cost_usd"),
        (b'{"cost_usd": "1", "nested": {"a": 1, "a": 1}}', "application/json", 400, "a"),
        (b'{"cost_usd": NaN}', "application/json", 400, None),
        (b"[" * 60_000, "application/json", 400, None),
        (b'{"cost_usd": "\\ud800"}', "application/json", 400, None),
        (b'{"cost_usd": "1"}', "text/plain", 415, "Content-Type"),
        (b'{"cost_usd": "1"}', "application/x-www-form-urlencoded", 415, "Content-Type"),
        (b'{"cost_usd": "1"}', "application/json; charset=utf-8", 200, None),
        (b'\xef\xbb\xbf{"cost_usd": "1"}', "application/json", 200, None),
        ('{"cost_usd": "1"}'.encode("utf-16"), "application/json", 400, None),
    ],
)
async def test_a_body_means_one_thing_or_is_refused(
    plane: Plane, data: bytes, content_type: str, status: int, field: str | None
) -> None:
    """A name that stands twice, a number that is none, another type: by its name. A byte order mark is read over."""
    async with plane.client.post(PATH, data=data, headers={"Content-Type": content_type}) as answer:
        document = await answer.json(content_type=None)
        assert answer.status == status, document
        assert document.get("field") == field


async def test_every_fault_of_a_body_is_named_at_once(plane: Plane) -> None:
    """The first in `field`, all in `errors`."""
    document = await plane.check("acme", {"cost_usd": "-1", "a": 1, "b": 2}, 400)
    assert document["field"] == "cost_usd"
    assert [each["field"] for each in document["errors"]] == ["cost_usd", "a", "b"]
    assert "2 more in errors" in document["detail"]


async def test_a_body_has_its_time() -> None:
    """One that drips in, a byte now and then, is given up; the answer can still be read."""

    async def answer(request: web.Request) -> web.Response:
        try:
            await read_whole(request, bytes_max=100, within_s=0.2)
        except Problem as problem:
            return web.Response(status=problem.status, text=problem.detail)
        return web.Response()

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x"
            await asyncio.sleep(0.05)  # noqa: TID251 - a slow sender

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server, ClientSession() as http, http.post(server.make_url("/"), data=drip()) as told:
        assert (told.status, await told.text()) == (408, "The body has not arrived within 0.2 seconds.")
