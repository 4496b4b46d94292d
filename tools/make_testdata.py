"""Makes the binary form of protos/testdata/*.json.

Usage: PYTHONPATH=gen/python python tools/make_testdata.py OUTPUT_DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 - registers messages by name
from imagevariations.v1 import image_variation_pb2, model_service_pb2  # noqa: F401 - the same

VECTORS = Path(__file__).parents[1] / "protos" / "testdata"


def binary_form(vector: dict[str, Any]) -> bytes:
    """The message of one vector on the wire.

    Raises:
        ValueError: Its JSON is not what it says: some of it was not understood, or is not how protobuf writes it.
    """
    message: Message = Default().GetSymbol(str(vector["message"]))()
    json_format.ParseDict(vector["json"], message)
    back = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if back != vector["json"]:
        raise ValueError(f"protobuf writes it as {json.dumps(back, ensure_ascii=False)}")
    return message.SerializeToString(deterministic=True) + bytes.fromhex(str(vector.get("unknown_fields", "")))


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(VECTORS.glob("*.json")):
        try:
            binary = binary_form(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, json_format.ParseError) as error:
            raise SystemExit(f"{file.name}: {error}") from None
        (out / file.with_suffix(".binpb").name).write_bytes(binary)


if __name__ == "__main__":
    main()
