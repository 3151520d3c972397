import io
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate import __version__
from bqgate.app import Gate, open_gate
from tests.support.gate_stack import settings_for

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SECRET = "iQ3vX8sLm2Zr7Tn4Kc9Wb6Hp1Yd5Gf0J"
REQUIRED = {"mode": "required", "token_secret": SECRET}


async def open_at(folder: Path, **sections: Any) -> AsyncIterator[Gate]:
    document = {"customers": {"acme-secret-name": {}}, **sections}
    async with open_gate(settings_for(folder, "http://127.0.0.1:9", document), log_stream=io.StringIO()) as gate:
        yield gate


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    """A gate with both planes on one port, before whose control plane callers must prove who they are."""
    async for opened in open_at(tmp_path, identity=REQUIRED):
        yield opened


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML;charset=utf-8;q=0.5", True),
        ("application/json;q=0.5, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
        (None, False),
    ],
)
async def test_browsers_get_a_page_and_others_json(
    gate: Gate, session: aiohttp.ClientSession, accept: str | None, is_page: bool
) -> None:
    """By what they say they take; nobody is asked who they are, and load balancers that probe / get their 200."""
    headers = {} if accept is None else {"Accept": accept}
    skipped = ["Accept"] if accept is None else []
    for method in ("GET", "HEAD"):
        async with session.request(method, gate.url + "/", headers=headers, skip_auto_headers=skipped) as answer:
            kind = "text/html" if is_page else "application/json"
            assert (answer.status, answer.content_type, answer.headers["Vary"]) == (200, kind, "Accept")
            assert bool(await answer.read()) == (method == "GET")


async def test_the_page_says_what_this_is_and_nothing_of_anybody(gate: Gate, session: aiohttp.ClientSession) -> None:
    """Name, version, purpose, that identity is required, links that answer; no customer, no secret, no script."""
    async with session.get(gate.url, headers={"Accept": BROWSER}) as answer:
        page, headers = await answer.text(), answer.headers
    assert f"<h1>bqgate {__version__}</h1>" in page
    assert "must prove who they are" in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script|<link|<img|@import|url\(|acme|secret|[0-9] USD", page)
    links = re.findall(r'href="([^"]+)"', page)
    assert links == ["/openapi", "/openapi.json", "/healthz", "/readyz", "/metrics"]
    for link in links:
        async with session.get(gate.url + link) as answer:
            assert answer.status == (401 if link == "/metrics" else 200)


async def test_other_methods_are_none_of_bigquerys(gate: Gate, session: aiohttp.ClientSession) -> None:
    """In BigQuery's form, as before; so is what is below no path of the gate's."""
    for method, path in (("POST", "/"), ("DELETE", "/"), ("GET", "/unknown")):
        async with session.request(method, gate.url + path, headers={"Accept": BROWSER}) as answer:
            assert (answer.status, (await answer.json())["error"]["errors"][0]["reason"]) == (501, "notImplemented")


async def test_each_port_says_what_is_on_it(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Where the control plane has a port of its own, the data plane's page does not lead to what is not there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        control_port = closed.getsockname()[1]
    async for gate in open_at(tmp_path, server={"port": 0, "control_port": control_port}):
        assert gate.url != gate.control_url
        told = []
        for url in (gate.url, gate.control_url):
            async with session.get(url) as answer:
                told.append(await answer.json())
            async with session.get(url, headers={"Accept": BROWSER}) as answer:
                assert (await answer.text()).count("port of their own") == (url == gate.url)
        data, control = told
        assert (data["links"], data["identity"]) == ([], "open")
        assert "/openapi" in control["links"]
        assert data["name"] == control["name"] == "bqgate"
