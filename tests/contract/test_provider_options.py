"""No option of the caller's changes a decision of the gateway: tried on every field that a translator sends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from exchange_driver import drive
from provider_case import ProviderCase

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers.base import Endpoint, Translator
from service.providers.http import FormBody, JsonBody

# The fields that an option may replace, and why. A field that is not here counts as the gateway's.
DEFAULTS = {
    "ideogram": {"magic_prompt": "Whether the vendor may rewrite the prompt costs nothing."},
    "byteplus": {"watermark": "Whether the vendor stamps its mark on the picture costs nothing."},
    "dashscope": {
        "prompt_extend": "Whether the vendor may rewrite the prompt costs nothing.",
        "watermark": "Whether the vendor stamps its mark on the picture costs nothing.",
    },
    "sdapi": {"steps": "How long a machine of the operator's own works at a picture."},
}

# Options with which callers of one vendor or another would ask for more, for dearer, for another model, or for the
# answer elsewhere.
# Every translator refuses all of them, since a vendor may know more spellings than it documents.
TRICKS: Mapping[str, str] = {
    "model": "model",
    "n": "n",
    "num_images": "n",
    "numImages": "n",
    "num_images[]": "n",
    "num_outputs": "n",
    "numberOfImages": "n",
    "candidateCount": "n",
    "batch_size": "n",
    "n_iter": "n",
    "size": "size",
    "image_size": "size",
    "imageSize": "size",
    "aspect_ratio": "size",
    "megapixels": "size",
    "resolution": "size",
    "quality": "quality",
    "image": "image",
    "image[]": "image",
    "image[1]": "image",
    "input_image_2": "image",
    "image_urls": "image",
    "mask": "",
    "prompt": "prompt",
    "seed": "seed",
    "user": "user",
    "safety_identifier": "user",
    "output_format": "output_format",
    "response_format": "response_format",
    "webhook": "",
    "webhook_url": "",
    "async": "",
    "stream": "",
    "partial_images": "",
}


def fullest(call: ProviderCall) -> ProviderCall:
    """The call with every knob set, so that no field of the translator's stays out for want of a value."""
    return dataclasses.replace(
        call,
        size=call.size or Size(1024, 1024),
        prompt=call.prompt or "Vary it.",
        strength=0.5,
        seed=7,
        quality="high",
        background="opaque",
        output_format=ImageFormat.PNG,
        user="user-7",
    )


def paths_of(value: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The names that lead to each value of a JSON body that is no object."""
    for name, inner in value.items():
        deeper = list(paths_of(inner)) if isinstance(inner, Mapping) else []
        yield from ((name, *rest) for rest in deeper or [()])


def sent_fields(
    translator: Translator, call: ProviderCall, profile: Profile, endpoint: Endpoint
) -> set[tuple[str, ...]]:
    """All that stands in the translator's first request, as paths of names."""
    body = drive(translator.vary(call, profile, endpoint), ()).requests[0].body
    if isinstance(body, FormBody):
        return {(name,) for name, _ in body.fields} | {(file.name,) for file in body.files}
    assert isinstance(body, JsonBody)
    value = body.value
    # Some vendors put all that an option could change into one object, or into the first of a list.
    value = value[0] if isinstance(value, list) else value
    inner = value.get("parameters", value.get("input"))
    return set(paths_of(inner if isinstance(inner, Mapping) else value))


def option(path: tuple[str, ...], value: Any = "x") -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def refusal_of(
    options: Mapping[str, Any], case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> GatewayError:
    call = dataclasses.replace(fullest(case.call), options=options)
    with pytest.raises(GatewayError) as caught:
        drive(translator.vary(call, profile, endpoint), ())
    return caught.value


def test_every_field_that_is_sent_is_the_gateways(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    paths = {
        *sent_fields(translator, case.call, profile, endpoint),
        *sent_fields(translator, fullest(case.call), profile, endpoint),
    }
    allowed = {(name,) for name in DEFAULTS.get(case.translator, {})}
    assert len(paths - allowed) >= 2
    for path in sorted(paths - allowed):
        for given in (option(path), option(path, None), option(path, {"x": 1}), option((path[0].upper(), *path[1:]))):
            refusal = refusal_of(given, case, translator, endpoint, profile)
            assert refusal.kind is ErrorKind.INVALID_REQUEST, path
            assert (refusal.code, refusal.param) == ("invalid_provider_options", "provider_options")
            assert not refusal.may_have_run


def test_defaults_may_be_replaced(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    sent = sent_fields(translator, fullest(case.call), profile, endpoint)
    for name in DEFAULTS.get(case.translator, {}):
        if (name,) in sent:
            call = dataclasses.replace(case.call, options={name: "mine"})
            body = drive(translator.vary(call, profile, endpoint), ()).requests[0].body
            assert isinstance(body, FormBody | JsonBody)
            values = dict(body.fields) if isinstance(body, FormBody) else body.value
            assert values.get("parameters", values)[name] == "mine"


def test_no_spelling_of_it_is_taken_at_any_depth(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for trick in TRICKS:
        for given in ({trick: 4}, {"generationConfig": {trick: 4}}, {"safetySettings": [{"inner": {trick: 4}}]}):
            refusal = refusal_of(given, case, translator, endpoint, profile)
            assert (refusal.kind, refusal.code) == (ErrorKind.INVALID_REQUEST, "invalid_provider_options"), given


def test_the_refusal_names_the_field_to_use_instead(
    case: ProviderCase, translator: Translator, endpoint: Endpoint, profile: Profile
) -> None:
    for trick, field in TRICKS.items():
        refusal = refusal_of({"generationConfig": {trick: 4}}, case, translator, endpoint, profile)
        assert trick in refusal.message
        if field:
            assert f"use the request's field '{field}'" in refusal.message, trick
