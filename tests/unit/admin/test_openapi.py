"""The OpenAPI document: true to its own format, to what is mounted, and readable as a page."""

import base64
import re
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from bqgate.admin.openapi import openapi_document
from bqgate.admin.openapi_page import render_page
from bqgate.admin.permissions import PUBLIC
from tests.support.control_stand import ControlStand, control_stand


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane with every view."""
    async with control_stand(tmp_path) as stand:
        yield stand


@pytest.fixture
async def document(control: ControlStand) -> dict[str, Any]:
    """The document as a client gets it."""
    answer = await control.call("GET", "/openapi.json", "user")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


def references(value: Any) -> Iterator[str]:
    """Every $ref in a JSON value."""
    match value:
        case dict():
            if "$ref" in value:
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def test_it_is_an_openapi_document(document: dict[str, Any]) -> None:
    """By the JSON Schema that the format's authors published; every schema in it is JSON Schema, too."""
    jsonschema_rs.Draft202012Validator(OPENAPI_31).validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """To a schema of the document; and none is there for nothing."""
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == known


def test_it_has_every_operation_and_each_parameter_of_its_path(control: ControlStand, document: dict[str, Any]) -> None:
    """Nothing is mounted that is not in it."""
    described = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert described.keys() == {(each.method, each.path) for each in control.operations}
    for (_method, path), operation in described.items():
        named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert named == set(re.findall(r"{([^}]+)}", path))
        assert any(status.startswith("2") for status in operation["responses"])
    ids = [operation["operationId"] for operation in described.values()]
    assert len(ids) == len(set(ids))


def test_what_the_framework_answers_is_in_it(document: dict[str, Any]) -> None:
    """Where it can occur, and nowhere else."""
    check = document["paths"]["/v1/customers/{customer}/budget:check"]["post"]["responses"]
    assert check.keys() == {"200", "400", "401", "403", "404", "408", "413", "415", "429", "503"}
    assert "WWW-Authenticate" in check["401"]["headers"]
    assert {"Retry-After", "RateLimit-Reset"} <= check["429"]["headers"].keys()
    alive = document["paths"]["/healthz"]["get"]
    assert (alive["security"], alive["responses"].keys()) == ([], {"200", "400"})


async def test_the_page_needs_nothing_from_elsewhere(control: ControlStand, document: dict[str, Any]) -> None:
    """Its policy allows its own style sheet alone; there is no script and no address of another host in it."""
    answer = await control.call("GET", "/openapi", "user")
    page = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://(?!\S*(openapis|json-schema))", page)
    for operation in control.operations:
        assert f'id="{operation.id}"' in page
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page


@pytest.mark.parametrize("path", ["/openapi", "/openapi.json"])
async def test_the_document_is_for_everybody(control: ControlStand, path: str) -> None:
    """As BigQuery's discovery is: without a token, with one that is nobody's, and for HEAD; it is the same for all."""
    told = [(await control.call("GET", path, who)).body for who in ("", "nobody at all", "user", "super_admin")]
    assert len(set(told)) == 1
    assert (await control.call("HEAD", path, "")).status == 200


def test_descriptions_are_rendered(control: ControlStand) -> None:
    """Markdown becomes markup: code, emphasis, paragraphs, lists; of what it names no link and no image is made."""
    written = openapi_document(control.operations, PUBLIC)
    written["info"]["description"] = (
        "One `a<b`, **two**.\n\nThree:\n\n- x\n- y\n\n[link](javascript:a) ![image](//x.example/i) <mailto:x@y.example>"
    )
    page = render_page(written)
    assert "<p>One <code>a&lt;b</code>, <strong>two</strong>.</p>" in page
    assert "<li>x</li>" in page
    assert "[link](javascript:a) ![image]" in page
    assert not re.search(r"href=.(javascript|mailto)|<img", page)
    assert "<code>field</code> says what of it." in page
    assert "`" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)


def test_schemas_are_told_property_by_property(control: ControlStand) -> None:
    """With its type in words, linked where it has a name, and whether it must be there."""
    page = render_page(openapi_document(control.operations, PUBLIC))
    article = page.partition('id="schema-NewKeyBody"')[2].partition("</article>")[0]
    assert '<dt><code>role</code> <span class="note">required</span></dt>' in article
    assert "<code>&quot;key_file&quot;</code> or <code>&quot;token&quot;</code>" in article
    assert "string (date-time) or null" in article
    tier = page.partition('id="schema-NewTier"')[2].partition("</article>")[0]
    assert 'list of <a href="#schema-ThresholdPolicy">ThresholdPolicy</a>' in tier


async def test_what_stands_in_the_document_cannot_become_markup(control: ControlStand) -> None:
    """Everything is escaped."""
    written = openapi_document(control.operations, PUBLIC)
    written["info"]["description"] = "<script>alert(1)</script>"
    written["paths"]["/v1/jobs"]["get"]["summary"] = '"><img src=x>'
    page = render_page(written)
    assert "<script" not in page
    assert "<img" not in page
