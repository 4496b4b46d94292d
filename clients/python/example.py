"""Makes variations of a picture and saves each as soon as it is there.

python example.py --n 3 --size 512x512 --out out photo.jpg
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import grpc
from imagevariations.v1.image_variation_pb2 import ImageVariation
from imagevariations_client import Client, Fields, VariationError


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes variations of a picture.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--target", default="localhost:50051")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--model", default="")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--size", default="auto")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--timeout", type=float, default=300, help="seconds for everything, retries included")
    parser.add_argument("--whole", action="store_true", help="one answer instead of a stream")
    flags = parser.parse_args()

    wanted: Fields = {"model": flags.model, "n": flags.n, "size": flags.size}
    key = os.environ.get("IMAGE_VARIATIONS_API_KEY", "")
    credentials = grpc.ssl_channel_credentials() if flags.tls else None
    flags.out.mkdir(parents=True, exist_ok=True)
    with Client(flags.target, api_key=key, credentials=credentials) as client:
        try:
            if flags.whole:
                create(client, flags.image.read_bytes(), wanted, flags)
            else:
                stream(client, flags.image.read_bytes(), wanted, flags)
        except VariationError as error:
            print(f"{error.code.name}: {error.message}", file=sys.stderr)
            print(
                f"reason {error.reason}",
                f"field {error.param}",
                f"request {error.request_id}",
                sep="\n",
                file=sys.stderr,
            )
            for attempt in error.attempts:
                print(f"attempt {attempt.provider}/{attempt.model}: {attempt.outcome}", file=sys.stderr)
            return 1
    return 0


def stream(client: Client, image: bytes, wanted: Fields, flags: argparse.Namespace) -> None:
    """Saves images as they come and tells what happens meanwhile."""
    for event in client.stream(image, timeout=flags.timeout, **wanted):
        kind = event.WhichOneof("event")
        if kind == "attempt_started":
            print(f"trying {event.attempt_started.provider}/{event.attempt_started.model}")
        elif kind == "attempt_failed":
            print(f"failed: {event.attempt_failed.reason}")
        elif kind == "image_completed":
            save(event.image_completed, flags.out)
        elif kind == "completed":
            print(f"done by {event.completed.extra_fields.provider}")


def create(client: Client, image: bytes, wanted: Fields, flags: argparse.Namespace) -> None:
    """Saves the images of one answer."""
    answer = client.create(image, timeout=flags.timeout, **wanted)
    for each in answer.data:
        save(each, flags.out)
    print(f"done by {answer.extra_fields.provider}")


def save(image: ImageVariation, out: Path) -> None:
    file = out / f"{image.index}.png"
    file.write_bytes(image.b64_json)
    print(f"saved {file}")


if __name__ == "__main__":
    sys.exit(main())
