from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from imagevariations.v1 import image_variation_pb2
from PIL import Image

from service.core.errors import ErrorKind, GatewayError, invalid

Event = image_variation_pb2.StreamImageVariationResponse
Run = Callable[..., Awaitable[int]]


@pytest.fixture
def photo(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    file = tmp_path / "photo.jpg"
    file.write_bytes(picture("green", "JPEG"))
    return file


async def test_every_option_reaches_the_service(
    double, run: Run, photo: Path, tmp_path: Path, completed, picture
) -> None:
    double.events = [completed(0)]
    options = shlex.split(
        "-n 4 --model a/b --size 512x512 --seed 7 --strength 0.25 --prompt soft --quality high "
        "--fallback c/d --fallback e/f --format webp "
        "--compression 60 --fit contain --fit-ground '#ffffff' --background transparent"
    )
    assert await run("vary", str(photo), *options, "--out", str(tmp_path / "out"), "--api-key", "sk-1") == 0
    (request,) = double.requests
    assert request == image_variation_pb2.CreateImageVariationRequest(
        image=picture("green", "JPEG"),
        model="a/b",
        n=4,
        size="512x512",
        seed=7,
        strength=0.25,
        prompt="soft",
        quality="high",
        response_format="b64_json",
        output_format="webp",
        output_compression=60,
        fit="contain",
        fit_ground="#ffffff",
        background="transparent",
        fallbacks=[image_variation_pb2.Fallback(model="c/d"), image_variation_pb2.Fallback(model="e/f")],
    )
    assert double.metadata[0]["authorization"] == "Bearer sk-1"


async def test_what_was_not_said_is_left_to_the_service(
    double, run: Run, photo: Path, tmp_path: Path, completed
) -> None:
    double.events = [completed(0)]
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 0
    (request,) = double.requests
    assert not request.model
    assert not request.size
    assert not request.HasField("seed")
    assert not request.HasField("strength")
    assert "authorization" not in double.metadata[0]


async def test_pictures_and_a_contact_sheet_are_written_and_named_on_stdout(
    double,
    run: Run,
    photo: Path,
    tmp_path: Path,
    completed,
    picture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "out"
    double.events = [
        Event(attempt_started=image_variation_pb2.AttemptStarted(provider="local", model="vary")),
        completed(1, picture("yellow")),
        completed(0, picture("blue")),
        Event(
            completed=image_variation_pb2.CreateImageVariationResponse(
                model="vary",
                extra_fields=image_variation_pb2.ExtraFields(
                    provider="local", latency=1500, cost_usd=0.25, warnings=["seed was dropped"]
                ),
            )
        ),
    ]
    assert await run("vary", str(photo), "-n", "2", "--out", str(out)) == 0
    assert (out / "photo-0.png").read_bytes() == picture("blue")
    assert (out / "photo-1.png").read_bytes() == picture("yellow")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        str(out / "photo-1.png"),
        str(out / "photo-0.png"),
        str(out / "contact-sheet.png"),
    ]
    assert printed.err.splitlines() == [
        "trying local/vary",
        "picture 1 is there (1 of 2, 0 kB)",
        "picture 0 is there (2 of 2, 0 kB)",
        "made by local/vary in 1.5 s, 0.25 USD",
        "warning: seed was dropped",
    ]


async def test_a_fallback_is_reported_as_it_happens(
    double, run: Run, photo: Path, tmp_path: Path, completed, capsys
) -> None:
    double.events = [
        Event(
            attempt_failed=image_variation_pb2.AttemptFailed(
                attempt=image_variation_pb2.Attempt(provider="a", model="b", outcome="rate_limited"),
                reason="Too many requests.\x1b[2J",
                next="c/d",
            )
        ),
        completed(0),
    ]
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 0
    assert "a/b failed (rate_limited): Too many requests. [2J; next: c/d\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (
            invalid("n", "n must be from 1 to 10, not 30."),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Error invalid_n, field n: n must be from 1 to 10, not 30.\n",
        ),
        (
            GatewayError(ErrorKind.RATE_LIMITED, "Every provider is busy.", retry_after_s=3, may_have_run=False),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Error rate_limit_exceeded: Every provider is busy.\nTry again in 3 s.\n",
        ),
    ],
)
async def test_errors_of_the_service_are_told_plainly(
    double, run: Run, photo: Path, tmp_path: Path, capsys, error: GatewayError, code: grpc.StatusCode, printed: str
) -> None:
    double.error, double.code = error, code
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 1
    assert capsys.readouterr().err == printed


async def test_pictures_made_before_a_failure_are_kept(
    double, run: Run, photo: Path, tmp_path: Path, completed
) -> None:
    double.events, double.error = [completed(0)], GatewayError(ErrorKind.UNAVAILABLE, "It went away.")
    assert await run("vary", str(photo), "-n", "2", "--out", str(tmp_path)) == 1
    assert (tmp_path / "photo-0.png").exists()


@pytest.mark.parametrize(("index", "data"), [(7, None), (0, b"")])
async def test_a_picture_that_was_not_asked_for_is_an_error(
    double, run: Run, photo: Path, tmp_path: Path, completed, capsys, index: int, data: bytes | None
) -> None:
    double.events = [completed(index, data)]
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 1
    assert "not asked for" in capsys.readouterr().err


async def test_a_result_that_is_no_picture_is_kept_without_a_contact_sheet(
    double, run: Run, photo: Path, tmp_path: Path, completed, capsys
) -> None:
    double.events = [completed(0, b"what is this")]
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 0
    assert (tmp_path / "photo-0.png").read_bytes() == b"what is this"
    assert "no contact sheet" in capsys.readouterr().err
    assert not (tmp_path / "contact-sheet.png").exists()


async def test_nothing_is_asked_for_when_the_result_could_not_be_kept(
    double, run: Run, photo: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    assert await run("vary", str(photo), "--out", str(tmp_path / "file" / "out")) == 1
    assert await run("vary", str(tmp_path / "missing.png")) == 1
    assert not double.requests
    assert "missing.png cannot be read: No such file or directory" in capsys.readouterr().err


async def test_numbers_that_no_message_can_hold_are_told(double, run: Run, photo: Path, tmp_path: Path, capsys) -> None:
    assert await run("vary", str(photo), "-n", str(2**40), "--out", str(tmp_path)) == 1
    assert "too large" in capsys.readouterr().err
    assert not double.requests


async def test_the_contact_sheet_shows_the_source_first(
    double, run: Run, photo: Path, tmp_path: Path, completed, picture
) -> None:
    double.events = [completed(0, picture("blue"))]
    assert await run("vary", str(photo), "--out", str(tmp_path)) == 0
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        pixels = sheet.convert("RGB")
    row = pixels.height // 3
    left, right = pixels.getpixel((pixels.width // 4, row)), pixels.getpixel((pixels.width * 3 // 4, row))
    assert left == pytest.approx((0, 128, 0), abs=3)
    assert right == pytest.approx((0, 0, 255), abs=3)
