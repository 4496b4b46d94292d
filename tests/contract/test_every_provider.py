"""The rules that hold for every provider alike, tried with each one's own answers (tests/support/provider_cases)."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from exchange_driver import drive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provider_case import BASE_URL, SECRET, SOURCE, ProviderCase

from service.catalog import catalog
from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import wire
from service.providers.base import Endpoint, Translator
from service.providers.http import FormBody, HttpRequest, HttpResponse, JsonBody, Purpose, SignableRequest
from service.providers.registry import TRANSLATORS

A_CALL = ProviderCall("", SOURCE, prompt="Vary it.")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

MALFORMED = {
    "empty": b"",
    "no JSON": b"<html><body>It works!</body></html>",
    "no UTF-8": b'{"data": "\xff\xfe"}',
    "null": b"null",
    "a number": b"NaN",
    "a text": b'"images"',
    "a list": b"[]",
    "an empty object": b"{}",
    "nested too deeply": b"[" * 100_000,
    "a number too long": b'{"data": ' + b"9" * 10_000 + b"}",
}

HINTS = {
    "retry-after": ({"retry-after": "7"}, 7.0),
    "retry-after as a date": (
        {"date": "Sun, 22 Nov 2026 12:00:00 GMT", "retry-after": "Sun, 22 Nov 2026 12:00:09 GMT"},
        9.0,
    ),
    "retry-after-ms": ({"retry-after-ms": "1500"}, 1.5),
    "ratelimit-reset": ({"ratelimit-reset": "30"}, 30.0),
}

# Half a surrogate pair is valid in JSON, and in no other encoding.
texts = st.text(max_size=20) | st.just("\ud800")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def test_every_translator_has_a_case(cases: tuple[ProviderCase, ...]) -> None:
    assert {case.translator for case in cases} == set(TRANSLATORS)
    assert len({case.name for case in cases}) == len(cases)


def test_makes_the_images_it_was_asked_for(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    result = drive(translator.vary(case.call, profile, endpoint), case.success).finished
    assert len(result.images) == case.call.n
    for image in result.images:
        assert bool(image.data) != bool(image.url)


def test_asks_for_no_more_images_than_the_profile_allows(case: ProviderCase, profile: Profile) -> None:
    assert case.call.n <= profile.max_n


def test_goes_to_the_configured_host_only(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for request in _requests(translator, case, profile, endpoint):
        parts = urlsplit(request.url)
        if request.purpose is Purpose.SUBMIT:
            assert request.url.startswith(f"{BASE_URL}/")
        elif parts.hostname != urlsplit(BASE_URL).hostname:
            assert parts.scheme == "https"
            assert any(
                parts.hostname == host or (host.startswith(".") and str(parts.hostname).endswith(host))
                for host in case.trusted_hosts
            )


@pytest.mark.parametrize(
    "model", ["../../admin", "..", "a?key=1", "a#b", "a b\r\nx-injected: 1", "@evil.test/", "ä/.."]
)
def test_no_model_name_leads_elsewhere(
    model: str, case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    call = dataclasses.replace(case.call, model=model)
    opened = _opened(translator, call, profile, endpoint)
    if isinstance(opened, GatewayError):
        assert opened.kind in (ErrorKind.UNSUPPORTED, ErrorKind.MODEL_GONE)
        assert not opened.may_have_run
        return
    request = opened
    parts, base = urlsplit(request.url), urlsplit(BASE_URL)
    assert (parts.scheme, parts.netloc, parts.fragment) == (base.scheme, base.netloc, "")
    assert posixpath.normpath(parts.path).startswith(f"{base.path}/")
    assert not {".", ".."} & set(parts.path.split("/"))
    assert "key=1" not in parts.query
    assert not any(character.isspace() for character in request.url)


def test_no_request_holds_the_credential(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for request in _requests(translator, case, profile, endpoint):
        assert SECRET not in "".join([request.url, *request.headers.values(), *_texts(request.body)])


def test_the_credential_is_in_the_authorization_alone(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    request = drive(translator.vary(case.call, profile, endpoint), ()).requests[0]
    signable = SignableRequest(request.method, request.url, request.headers, b"{}")
    headers = translator.authorization(signable, case.credential, endpoint, NOW)
    assert headers
    assert all(name == name.lower() for name in headers)
    if case.auth_headers is not None:
        assert dict(headers) == dict(case.auth_headers)
    assert SECRET not in repr(case.credential)


def test_requests_can_be_logged(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for request in _requests(translator, case, profile, endpoint):
        shown = repr(request)
        assert wire.base64_text(SOURCE.data)[:40] not in shown
        assert repr(SOURCE.data)[2:40] not in shown
        assert len(shown) < 2000


def test_options_of_the_caller_change_fields_but_not_where_they_go(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    hostile = {"base_url": "https://evil.test", "url": "https://evil.test", "authorization": "x", "host": "evil.test"}
    call = dataclasses.replace(case.call, options={**case.call.options, **hostile, "a_field_of_its_own": "here"})
    plain = drive(translator.vary(case.call, profile, endpoint), ()).requests[0]
    changed = _opened(translator, call, profile, endpoint)
    if isinstance(changed, GatewayError):
        # A translator may know all fields there are, and refuse the others.
        assert (changed.kind, changed.param) == (ErrorKind.INVALID_REQUEST, "provider_options")
        return
    assert (changed.method, changed.url, dict(changed.headers)) == (plain.method, plain.url, dict(plain.headers))
    assert "here" in _texts(changed.body)


def test_keeps_nothing_between_calls(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    assert not getattr(translator, "__dict__", {})
    one, other = (translator.vary(case.call, profile, endpoint) for _ in range(2))
    abandoned = drive(one, ())
    assert drive(other, case.success).requests[0] == abandoned.requests[0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH),
        ("out_of_credit", ErrorKind.UPSTREAM_AUTH),
        ("rate_limited", ErrorKind.RATE_LIMITED),
        ("model_gone", ErrorKind.MODEL_GONE),
        ("invalid", ErrorKind.UNSUPPORTED),
        ("refused", ErrorKind.CONTENT_REJECTED),
        ("server_error", ErrorKind.UNAVAILABLE),
    ],
)
def test_error_answers_say_whose_fault_it_is(
    answer: str, kind: ErrorKind, case: ProviderCase, translator: Translator
) -> None:
    response: HttpResponse | None = getattr(case, answer)
    if response is None:
        # Not every vendor has an answer of its own for it; the general ones below apply to all.
        return
    failure = translator.failure(response)
    assert failure.kind is kind
    assert failure.upstream_status == response.status
    assert failure.may_have_run == (response.status >= 500)
    assert SECRET not in str(failure)


@pytest.mark.parametrize("status", [401, 402, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<h1>no</h1>", b"{}", b"[1]", b"\xff"], ids=repr)
def test_errors_of_anything_in_between_are_understood_by_status(
    status: int, body: bytes, translator: Translator, case: ProviderCase
) -> None:
    kinds = {401: ErrorKind.UPSTREAM_AUTH, 402: ErrorKind.UPSTREAM_AUTH, 429: ErrorKind.RATE_LIMITED}
    expected = kinds.get(status, ErrorKind.TIMEOUT if status == 504 else ErrorKind.UNAVAILABLE)
    assert translator.failure(HttpResponse(status, {}, body)).kind is expected


@pytest.mark.parametrize("hint", HINTS)
def test_retry_hints_in_headers_are_read(hint: str, case: ProviderCase, translator: Translator) -> None:
    assert translator.failure(case.rate_limited).retry_after_s is None
    headers, seconds = HINTS[hint]
    hinted = dataclasses.replace(case.rate_limited, headers={**case.rate_limited.headers, **headers})
    failure = translator.failure(hinted)
    assert (failure.kind, failure.retry_after_s) == (ErrorKind.RATE_LIMITED, seconds)


def test_the_retry_hint_in_its_own_form_is_read(case: ProviderCase, translator: Translator) -> None:
    if case.rate_limited_with_hint is None:
        return
    response, seconds = case.rate_limited_with_hint
    failure = translator.failure(response)
    assert (failure.kind, failure.retry_after_s) == (ErrorKind.RATE_LIMITED, seconds)


def test_a_key_that_a_provider_echoes_is_masked(case: ProviderCase, translator: Translator) -> None:
    said = "Incorrect API key provided: sk-proj-4Bc9dE7fGh1jK2."
    body = {"error": {"message": said}, "detail": said, "message": said, "errors": [said], "title": said}
    failure = translator.failure(HttpResponse(401, {}, json.dumps(body).encode()))
    assert "4Bc9dE7fGh1jK2" not in str(failure)


def test_refusals_inside_a_success_are_found(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for conversation in case.refusals:
        with pytest.raises(GatewayError) as caught:
            drive(translator.vary(case.call, profile, endpoint), conversation)
        assert caught.value.kind is ErrorKind.CONTENT_REJECTED


def test_partial_refusals_leave_the_other_images_and_a_warning(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    if case.partial is None:
        return
    result = drive(translator.vary(case.call, profile, endpoint), case.partial).finished
    assert 0 < len(result.images) < case.call.n
    assert result.warnings


def test_a_success_without_an_image_is_none(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    assert case.empties
    for conversation in case.empties:
        with pytest.raises(GatewayError) as caught:
            drive(translator.vary(case.call, profile, endpoint), conversation)
        assert caught.value.kind is ErrorKind.BAD_RESPONSE


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_answers_are_bad_responses_at_every_step(
    body: bytes, case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for step, good in enumerate(case.success):
        answers = [*case.success[:step], dataclasses.replace(good, body=body)]
        with pytest.raises(GatewayError) as caught:
            drive(translator.vary(case.call, profile, endpoint), answers)
        assert caught.value.kind is ErrorKind.BAD_RESPONSE


def test_truncated_answers_are_bad_responses_at_every_step(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for step, good in enumerate(case.success):
        for length in (1, len(good.body) // 2, len(good.body.rstrip()) - 1):
            answers = [*case.success[:step], dataclasses.replace(good, body=good.body[:length])]
            with pytest.raises(GatewayError) as caught:
                drive(translator.vary(case.call, profile, endpoint), answers)
            assert caught.value.kind is ErrorKind.BAD_RESPONSE


@given(data=st.data())
@relaxed
def test_wrong_types_raise_nothing_but_gateway_errors(
    data: st.DataObject, case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    step = data.draw(st.integers(0, len(case.success) - 1))
    good = json.loads(case.success[step].body)
    path = data.draw(st.sampled_from(list(_paths(good))))
    spoiled = _replaced(good, path, data.draw(json_values))
    answers = list(case.success)
    answers[step] = dataclasses.replace(answers[step], body=json.dumps(spoiled).encode())
    try:
        result = drive(translator.vary(case.call, profile, endpoint), answers).result
    except GatewayError:
        return
    for image in result.images if result else ():
        assert isinstance(image.data, bytes)
        assert isinstance(image.url, str)
        image.url.encode("ascii")
        image.revised_prompt.encode("utf-8")
        assert bool(image.data) != bool(image.url)
    if result and result.cost_usd is not None:
        assert 0 <= result.cost_usd < float("inf")


@given(status=st.integers(300, 599), body=st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode()))
@relaxed
def test_no_error_body_is_too_strange(status: int, body: bytes, case: ProviderCase, translator: Translator) -> None:
    failure = translator.failure(HttpResponse(status, {}, body))
    assert failure.upstream_status == status
    assert len(str(failure).encode()) < 2000


@given(data=st.data())
@relaxed
def test_no_spoiled_error_is_too_strange(data: st.DataObject, case: ProviderCase, translator: Translator) -> None:
    known = [case.unauthorized, case.rate_limited, case.out_of_credit, case.model_gone, case.invalid, case.refused]
    bodies = [value for answer in known if answer and (value := wire.lenient_json(answer)) is not None]
    if not bodies:
        return
    good = data.draw(st.sampled_from(bodies))
    spoiled = _replaced(good, data.draw(st.sampled_from(list(_paths(good)))), data.draw(json_values))
    status = data.draw(st.sampled_from([400, 401, 403, 422, 429, 500]))
    failure = translator.failure(HttpResponse(status, {}, json.dumps(spoiled).encode()))
    assert str(failure).encode()


@pytest.mark.parametrize("name", [name for name, entry in catalog.load().items() if entry.translator in TRANSLATORS])
def test_every_section_of_the_catalog_makes_a_request(name: str) -> None:
    entry = catalog.load()[name]
    base_url = entry.base_url or "https://resource.test"
    options = {option: value or "given" for option, value in entry.options.items()}
    for model in (*entry.models, "a-model-of-tomorrow"):
        fitted = dataclasses.replace(A_CALL, model=model)
        endpoint = Endpoint(name, base_url, entry.trusted_hosts, options)
        request = _opened(TRANSLATORS[entry.translator], fitted, catalog.profile(entry, model), endpoint)
        if isinstance(request, GatewayError):
            assert model == "a-model-of-tomorrow", request
            assert request.kind in (ErrorKind.UNSUPPORTED, ErrorKind.MODEL_GONE)
            continue
        assert request.purpose is Purpose.SUBMIT
        assert urlsplit(request.url).hostname == urlsplit(base_url).hostname


def _opened(
    translator: Translator, call: ProviderCall, profile: Profile, endpoint: Endpoint
) -> HttpRequest | GatewayError:
    """The first request of a conversation, or why there is none."""
    try:
        return drive(translator.vary(call, profile, endpoint), ()).requests[0]
    except GatewayError as refusal:
        return refusal


def _requests(
    translator: Translator, case: ProviderCase, profile: Profile, endpoint: Endpoint
) -> tuple[HttpRequest, ...]:
    """Every request of a successful conversation, with those that would cancel it."""
    driven = drive(translator.vary(case.call, profile, endpoint), case.success)
    return tuple(
        each for request in driven.requests for each in (request, request.cancel) if isinstance(each, HttpRequest)
    )


def _texts(value: object) -> list[str]:
    """Every text in a body, keys included."""
    if isinstance(value, JsonBody):
        return _texts(value.value)
    if isinstance(value, FormBody):
        return [text for name, content in value.fields for text in (name, content)]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *_texts(inner))]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every node of a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        yield from _paths(inner, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another node at one place."""
    if not path:
        return new
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = _replaced(value[key], tuple(rest), new)
    return copy
