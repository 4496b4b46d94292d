"""Answers that are a little off are read all the same, and what they cost counts even where they are of no use."""

from __future__ import annotations

import base64

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, RESULTS, RESULTS_BASE64, SOURCE, answer

from service.catalog import catalog
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size, Usage
from service.providers import wire
from service.providers.base import Endpoint
from service.providers.registry import TRANSLATORS

PICTURE = bytes(range(256)) * 3  # Its base64 has both characters in which the two alphabets differ.


@pytest.mark.parametrize(
    "text",
    [
        base64.encodebytes(PICTURE).decode(),
        base64.b64encode(PICTURE).decode().replace("/", "/\r\n"),
        base64.urlsafe_b64encode(PICTURE).decode(),
        base64.urlsafe_b64encode(PICTURE).decode().rstrip("="),
        base64.b64encode(PICTURE).decode().rstrip("="),
        "data:image/png;base64," + base64.encodebytes(PICTURE).decode(),
    ],
)
def test_base64_is_an_image_however_it_is_written(text: str) -> None:
    assert wire.image_from_base64(text).data == PICTURE


@pytest.mark.parametrize("text", ["%", "=", " \n", "a", "päng", "<html>"])
def test_what_is_no_base64_is_no_image(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        wire.image_from_base64(text)
    assert caught.value.kind is ErrorKind.BAD_RESPONSE


@pytest.mark.parametrize("written", [10, 10.0, "10", " 10 ", "10.0"])
def test_a_count_is_one_however_it_is_written(written: object) -> None:
    assert wire.count(written) == 10


@pytest.mark.parametrize("written", [True, None, -1, 10.5, "ten", "1e1", [10], float("nan"), 2**31, 10**400])
def test_what_is_no_count_is_none(written: object) -> None:
    assert wire.count(written) == 0


def failure_of(provider: str, model: str, body: object) -> GatewayError:
    entry = catalog.load()[provider]
    call = ProviderCall(model, SOURCE, prompt="Vary it.", size=Size(1024, 1024))
    exchange = TRANSLATORS[entry.translator].vary(call, catalog.profile(entry, model), Endpoint(provider, BASE_URL))
    with pytest.raises(GatewayError) as caught:
        drive(exchange, [answer(body)])
    return caught.value


@pytest.mark.parametrize("data", [[], None, [{}], [{"b64_json": "%"}]])
def test_tokens_that_were_spent_on_no_image_are_told(data: object) -> None:
    usage = {"input_tokens": "12", "output_tokens": 30.0, "total_tokens": 42}
    failure = failure_of("openai", "gpt-image-2", {"data": data, "usage": usage})
    assert failure.usage == Usage(input_tokens=12, output_tokens=30, total_tokens=42)


def test_googles_tokens_for_words_instead_of_an_image_are_told() -> None:
    parts = [{"text": "I cannot."}]
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
    body = {"candidates": [{"content": {"parts": parts}}], "usageMetadata": usage}
    failure = failure_of("gemini", "gemini-nano-banana-2.1", body)
    assert failure.kind is ErrorKind.BAD_RESPONSE
    assert failure.usage is not None
    assert failure.usage.total_tokens == 12


@pytest.mark.parametrize(
    ("provider", "model", "body", "cost_usd"),
    [
        ("xai", "grok-imagine-image-2.0", {"data": [], "usage": {"cost_in_usd_ticks": 400_000_000}}, 0.04),
        ("openrouter", "any/model", {"data": [], "usage": {"cost": 0.04}}, 0.04),
        ("recraft", "variate", {"data": [], "credits": 40}, 0.04),
    ],
)
def test_money_that_was_spent_on_no_image_is_told(provider: str, model: str, body: object, cost_usd: float) -> None:
    failure = failure_of(provider, model, body)
    assert failure.kind is ErrorKind.BAD_RESPONSE
    assert failure.cost_usd == pytest.approx(cost_usd)


@pytest.mark.parametrize(
    ("provider", "model", "body", "seeds", "reasons"),
    [
        (
            "stability",
            "sd3.5-large",
            {"image": RESULTS_BASE64[0], "finish_reason": "SUCCESS", "seed": 4294967294},
            (4294967294,),
            ("SUCCESS",),
        ),
        (
            "bedrock",
            "stability.sd3-5-large-v1:0",
            {"images": [RESULTS_BASE64[0]], "seeds": [7], "finish_reasons": [None]},
            (7,),
            (),
        ),
        ("ideogram", "ideogram-v3", {"data": [{"url": "https://x.test/1.png", "seed": 7}]}, (7,), ()),
    ],
)
def test_seeds_and_finish_reasons_are_handed_on(
    provider: str, model: str, body: object, seeds: tuple[int, ...], reasons: tuple[str, ...]
) -> None:
    entry = catalog.load()[provider]
    exchange = TRANSLATORS[entry.translator].vary(
        ProviderCall(model, SOURCE, prompt="p"), catalog.profile(entry, model), Endpoint(provider, BASE_URL)
    )
    result = drive(exchange, [answer(body)]).finished
    assert (result.seeds, result.finish_reasons) == (seeds, reasons)
    assert all(image.data in (b"", RESULTS[0]) for image in result.images)
