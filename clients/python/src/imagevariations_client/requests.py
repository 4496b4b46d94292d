"""The fields of a request, and the message that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from google.protobuf import struct_pb2
from imagevariations.v1 import image_variation_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Fields(TypedDict, total=False):
    """The fields of ``CreateImageVariationRequest``, which documents them.

    Two are more convenient here: ``fallbacks`` may hold ``provider/model`` strings, and ``provider_options`` is a dict.
    One has another default: ``response_format`` is ``b64_json``, the images themselves.
    """

    model: str
    image_url: str
    n: int
    size: str
    response_format: str
    user: str
    fallbacks: Sequence[str | pb.Fallback]
    prompt: str
    strength: float
    seed: int
    output_format: str
    quality: str
    background: str
    provider_options: Mapping[str, Any]


def variation_request(image: bytes, **fields: Unpack[Fields]) -> pb.CreateImageVariationRequest:
    """The message for a request.

    Raises:
        ValueError: A number does not fit into its field, or there is no such field.
    """
    fallbacks = fields.pop("fallbacks", ())
    options = fields.pop("provider_options", None)
    message = pb.CreateImageVariationRequest(**{"response_format": "b64_json", **fields})  # type: ignore[arg-type]
    if image or "image_url" not in fields:
        message.image = image
    message.fallbacks.extend(pb.Fallback(model=each) if isinstance(each, str) else each for each in fallbacks)
    if options is not None:
        struct = struct_pb2.Struct()
        struct.update(options)
        message.provider_options.CopyFrom(struct)
    return message
