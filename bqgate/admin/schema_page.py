"""Render JSON Schemas for readers: each property with its type in a word or two, and the schema itself to unfold.

Called by openapi_page. What a type's word leaves out (patterns, bounds) stands in the JSON.
"""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from bqgate.admin.markup import paragraphs

_Json = Mapping[str, Any]


def schema_article(name: str, schema: _Json) -> Iterator[str]:
    """One named schema."""
    yield f'<article id="schema-{escape(name)}" class="two"><h3>{escape(name)}</h3>'
    if "description" in schema:
        yield paragraphs(schema["description"])
    if "properties" in schema:
        yield "<dl>"
        required = schema.get("required", ())
        for key, value in schema["properties"].items():
            note = ' <span class="note">required</span>' if key in required else ""
            about = paragraphs(value["description"]) if "description" in value else ""
            yield f"<dt><code>{escape(key)}</code>{note}</dt><dd>{about}<p>{kind_of(value)}</p></dd>"
        yield "</dl>"
    else:
        yield f"<p>{kind_of(schema)}</p>"
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    yield f"<details><summary>JSON Schema</summary><pre>{text}</pre></details></article>"


def kind_of(schema: _Json) -> str:
    """What a value is: a link to a schema that has a name, else its type."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(kind_of(each) for each in schema[word])
    kinds = schema.get("type", "anything")
    return " or ".join(_of_type(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _of_type(kind: str, schema: _Json) -> str:
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_of(schema['additionalProperties'])}"
    form = schema.get("format")
    example = next(iter(schema.get("examples", ())), None)
    told = f" ({escape(form)})" if isinstance(form, str) else ""
    return f"{escape(kind)}{told}" + ("" if example is None else f", like <code>{escape(json.dumps(example))}</code>")
