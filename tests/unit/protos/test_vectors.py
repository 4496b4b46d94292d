"""The conformance vectors, as Python's stubs read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 - registers messages by name
from imagevariations.v1 import image_variation_pb2, model_service_pb2
from running_gateway import REPOSITORY

VECTORS = sorted((REPOSITORY / "protos" / "testdata").glob("*.json"))


def decoded(file: Path) -> tuple[dict[str, Any], Message]:
    vector = json.loads(file.read_text(encoding="utf-8"))
    message = Default().GetSymbol(vector["message"])()
    message.ParseFromString(file.with_suffix(".binpb").read_bytes())
    return vector, message


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_both_forms_mean_the_same(file: Path) -> None:
    vector, message = decoded(file)
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == vector["json"]


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_nothing_is_lost_on_the_way_through(file: Path) -> None:
    _, message = decoded(file)
    assert type(message).FromString(message.SerializeToString()) == message


@pytest.mark.parametrize(
    "message",
    [
        image_variation_pb2.CreateImageVariationRequest,
        image_variation_pb2.CreateImageVariationResponse,
        image_variation_pb2.StreamImageVariationResponse,
        model_service_pb2.ListModelsResponse,
    ],
)
def test_every_field_is_in_some_vector(message: type[Message]) -> None:
    seen: set[str] = set()
    for file in VECTORS:
        _, decoded_message = decoded(file)
        if isinstance(decoded_message, message):
            seen |= {field.name for field, _ in decoded_message.ListFields()}
    assert seen == {field.name for field in message.DESCRIPTOR.fields}
