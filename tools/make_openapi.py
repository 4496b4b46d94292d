"""Makes gen/openapi/: openapi.json out of the protos and an overlay, and a page to read it.

Usage: PYTHONPATH=gen/python python -m tools.make_openapi DESCRIPTOR_SET_WITH_COMMENTS OVERLAY OUTPUT_DIRECTORY

The protos give paths, parameters, schemas and descriptions. The overlay, itself a part of an OpenAPI document, is laid
over them: objects are joined key by key, parameters by their names, anything else takes the place of what was there,
and null removes it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2 as pb

from tools.openapi_page import page

_NUMBERS: Mapping[int, Mapping[str, Any]] = {
    pb.FieldDescriptorProto.TYPE_INT32: {"type": "integer", "format": "int32"},
    pb.FieldDescriptorProto.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    pb.FieldDescriptorProto.TYPE_DOUBLE: {"type": "number"},
    pb.FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    pb.FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    pb.FieldDescriptorProto.TYPE_BYTES: {"type": "string", "contentEncoding": "base64", "format": "byte"},
}
# JSON of any shape, in the messages that protobuf has for it.
_WELL_KNOWN: Mapping[str, dict[str, Any]] = {
    ".google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    ".google.protobuf.Value": {},
}
_RAW_BODY = ".google.api.HttpBody"
_OWN = ".imagevariations.v1."
_MESSAGE, _SERVICE = 4, 6  # Field numbers of FileDescriptorProto, which are what locations of comments are made of.


class Document:
    """An OpenAPI document that grows by what descriptors say."""

    def __init__(self, files: pb.FileDescriptorSet) -> None:
        self._messages: dict[str, pb.DescriptorProto] = {}
        self._comments: dict[str, str] = {}
        self._schemas: dict[str, Any] = {}
        self._paths: dict[str, dict[str, Any]] = {}
        own = [file for file in files.file if file.package == _OWN.strip(".")]
        for file in own:
            self._read(file)
        for file in own:
            for service in file.service:
                self._add_service(service)

    def value(self) -> dict[str, Any]:
        """The document without what only the overlay knows."""
        return {"paths": self._paths, "components": {"schemas": dict(sorted(self._schemas.items()))}}

    def _read(self, file: pb.FileDescriptorProto) -> None:
        comments = {tuple(place.path): _text(place.leading_comments) for place in file.source_code_info.location}
        for number, message in enumerate(file.message_type):
            name = f".{file.package}.{message.name}"
            self._messages[name] = message
            self._comments[name] = comments.get((_MESSAGE, number), "")
            for position, field in enumerate(message.field):
                self._comments[f"{name}.{field.name}"] = comments.get((_MESSAGE, number, 2, position), "")
        for number, service in enumerate(file.service):
            for position, method in enumerate(service.method):
                about = comments.get((_SERVICE, number, 2, position), "")
                self._comments[f"{service.name}.{method.name}"] = about

    def _add_service(self, service: pb.ServiceDescriptorProto) -> None:
        for method in service.method:
            rule = method.options.Extensions[annotations_pb2.http]
            verb = rule.WhichOneof("pattern")
            if verb is None or method.input_type == _RAW_BODY:
                continue
            about = self._comments[f"{service.name}.{method.name}"]
            operation: dict[str, Any] = {
                "operationId": method.name[0].lower() + method.name[1:],
                "tags": [service.name],
                "summary": about.split(". ")[0].split("\n\n")[0].rstrip("."),
                "description": about,
            }
            path = getattr(rule, verb)
            parameters = list(self._parameters(method.input_type, path, with_query=not rule.body))
            if parameters:
                operation["parameters"] = parameters
            if rule.body:
                content = {"application/json": {"schema": self._reference(method.input_type)}}
                operation["requestBody"] = {"required": True, "content": content}
            answer: dict[str, Any] = {"description": "Success."}
            if method.output_type != _RAW_BODY:
                media_type = "text/event-stream" if method.server_streaming else "application/json"
                answer["content"] = {media_type: {"schema": self._reference(method.output_type)}}
            operation["responses"] = {"200": answer}
            self._paths.setdefault(path, {})[verb] = operation

    def _parameters(self, message: str, path: str, *, with_query: bool) -> Iterator[dict[str, Any]]:
        in_path = re.findall(r"\{(\w+)\}", path)
        for field in self._messages[message].field:
            if field.name in in_path or with_query:
                schema = self._field(message, field)
                about = schema.pop("description", "")
                required = field.name in in_path or _required(field)
                place = "path" if field.name in in_path else "query"
                yield {"name": field.name, "in": place, "required": required, "description": about, "schema": schema}

    def _reference(self, name: str) -> dict[str, Any]:
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        short = name.removeprefix(_OWN)
        if short not in self._schemas:
            self._schemas[short] = {}  # Before its fields, which may be messages that hold it again.
            message = self._messages[name]
            schema: dict[str, Any] = {"type": "object", "description": self._comments[name]}
            schema["properties"] = {field.name: self._field(name, field) for field in message.field}
            required = [field.name for field in message.field if _required(field)]
            self._schemas[short] = {**schema, **({"required": required} if required else {})}
        return {"$ref": f"#/components/schemas/{short}"}

    def _field(self, message: str, field: pb.FieldDescriptorProto) -> dict[str, Any]:
        schema = self._reference(field.type_name) if field.type_name else dict(_NUMBERS[field.type])
        if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
            schema = {"type": "array", "items": schema}
        return {**schema, "description": self._comments[f"{message}.{field.name}"]}


def _required(field: pb.FieldDescriptorProto) -> bool:
    return field_behavior_pb2.REQUIRED in field.options.Extensions[field_behavior_pb2.field_behavior]


def _text(comment: str) -> str:
    """A comment with its lines joined, paragraphs and lists kept."""
    lines = [line.strip() for line in comment.strip().splitlines()]
    return re.sub(r"(?<!\n)\n(?![\n-])", " ", "\n".join(lines))


def laid_over(below: Any, above: Any) -> Any:
    """``above`` joined with ``below``; None in it removes."""
    if isinstance(below, list) and isinstance(above, list) and all("name" in each for each in (*below, *above)):
        known = {each["name"]: each for each in below}
        joined = known | {each["name"]: laid_over(known.get(each["name"], {}), each) for each in above}
        return list(joined.values())
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    joined = {name: laid_over(value, above[name]) if name in above else value for name, value in below.items()}
    joined |= {name: value for name, value in above.items() if name not in below}
    return {name: value for name, value in joined.items() if value is not None}


def main() -> None:
    descriptors, overlay, out = (Path(argument) for argument in sys.argv[1:])
    files = pb.FileDescriptorSet.FromString(descriptors.read_bytes())
    document = laid_over(Document(files).value(), yaml.safe_load(overlay.read_text(encoding="utf-8")))
    order = ("openapi", "info", "servers", "security", "tags", "paths", "components")
    document = {name: document[name] for name in order}
    out.mkdir(parents=True, exist_ok=True)
    (out / "openapi.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (out / "index.html").write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
