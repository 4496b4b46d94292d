"""A page to read an OpenAPI document: plain HTML, so that it needs nothing that would have to be fetched."""

from __future__ import annotations

import html
import re
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font-size: .95em; } h2 { margin-top: 3rem; } h3 { margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; } .verb { text-transform: uppercase; font-weight: 600; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid #8884; }
"""


def page(document: dict[str, Any]) -> str:
    """The document as HTML."""
    operations = "".join(
        _operation(path, verb, operation, document)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    info = document["info"]
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(info['title'])}</title><style>{_STYLE}</style>\n"
        f"<h1>{html.escape(info['title'])}</h1>\n{_prose(info['description'])}\n"
        f"<p>The same as <a href=openapi.json>openapi.json</a>, for people.</p>\n"
        f"<h2>Operations</h2>\n{operations}<h2>Objects</h2>\n{schemas}</html>\n"
    )


def _operation(path: str, verb: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [
        f"<h3 id={operation['operationId']}><span class=verb>{verb}</span> <code>{html.escape(path)}</code></h3>\n",
        _prose(operation.get("description", "")),
    ]
    parameters = [_resolved(each, document) for each in operation.get("parameters", [])]
    if parameters:
        rows = "".join(
            f"<tr><td><code>{each['name']}</code><td>{each['in']}{', required' if each.get('required') else ''}"
            f"<td>{_type(each['schema'])}<td>{_inline(each.get('description', ''))}"
            for each in parameters
        )
        parts.append(f"<table><tr><th>parameter<th>in<th>type<th>{rows}</table>\n")
    if "requestBody" in operation:
        bodies = (f"{kind}: {_type(body['schema'])}" for kind, body in operation["requestBody"]["content"].items())
        parts.append(f"<p>Takes {' or '.join(bodies)}.</p>\n")
    rows = ""
    for status, reference in operation["responses"].items():
        answer = _resolved(reference, document)
        kinds = ", ".join(
            f"{kind}: {_type(body.get('schema', {}))}" for kind, body in answer.get("content", {}).items()
        )
        rows += f"<tr><td>{status}<td>{_inline(answer['description'])}<td>{kinds}"
    parts.append(f"<table><tr><th>status<th>when<th>body{rows}</table>\n")
    return "".join(parts)


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{field}</code>{' (required)' if field in required else ''}<td>{_type(each)}"
        f"<td>{_inline(each.get('description', ''))}"
        for field, each in schema.get("properties", {}).items()
    )
    return f"<h3 id={name}>{name}</h3>\n{_prose(schema.get('description', ''))}<table>{rows}</table>\n"


def _resolved(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    assert isinstance(found, dict)
    return found


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{name}'>{name}</a>"
    if "items" in schema:
        return f"array of {_type(schema['items'])}"
    if "enum" in schema:
        return ", ".join(f"<code>{html.escape(str(each))}</code>" for each in schema["enum"])
    kind = schema.get("type", "any JSON")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _prose(text: str) -> str:
    paragraphs = re.split(r"\n\n|\n(?=- )", text)
    return "".join(f"<p>{_inline(each.removeprefix('- '))}</p>\n" for each in paragraphs if each)


def _inline(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
