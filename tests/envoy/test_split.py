"""Ten images from models that make fewer a call: how the request is split, put together again and filled up."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_of_doubles import Caller, attempts, gateway_of_doubles, pictures, section, told_maker
from PIL import Image
from running_gateway import RunningGateway

from tests.doubles.framework import Recorded
from tests.doubles.images import make_variation
from tests.doubles.server import DoublesServer

# It takes a seed, makes PNG files and sizes as small as the tests', so that its images can be told by their pixels.
MODEL = "Qwen/Qwen-Image-Edit-2511"
SEED = 100


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    def of(max_n: int, **changes: Any) -> dict[str, Any]:
        return section(doubles_process, "vllm-omni", models={MODEL: {"max_n": max_n}}, **changes)

    providers = {f"by-{max_n}": of(max_n) for max_n in (1, 4, 6, 10)}
    providers["one-after-another"] = of(4, concurrency=1)
    # Without a seed, and with a log of its own.
    providers["openai"] = section(doubles_process, "openai", models={"gpt-image-2": {"max_n": 2}})
    with gateway_of_doubles(tmp_path_factory.mktemp("gateway"), doubles_process, providers) as running:
        yield running


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, small_png: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        yield caller


def wanted(request: Recorded, name: str) -> int:
    """A whole number that a request asked for."""
    assert request.form is not None
    return int(request.form.text(name) or "")


def made_for(request: Recorded) -> list[bytes]:
    """The pixels of the images that the double makes for a request."""
    assert request.form is not None
    files = [
        make_variation(request.form.files[0].data, size=(256, 256), seed=wanted(request, "seed"), index=index)
        for index in range(wanted(request, "n"))
    ]
    return [Image.open(io.BytesIO(file)).convert("RGB").tobytes() for file in files]


@pytest.mark.parametrize(("max_n", "calls"), [(1, [1] * 10), (4, [4, 4, 2]), (6, [6, 4]), (10, [10])])
def test_ten_images_are_ten_different_ones_in_the_right_order(
    max_n: int,
    calls: list[int],
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    answer = caller.ask(f"by-{max_n}/{MODEL}", n="10", seed=str(SEED))
    got = [picture.convert("RGB").tobytes() for picture in pictures(answer)]
    assert len(set(got)) == 10
    assert [each["index"] for each in answer.json()["data"]] == list(range(10))
    assert "warnings" not in answer.json()["extra_fields"]

    requests = sorted(doubles.state.requests("vllm-omni"), key=lambda request: wanted(request, "seed"))
    assert [wanted(request, "n") for request in requests] == calls
    # Each call starts where the one before it ends, so that no two make the same images.
    assert [wanted(request, "seed") for request in requests] == [
        SEED + sum(calls[:place]) for place in range(len(calls))
    ]
    assert got == [pixels for request in requests for pixels in made_for(request)]
    # Usage is that of all calls together, as the double counts: 1056 tokens an image, 239 a request.
    assert answer.json()["usage"]["total_tokens"] == 10 * 1056 + len(calls) * 239


def test_without_a_seed_they_differ_too(caller: Caller) -> None:
    assert len({picture.tobytes() for picture in pictures(caller.ask("openai/gpt-image-2", n="6"))}) == 6


def test_what_one_of_the_calls_fails_to_make_is_made_by_the_next_target(caller: Caller, doubles: DoublesServer) -> None:
    doubles.state.fail("vllm-omni", "server_error", times=1)
    answer = caller.ask(f"by-4/{MODEL}", "openai/gpt-image-2", n="10", seed=str(SEED))
    got = [picture.convert("RGB").tobytes() for picture in pictures(answer)]
    assert len(set(got)) == 10
    assert [each["index"] for each in answer.json()["data"]] == list(range(10))

    # The image that the failed call did not make is in nobody's answer, so the places of the others show which it was.
    requests = sorted(doubles.state.requests("vllm-omni"), key=lambda request: wanted(request, "seed"))
    kept, missing = 0, 0
    for request in requests:
        first = wanted(request, "seed") - SEED
        if got[first : first + wanted(request, "n")] == made_for(request):
            kept += wanted(request, "n")
        else:
            missing = wanted(request, "n")
    assert kept + missing == 10
    assert missing in (4, 2)
    # The next target makes two a call.
    assert [wanted(request, "n") for request in doubles.state.requests("openai")] == [2] * (missing // 2)

    outcomes = [(provider, outcome) for provider, outcome, _ in attempts(answer)]
    assert sorted(outcomes[:3]) == [("by-4", "success"), ("by-4", "success"), ("by-4", "unavailable")]
    assert outcomes[3:] == [("openai", "success")] * (missing // 2)
    assert told_maker(answer) == ("openai", "gpt-image-2", 1)


def test_when_no_target_is_left_there_is_what_there_is_and_a_warning(caller: Caller, doubles: DoublesServer) -> None:
    """One call at a time, so that it is known which of them is the third."""
    doubles.state.fail("vllm-omni", "server_error")
    doubles.state.fail("vllm-omni", "ok", times=2)
    doubles.state.fail("openai", "overloaded")
    answer = caller.ask(f"one-after-another/{MODEL}", "openai/gpt-image-2", n="10", seed=str(SEED))
    assert len(pictures(answer)) == 8
    assert [each["index"] for each in answer.json()["data"]] == list(range(8))
    (warning,) = [text for text in answer.json()["extra_fields"]["warnings"] if text.startswith("Only")]
    assert warning.startswith("Only 8 of 10 images could be made: All 2 targets failed.")
    # The truth about what there is: the first target made it.
    assert told_maker(answer) == ("one-after-another", MODEL, 0)


def test_a_model_that_makes_fewer_than_asked_for_is_filled_up_without_asking_it_again(
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    """A provider may drop an image that its own checks dislike, without a word."""
    doubles.state.fail("vllm-omni", "partial_refusal")
    answer = caller.ask(f"by-10/{MODEL}", "openai/gpt-image-2", n="4", seed=str(SEED))
    assert [each["index"] for each in answer.json()["data"]] == [0, 1, 2, 3]
    assert len({picture.tobytes() for picture in pictures(answer)}) == 4
    assert [wanted(request, "n") for request in doubles.state.requests("openai")] == [1]
    assert len(doubles.state.requests("vllm-omni")) == 1
