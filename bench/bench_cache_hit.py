"""Times a direct cache hit through gRPC for an image of 100 KB, one request at a time: `make bench-cache`.

With the same pixels in another file every time, which has to be decoded; in a file whose metadata differ; and in the
same file, which like the one before is known by then.

    python -m bench.bench_cache_hit [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from imagevariations.v1 import image_variation_pb2, image_variation_service_pb2_grpc
from PIL import Image

from bench.processes import inherited
from service.api.cache_headers import NAMESPACE_HEADER

SAMPLE: Final = Path(__file__).parents[1] / "samples" / "coffee.jpg"
WANTED_BYTES: Final = 100_000
REQUESTS_A_ROUND: Final = 100
RE_ENCODED, SAME_FILE = "PNG, re-encoded", "PNG, same file"
"""The names of a hit that the whole picture has to be decoded for, and of one that it has not."""

CONFIGURATION: Final = """
listen: {{grpc: "{address}"}}
state_directory: {directory}
default_route: local/recompose
cache: {{enabled: true}}
log: {{level: error}}
"""


def of_100_kb(image_format: str, **options: Any) -> bytes:
    """The sample at the size at which its file has about 100 KB: 290x193 pixels in PNG, 770x513 in JPEG."""
    photo = Image.open(SAMPLE).convert("RGB")
    for width in range(100, 2000, 10):
        resized = photo.resize((width, round(width * photo.height / photo.width)))
        file = io.BytesIO()
        resized.save(file, image_format, **options)
        if file.tell() >= WANTED_BYTES:
            return file.getvalue()
    raise AssertionError("the sample has too little in it")


def png_cut_elsewhere(png: bytes, number: int) -> bytes:
    """The same picture with its compressed data cut into two chunks, so that only decoding tells."""
    at = png.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", png, at)
    compressed = png[at + 8 : at + 8 + length]
    cut = 1 + number
    return png[:at] + chunk(b"IDAT" + compressed[:cut]) + chunk(b"IDAT" + compressed[cut:]) + png[at + 12 + length :]


def chunk(body: bytes) -> bytes:
    """A PNG chunk of a type and its data."""
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def png_with_comment(png: bytes, number: int) -> bytes:
    """The same picture with a tEXt chunk before its end."""
    return png[:-12] + chunk(b"tEXtComment\0%d" % number) + png[-12:]


def jpeg_with_comment(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment segment at its start."""
    text = b"%d" % number
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + jpeg[2:]


def unchanged(data: bytes, _: int) -> bytes:
    return data


def median_ms(stub: Any, namespace: str, file: Callable[[int], bytes], rounds: int) -> float:
    medians = []
    for begin in range(0, rounds * REQUESTS_A_ROUND, REQUESTS_A_ROUND):
        times = []
        for number in range(begin, begin + REQUESTS_A_ROUND):
            request = asked(file(number))
            started = time.perf_counter()
            answer = stub.CreateImageVariation(request, metadata=((NAMESPACE_HEADER, namespace),))
            times.append(time.perf_counter() - started)
            assert answer.extra_fields.cache_debug.hit_type == "direct"
        medians.append(statistics.median(times))
    return statistics.median(medians) * 1e3


def asked(image: bytes) -> image_variation_pb2.CreateImageVariationRequest:
    return image_variation_pb2.CreateImageVariationRequest(image=image, response_format="b64_json", size="256x256")


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """The service as a process of its own; the value is its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (directory / "gateway.yaml").write_text(CONFIGURATION.format(address=address, directory=directory))
    command = [sys.executable, "-m", "service", "serve", "--config", str(directory / "gateway.yaml")]
    process = subprocess.Popen(command, env=inherited())
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def direct_hits(directory: Path, rounds: int) -> Mapping[str, float]:
    """The median milliseconds of each kind of hit, half a millisecond of this Python client's own among them."""
    found = {}
    with served(directory) as address, grpc.insecure_channel(address) as channel:
        stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
        png, jpeg = of_100_kb("PNG"), of_100_kb("JPEG", quality=90)
        for name, data, change in (
            (RE_ENCODED, png, png_cut_elsewhere),
            ("PNG, other metadata", png, png_with_comment),
            (SAME_FILE, png, unchanged),
            ("JPEG, other metadata", jpeg, jpeg_with_comment),
            ("JPEG, same file", jpeg, unchanged),
        ):
            # Apart: one picture is a semantic hit for the other.
            namespace = name.partition(",")[0]
            stub.CreateImageVariation(asked(data), metadata=((NAMESPACE_HEADER, namespace),), wait_for_ready=True)
            median = median_ms(stub, namespace, partial(change, data), rounds)
            found[name] = median
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for name, median in direct_hits(Path(directory), arguments.rounds).items():
            print(f"direct hit, 100 KB, {name:21} {median:.2f} ms")


if __name__ == "__main__":
    main()
