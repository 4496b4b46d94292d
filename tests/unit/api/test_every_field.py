"""Every place that must know a field of the request knows it: a forgotten one fails here by the field's name."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest
from imagevariations.v1 import image_variation_pb2 as pb
from running_gateway import REPOSITORY

from service.api.rest.body import whole_body
from service.api.rest.field_names import NAMES
from service.api.rest.form import parse_form
from service.api.rest.json_request import parse_json
from service.api.validation import SIZES, Fields, checked
from service.core.values import VariationRequest

MESSAGE = pb.CreateImageVariationRequest.DESCRIPTOR
SOURCE = {"image": b"png"}
# A value that is valid and not the default, as the encodings deliver it; and the fields that it needs beside it.
VALUES: dict[str, dict[str, Any]] = {
    "model": {"model": "local/vary"},
    "image": SOURCE,
    "image_url": {"image_url": "https://example.org/x.png", "image": b""},
    "n": {"n": 2},
    "size": {"size": "512x512"},
    "response_format": {"response_format": "b64_json"},
    "user": {"user": "u-1"},
    "fallbacks": {"fallbacks": ("local/vary",)},
    "prompt": {"prompt": "at night"},
    "strength": {"strength": 0.0},
    "seed": {"seed": 0},
    "output_format": {"output_format": "webp"},
    "fit": {"fit": "contain"},
    "fit_ground": {"fit_ground": "#ffffff", "fit": "contain"},
    "output_compression": {"output_compression": 0, "output_format": "jpeg"},
    "quality": {"quality": "high"},
    "background": {"background": "opaque"},
    "provider_options": {"provider_options": {"fal": {"steps": 4}}},
}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    document = json.loads((REPOSITORY / "gen" / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["components"]["schemas"]
    return found


def test_the_names_of_the_rest_door_are_those_of_the_message() -> None:
    assert set(NAMES) == set(MESSAGE.fields_by_name)


def test_what_is_read_is_what_the_message_has() -> None:
    beside = {"image_given", "warnings", "unknown_names"}
    assert {each.name for each in fields(Fields)} - beside == set(MESSAGE.fields_by_name)


@pytest.mark.parametrize("name", MESSAGE.fields_by_name)
def test_a_field_that_is_read_reaches_the_request(name: str) -> None:
    request = checked(Fields(**(SOURCE | VALUES[name])))
    assert getattr(request, name) != getattr(VariationRequest(), name)


@pytest.mark.parametrize("name", [name for name in MESSAGE.fields_by_name if name != "image"])
def test_protobuf_s_name_of_a_field_in_json_is_taken_for_it(name: str) -> None:
    def read(key: str) -> Fields:
        value = VALUES[name][name]
        return parse_json(whole_body("application/json", json.dumps({key: value}).encode()))

    camel = MESSAGE.fields_by_name[name].json_name
    assert read(camel) == read(name)
    assert read(camel).warnings == []


@pytest.mark.parametrize("name", [name for name in MESSAGE.fields_by_name if name != "image"])
def test_a_form_means_what_the_same_fields_in_json_mean(name: str) -> None:
    value = VALUES[name][name]
    text = value if isinstance(value, str) else json.dumps(value)
    form = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n--b--\r\n'
    assert parse_form(whole_body("multipart/form-data; boundary=b", form.encode())) == parse_json(
        whole_body("application/json", json.dumps({name: value}).encode())
    )


def test_both_schemas_of_the_description_have_every_field(schemas: dict[str, Any]) -> None:
    assert set(schemas["CreateImageVariationRequest"]["properties"]) == set(NAMES)
    # The description requires the file of a form, so that generated clients send one; image_url is taken all the same.
    assert set(schemas["VariationForm"]["properties"]) == set(NAMES) - {"image_url"}


def test_the_readme_tells_of_every_field() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", readme, re.MULTILINE)
    assert set(NAMES) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_size_is_told_everywhere(schemas: dict[str, Any]) -> None:
    wanted = {*SIZES, "auto"}
    for schema in ("CreateImageVariationRequest", "VariationForm"):
        assert set(schemas[schema]["properties"]["size"]["enum"]) - {None} == wanted
    for file, line in (
        ("README.md", r"^\| `size` \|.*?;"),
        ("protos/imagevariations/v1/image_variation.proto", r"Exact size[^.]*"),
    ):
        told = re.search(line, (REPOSITORY / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert told is not None
        assert set(re.findall(r"\d+x\d+|auto\b", told[0])) == wanted, file
