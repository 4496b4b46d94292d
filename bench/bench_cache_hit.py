"""How long a direct cache hit takes through gRPC for an image of 100 KB, one request at a time: `make bench-cache`.

Every request sends the same pixels in another file (its comment differs), so each is decoded: nothing of an earlier
request is of use to it but the result. Then the same file again and again, which need not be decoded.

    python -m bench.bench_cache_hit [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from imagevariations.v1 import image_variation_pb2, image_variation_service_pb2_grpc
from PIL import Image

from service.app import running
from service.config import load

SAMPLE: Final = Path(__file__).parents[1] / "samples" / "coffee.jpg"
WANTED_BYTES: Final = 100_000
REQUESTS_A_ROUND: Final = 100
CONFIGURATION: Final = """
listen: {{grpc: "127.0.0.1:0"}}
state_directory: {directory}
default_route: local/recompose
cache: {{enabled: true}}
log: {{level: error}}
"""


def of_100_kb(image_format: str, **options: Any) -> tuple[bytes, str]:
    """The sample at the size at which its file has about 100 KB, and that size."""
    photo = Image.open(SAMPLE).convert("RGB")
    for width in range(100, 2000, 10):
        resized = photo.resize((width, round(width * photo.height / photo.width)))
        file = io.BytesIO()
        resized.save(file, image_format, **options)
        if file.tell() >= WANTED_BYTES:
            return file.getvalue(), f"{resized.width}x{resized.height}"
    raise AssertionError("the sample has too little in it")


def png_with_comment(png: bytes, number: int) -> bytes:
    """The same picture with a tEXt chunk before its end."""
    body = b"tEXtComment\0%d" % number
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-12] + chunk + png[-12:]


def jpeg_with_comment(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment segment at its start."""
    text = b"%d" % number
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + jpeg[2:]


def unchanged(data: bytes, _: int) -> bytes:
    return data


async def median_ms(stub: Any, namespace: str, file: Callable[[int], bytes], rounds: int) -> float:
    medians = []
    for begin in range(0, rounds * REQUESTS_A_ROUND, REQUESTS_A_ROUND):
        times = []
        for number in range(begin, begin + REQUESTS_A_ROUND):
            request = image_variation_pb2.CreateImageVariationRequest(
                image=file(number), response_format="b64_json", size="256x256"
            )
            started = time.perf_counter()
            answer = await stub.CreateImageVariation(request, metadata=(("x-bf-cache-key", namespace),))
            times.append(time.perf_counter() - started)
            assert answer.extra_fields.cache_debug.hit_type == "direct"
        medians.append(statistics.median(times))
    return statistics.median(medians) * 1e3


async def run(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "gateway.yaml").write_text(CONFIGURATION.format(directory=directory))
        async with (
            running(load(Path(directory) / "gateway.yaml", {})) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            for name, (data, size), commented in (
                ("PNG", of_100_kb("PNG"), png_with_comment),
                ("JPEG", of_100_kb("JPEG", quality=90), jpeg_with_comment),
            ):
                request = image_variation_pb2.CreateImageVariationRequest(
                    image=data, response_format="b64_json", size="256x256"
                )
                # Apart: one picture is a semantic hit for the other.
                await stub.CreateImageVariation(request, metadata=(("x-bf-cache-key", name),))
                decoded = await median_ms(stub, name, partial(commented, data), rounds)
                again = await median_ms(stub, name, partial(unchanged, data), rounds)
                print(
                    f"direct hit, {name} of {len(data) // 1000} KB ({size}): "
                    f"{decoded:.2f} ms decoded, {again:.2f} ms the same file again",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.rounds))


if __name__ == "__main__":
    main()
