"""Render the OpenAPI document as a page to read, on a telephone too.

Called by openapi. Descriptions are Markdown (markup.py), everything else out of the document is escaped; page.py has
the style and the policy.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from bqgate.admin.markup import inline, paragraphs
from bqgate.admin.page import write_page
from bqgate.admin.schema_page import kind_of, schema_article

_Json = Mapping[str, Any]


def render_page(document: _Json) -> str:
    """The page."""
    return write_page(f"{document['info']['title']} {document['info']['version']}", _body(document))


def _body(document: _Json) -> Iterator[str]:
    yield paragraphs(document["info"]["description"])
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    yield "<nav><ul>"
    for method, path, operation in operations:
        yield f'<li><a href="#{escape(operation["operationId"])}">{_name(method, path)}</a></li>'
    yield '<li><a href="#schemas">Schemas</a></li></ul></nav>'
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'].capitalize())}</h2>"
        for method, path, operation in operations:
            if tag["name"] in operation["tags"]:
                yield from _operation(method, path, operation)
    yield '<h2 id="schemas">Schemas</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield from schema_article(name, schema)


def _operation(method: str, path: str, operation: _Json) -> Iterator[str]:
    yield f'<article id="{escape(operation["operationId"])}" class="two">'
    yield f"<h3>{_name(method, path)}</h3>"
    open_to_all = " Asks nobody who they are." if operation.get("security") == [] else ""
    yield f"<p>{inline(operation['summary'])}.{open_to_all}</p>"
    if operation["parameters"]:
        yield "<h4>Parameters</h4><dl>"
        for each in operation["parameters"]:
            where = f"{each['in']}{', required' if each['required'] else ''}"
            yield f'<dt><code>{escape(each["name"])}</code> <span class="note">{escape(where)}</span></dt>'
            yield f"<dd>{paragraphs(each['description'])}<p>{kind_of(each['schema'])}</p></dd>"
        yield "</dl>"
    if "requestBody" in operation:
        yield f"<h4>Body</h4><p>{_contents(operation['requestBody']['content'])}</p>"
    yield "<h4>Answers</h4><dl>"
    for status, answer in operation["responses"].items():
        yield f"<dt><code>{escape(status)}</code></dt>"
        contents = _contents(answer.get("content", {}))
        yield f"<dd>{paragraphs(answer['description'])}{contents and f'<p>{contents}</p>'}"
        for name, header in answer.get("headers", {}).items():
            yield f"<p><code>{escape(name)}</code>: {inline(header['description'])}</p>"
        yield "</dd>"
    yield "</dl></article>"


def _contents(contents: Mapping[str, _Json]) -> str:
    return "<br>".join(
        f"<code>{escape(media_type)}</code> {kind_of(content['schema'])}" for media_type, content in contents.items()
    )


def _name(method: str, path: str) -> str:
    """What an operation is called; its path may be broken where a reader would break it, behind the slashes."""
    path_text = escape(path).replace("/", "/<wbr>")
    return f'<span class="method">{escape(method)}</span> <code>{path_text}</code>'
