"""The service's own JSON says what protobuf's JSON of the typed messages says, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from service.api.convert import completed_message, event_message, failed_message, response_message
from service.api.rest.json_answer import Pieces, answer_json, completed_json, event_json, failed_json
from service.core.errors import ErrorKind, GatewayError
from service.core.values import NOTHING_SAID, Attempt, ImageFormat, Provenance, Size, Target, Usage
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted
from service.gateway.outcome import CacheReport, FinishedImage, Outcome

# Any text that has a UTF-8 form.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(-5, 2**34)
small = st.integers(0, 2**32 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
word = st.text("ab-", min_size=1, max_size=9)
targets = st.builds(Target, text, text)
makers = st.builds(Target, word, word)
attempts = st.builds(Attempt, text, text, text, small, st.sampled_from(["success", "timeout"]), st.none() | small)
sizes = st.builds(Size, small, small)
formats = st.sampled_from(ImageFormat)
links = st.text("ab:/", min_size=1, max_size=9)
texts = st.lists(text, max_size=2).map(tuple)
said = st.just(NOTHING_SAID) | st.builds(Provenance, texts, texts, texts, text)
images = st.builds(FinishedImage, small, sizes, formats, st.binary(min_size=1), st.just(""), text, said) | st.builds(
    FinishedImage, small, sizes, formats, st.just(b""), links, text, said
)
unit = st.floats(0, 1)
caches = st.builds(CacheReport, unit, targets, st.booleans(), text, text, st.none() | unit, st.none() | targets)
outcomes = st.builds(
    Outcome,
    id=word,
    created=st.integers(1, 2**32 - 1),
    images=st.lists(images, min_size=1, max_size=3).map(tuple),
    model_requested=text,
    target=makers,
    deployment=text,
    fallback_index=small,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    latency_ms=small,
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts, counts, counts, counts),
    cost_usd=st.none() | st.floats(0, 1e6),
    quality=text,
    background=text,
    warnings=st.lists(text, max_size=3).map(tuple),
    cache=st.none() | caches,
    seeds=st.lists(st.integers(0, 2**64 - 1), max_size=2).map(tuple),
    finish_reasons=texts,
    aspect_ratio=text,
    raw_request=st.none() | json_values,
    raw_response=st.none() | json_values,
)


def by_protobuf(message: Any) -> Any:
    return json.loads(json_format.MessageToJson(message, preserving_proto_field_name=True))


def by_us(pieces: Pieces) -> Any:
    return json.loads(b"".join(pieces))


@given(outcomes)
def test_an_answer(outcome: Outcome) -> None:
    assert by_us(answer_json(outcome)) == by_protobuf(response_message(outcome))


@given(outcomes)
def test_the_last_event(outcome: Outcome) -> None:
    kind, pieces = completed_json(outcome)
    assert by_us(pieces) == by_protobuf(completed_message(outcome))
    assert kind == "image_variation.completed"


@given(
    st.builds(AttemptStarted, targets, small)
    | st.builds(AttemptFailed, attempts, text, st.none() | targets)
    | st.builds(ImageCompleted, images, makers)
)
def test_an_event(event: AttemptStarted | AttemptFailed | ImageCompleted) -> None:
    kind, pieces = event_json(event)
    assert by_us(pieces) == by_protobuf(event_message(event))
    assert by_us(pieces)["type"] == kind


@given(
    st.builds(
        GatewayError,
        st.sampled_from(ErrorKind),
        text,
        code=st.sampled_from(["", "invalid_n"]),
        param=text,
        retry_after_s=st.none() | st.floats(0, 1000),
        may_have_run=st.booleans(),
        attempts=st.lists(attempts, max_size=3),
    )
)
def test_a_failure(error: GatewayError) -> None:
    _, pieces = failed_json(error, "req_1")
    assert by_us(pieces) == by_protobuf(failed_message(error, "req_1"))


@pytest.mark.parametrize("raw", [{"deep": [[[]]]}, {1: "no name"}, {"number": 2**70}])
def test_images_are_not_lost_over_a_raw_exchange_that_json_has_not(raw: Any) -> None:
    nested: Any = raw
    for _ in range(300 if "deep" in raw else 0):
        nested = [nested]
    image = FinishedImage(0, Size(1, 1), ImageFormat.PNG, b"png")
    outcome = Outcome("var_1", 1, (image,), "m", Target("a", "m"), "", 0, (), 1, raw_response=nested)
    told = by_us(answer_json(outcome))
    assert told["data"][0]["b64_json"] == "cG5n"
    assert "raw_response" not in told["extra_fields"]
    assert "raw_response was left out" in told["extra_fields"]["warnings"][0]
