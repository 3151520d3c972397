"""Render the OpenAPI document as a page to read: one HTML file with its own style, no script, nothing fetched.

Called by openapi. Everything out of the document is escaped. PAGE_POLICY is the Content-Security-Policy that goes with
it: the browser may apply this one style sheet and load nothing.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #1a6fb5; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; text-transform: capitalize; }
h3 { font-size: 1rem; margin: 0; } h4 { font-size: .85rem; margin: 1rem 0 .3rem; }
nav ul { columns: 2; list-style: none; padding: 0; } a { color: var(--accent); text-decoration: none; }
article { border: 1px solid var(--line); border-radius: .4rem; margin: 1rem 0; padding: .8rem 1rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { background: var(--soft); overflow: auto; padding: .7rem; }
.method { background: var(--accent); border-radius: .2rem; color: #fff; padding: .1rem .4rem; }
table { border-collapse: collapse; width: 100%; } summary { cursor: pointer; }
td, th { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0; text-align: left; vertical-align: top; }
"""

_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_Json = Mapping[str, Any]


def render_page(document: _Json) -> str:
    """The page."""
    return "\n".join(_page(document))


def _page(document: _Json) -> Iterator[str]:
    title = f"{document['info']['title']} {document['info']['version']}"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
    for paragraph in document["info"]["description"].strip().split("\n\n"):
        yield f"<p>{escape(paragraph)}</p>"
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    yield "<nav><ul>"
    for method, path, operation in operations:
        anchor = escape(operation["operationId"])
        yield f'<li><a href="#{anchor}"><code>{escape(method)} {escape(path)}</code></a></li>'
    yield "</ul></nav>"
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>"
        for method, path, operation in operations:
            if tag["name"] in operation["tags"]:
                yield from _operation(method, path, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3>{_shown(schema)}</article>'
    yield "</body></html>"


def _operation(method: str, path: str, operation: _Json) -> Iterator[str]:
    yield f'<article id="{escape(operation["operationId"])}">'
    yield f'<h3><span class="method">{escape(method)}</span> <code>{escape(path)}</code></h3>'
    yield f"<p>{escape(operation['summary'])}.</p>"
    if operation["parameters"]:
        yield "<h4>Parameters</h4><table>"
        for each in operation["parameters"]:
            where = f"{each['in']}{', required' if each['required'] else ''}"
            rule = escape(json.dumps(each["schema"]))
            yield f"<tr><th>{escape(each['name'])}</th><td>{where}</td><td>{escape(each['description'])}</td>"
            yield f"<td><code>{rule}</code></td></tr>"
        yield "</table>"
    if "requestBody" in operation:
        yield "<h4>Body</h4><p>"
        for media_type, content in operation["requestBody"]["content"].items():
            yield f"<code>{escape(media_type)}</code> {_named(content['schema'])} "
        yield "</p>"
    yield "<h4>Answers</h4><table>"
    for status, answer in operation["responses"].items():
        bodies = " ".join(
            f"<code>{escape(media_type)}</code> {_named(content['schema'])}"
            for media_type, content in answer.get("content", {}).items()
        )
        yield f"<tr><th>{escape(status)}</th><td>{escape(answer['description'])}</td><td>{bodies}</td></tr>"
    yield "</table></article>"


def _named(schema: _Json) -> str:
    """A link to a schema that has a name; another stands where it is used."""
    if "$ref" not in schema:
        return f"<code>{escape(json.dumps(schema))}</code>"
    name = escape(schema["$ref"].rpartition("/")[2])
    return f'<a href="#schema-{name}">{name}</a>'


def _shown(schema: _Json) -> str:
    about = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f"{about}<details><summary>JSON Schema</summary><pre>{text}</pre></details>"
