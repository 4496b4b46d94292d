"""Answers and events as JSON: what protobuf's own JSON of the typed messages says, written faster.

A test holds the two equal. Images are megabytes of base64, so they are never part of what a JSON writer goes through:
they are pieces beside it, joined once.
"""

from __future__ import annotations

from typing import Any

import orjson
import pybase64

from service.api.status import error_facts
from service.core.errors import GatewayError
from service.core.values import NOTHING_SAID, Attempt, Provenance, Usage
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted, VisibleEvent
from service.gateway.outcome import CacheReport, FinishedImage, Outcome

Pieces = list[bytes]
EVENT_PREFIX = "image_variation."
_LARGEST_COUNT = 2**32 - 1


def answer_json(outcome: Outcome, *, with_images: bool = True) -> Pieces:
    """The answer to a request that succeeded; without its images where they have been sent one by one."""
    head = {"id": outcome.id, "created": outcome.created, "model": outcome.target.model}
    first = outcome.images[0]
    tail: dict[str, Any] = _present(
        background=outcome.background,
        output_format=first.format.value,
        quality=outcome.quality,
        size=str(first.size),
    )
    if outcome.usage is not None:
        tail["usage"] = _usage(outcome.usage)
    tail["extra_fields"] = _extra_fields(outcome)
    if not with_images:
        return [orjson.dumps(head | tail)]
    pieces = [_open(head), b',"data":[']
    for position, image in enumerate(outcome.images):
        if position:
            pieces.append(b",")
        pieces += _image(image, {})
    pieces += [b"],", orjson.dumps(tail)[1:]]
    return pieces


def event_json(event: VisibleEvent) -> tuple[str, Pieces]:
    """The type of an event of a stream, and the event."""
    match event:
        case AttemptStarted(target, fallback_index):
            name, pieces = (
                "attempt_started",
                [
                    orjson.dumps(
                        _present(provider=target.provider, model=target.model) | {"fallback_index": fallback_index}
                    )
                ],
            )
        case AttemptFailed(attempt, reason, next_target):
            shown = {"attempt": attempt_json(attempt)} | _present(reason=reason, next=str(next_target or ""))
            name, pieces = "attempt_failed", [orjson.dumps(shown)]
        case ImageCompleted(image, target):
            name, pieces = "image_completed", _image(image, {"provider": target.provider, "model": target.model})
    return _typed(name, pieces)


def completed_json(outcome: Outcome) -> tuple[str, Pieces]:
    """The last event of a stream that succeeded."""
    return _typed("completed", answer_json(outcome, with_images=False))


def failed_json(error: GatewayError, request_id: str) -> tuple[str, Pieces]:
    """The last event of a stream that failed after it had begun."""
    facts = error_facts(error, request_id)
    facts["attempts"] = [attempt_json(attempt) for attempt in error.attempts]
    always = ("http_status", "retry_after_ms", "should_retry")
    shown = {name: value for name, value in facts.items() if value or (name in always and value is not None)}
    return _typed("failed", [orjson.dumps(shown)])


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One try as callers see it."""
    shown: dict[str, Any] = _present(provider=attempt.provider, model=attempt.model, key=attempt.key)
    shown |= {"latency": attempt.latency_ms, "outcome": attempt.outcome}
    if attempt.status is not None:
        shown["status"] = attempt.status
    return shown


def _typed(name: str, pieces: Pieces) -> tuple[str, Pieces]:
    kind = EVENT_PREFIX + name
    return kind, [f'{{"type":"{kind}","{name}":'.encode(), *pieces, b"}"]


def _open(fields: dict[str, Any]) -> bytes:
    """An object with more to come."""
    return orjson.dumps(fields)[:-1]


def _image(image: FinishedImage, maker: dict[str, str]) -> Pieces:
    fields: dict[str, Any] = _present(url=image.url, revised_prompt=image.revised_prompt)
    fields |= {"index": image.index, **maker}
    if image.url:
        return [orjson.dumps(fields)]
    return [b'{"b64_json":"', pybase64.b64encode(image.data), b'",', orjson.dumps(fields)[1:]]


def _extra_fields(outcome: Outcome) -> dict[str, Any]:
    warnings = list(outcome.warnings)
    extra: dict[str, Any] = {"request_type": "image_variation"}
    extra |= _present(
        provider=outcome.target.provider,
        model_requested=outcome.model_requested,
        model_deployment=outcome.deployment,
    )
    extra |= {"latency": outcome.latency_ms, "chunk_index": 0}
    for name, raw in (("raw_request", outcome.raw_request), ("raw_response", outcome.raw_response)):
        if raw is not None:
            try:
                extra[name] = orjson.Fragment(orjson.dumps(raw))
            except TypeError:
                # Nested too deep, or a number that JSON has not: the images must not be lost over it.
                warnings.append(f"{name} was left out: it holds something that cannot be passed on as JSON.")
    if outcome.cache is not None:
        extra["cache_debug"] = _cache(outcome.cache)
    if outcome.attempts:
        extra["attempts"] = [attempt_json(attempt) for attempt in outcome.attempts]
    extra["fallback_index"] = outcome.fallback_index
    if outcome.cost_usd is not None:
        extra["cost_usd"] = outcome.cost_usd
    if warnings:
        extra["warnings"] = warnings
    said = [image.provenance for image in outcome.images]
    if any(each != NOTHING_SAID for each in said):
        extra["provenance"] = [_provenance(each) for each in said]
    if outcome.seeds:
        extra["seeds"] = [str(seed) for seed in outcome.seeds]
    if outcome.finish_reasons:
        extra["finish_reasons"] = outcome.finish_reasons
    if outcome.aspect_ratio:
        extra["aspect_ratio"] = outcome.aspect_ratio
    return extra


def _provenance(said: Provenance) -> dict[str, Any]:
    lists = {"found": said.found, "kept": said.kept, "written": said.written}
    shown: dict[str, Any] = {name: statements for name, statements in lists.items() if statements}
    return shown | _present(digital_source_type=said.digital_source_type)


def _cache(report: CacheReport) -> dict[str, Any]:
    shown: dict[str, Any] = {"cache_hit": report.hit}
    shown |= _present(
        cache_id=report.id,
        hit_type=report.hit_type,
        requested_provider=report.requested.provider,
        requested_model=report.requested.model,
    )
    if report.used is not None:
        shown |= _present(provider_used=report.used.provider, model_used=report.used.model)
    shown |= {"input_tokens": 0, "threshold": report.threshold}
    if report.similarity is not None:
        shown["similarity"] = report.similarity
    return shown


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": _count(usage.input_tokens),
        "input_tokens_details": {
            "image_tokens": _count(usage.input_image_tokens),
            "text_tokens": _count(usage.input_text_tokens),
        },
        "total_tokens": _count(usage.total_tokens),
        "output_tokens": _count(usage.output_tokens),
        "output_tokens_details": {
            "image_tokens": _count(usage.output_image_tokens),
            "text_tokens": _count(usage.output_text_tokens),
        },
    }


def _count(number: int) -> int:
    return min(max(number, 0), _LARGEST_COUNT)


def _present(**texts: str) -> dict[str, str]:
    """The texts that are not empty: protobuf's JSON leaves the others out."""
    return {name: text for name, text in texts.items() if text}
