"""Recraft: the whole request, the answer and errors, most of which are plain text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, RESULTS, SOURCE, answer
from vendor_answers import answers

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers.base import Credential, Endpoint
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, Purpose, SignableRequest
from service.providers.recraft import RecraftVariations

ANSWERS = answers("recraft")
ENDPOINT = Endpoint("recraft", BASE_URL)
CALL = ProviderCall("variate", SOURCE, n=2, size=Size(1820, 1024), seed=7, output_format=ImageFormat.PNG)
FILE = FormFile("image", "image.png", "image/png", SOURCE.data)


def ask(call: ProviderCall, name: str, endpoint: Endpoint = ENDPOINT) -> tuple[list[HttpRequest], CallResult]:
    driven = drive(RecraftVariations().vary(call, Profile(), endpoint), [ANSWERS[name]])
    return list(driven.requests), driven.finished


def form_of(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> FormBody:
    body = drive(RecraftVariations().vary(call, Profile(), endpoint), ()).requests[0].body
    assert isinstance(body, FormBody)
    return body


def test_the_whole_request_and_the_answer() -> None:
    requests, result = ask(CALL, "result")
    fields = (
        ("size", "1820x1024"),
        ("random_seed", "7"),
        ("n", "2"),
        ("response_format", "b64_json"),
        ("image_format", "png"),
    )
    assert requests == [
        HttpRequest("POST", f"{BASE_URL}/images/variateImage", Purpose.SUBMIT, body=FormBody(fields, (FILE,)))
    ]
    assert result == CallResult(images=tuple(ProducedImage(data=data) for data in RESULTS[:2]), cost_usd=0.04)


def test_the_size_that_the_vendor_requires_is_the_square_when_there_is_none() -> None:
    assert form_of(ProviderCall("variate", SOURCE)) == FormBody(
        (("size", "1024x1024"), ("n", "1"), ("response_format", "b64_json")), (FILE,)
    )


def test_a_size_can_be_sent_as_a_ratio() -> None:
    endpoint = Endpoint("recraft", BASE_URL, options={"size_form": "ratio"})
    assert ("size", "16:9") in form_of(CALL, endpoint).fields


def test_urls_that_nobody_asked_for_are_handed_on() -> None:
    _, result = ask(ProviderCall("variate", SOURCE), "urls")
    assert result == CallResult(images=(ProducedImage(url="https://img.recraft.ai/result.png"),))


@pytest.mark.parametrize(
    "entries", [[], None, {}, ["x"], [{}], [{"b64_json": ""}], [{"b64_json": "%"}], [{"url": "file:///etc/passwd"}]]
)
def test_an_answer_without_images_is_a_bad_response(entries: object) -> None:
    with pytest.raises(GatewayError) as caught:
        drive(RecraftVariations().vary(CALL, Profile(), ENDPOINT), [answer({"data": entries})])
    assert caught.value.kind is ErrorKind.BAD_RESPONSE


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH, "401: request unauthorized"),
        ("out_of_credit", ErrorKind.UPSTREAM_AUTH, "402: not enough credits not_enough_credits"),
        ("unknown_path", ErrorKind.MODEL_GONE, "404: 404 page not found"),
        ("invalid", ErrorKind.UNSUPPORTED, "400: invalid size invalid_request_parameter"),
        ("refused", ErrorKind.CONTENT_REJECTED, "400: The image did not pass moderation. content_moderation"),
        ("rate_limited", ErrorKind.RATE_LIMITED, "429: too many requests"),
        ("internal", ErrorKind.UNAVAILABLE, "500: internal server error"),
    ],
)
def test_errors(name: str, kind: ErrorKind, message: str) -> None:
    failure = RecraftVariations().failure(ANSWERS[name])
    assert (failure.kind, failure.message) == (kind, f"The provider answered {message}")


def test_json_is_read_as_such_only_where_it_says_that_it_is() -> None:
    as_text = HttpResponse(400, {"content-type": "text/plain"}, b'{"message": "invalid size"}')
    assert RecraftVariations().failure(as_text).message.endswith('{"message": "invalid size"}')


def test_the_token_is_a_bearer_token() -> None:
    signable = SignableRequest("POST", BASE_URL, {}, b"")
    headers = RecraftVariations().authorization(signable, Credential("main", "the-key"), ENDPOINT, datetime.now(UTC))
    assert headers == {"authorization": "Bearer the-key"}
