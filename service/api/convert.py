"""Between the generated messages and our own values."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.status import attempt_message, request_error
from service.api.validation import MOST_TEXT_BYTES, Fields, fallback_name, too_much_text
from service.api.wire import outer_fields
from service.core.errors import GatewayError
from service.core.values import NOTHING_SAID, Usage
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted, VisibleEvent
from service.gateway.outcome import CacheReport, FinishedImage, Outcome

_EVENT_PREFIX = "image_variation."
_IMAGE_FIELDS = {
    pb.CreateImageVariationRequest.DESCRIPTOR.fields_by_name[name].number for name in ("image", "image_url")
}


def fields_from_message(message: pb.CreateImageVariationRequest) -> Fields:
    """A typed request's fields, not yet checked.

    Raises:
        GatewayError: INVALID_REQUEST for a fallback that names nothing.
    """
    return Fields(
        model=message.model,
        image=message.image,
        image_given=message.HasField("image"),
        image_url=message.image_url,
        n=message.n if message.HasField("n") else None,
        size=message.size,
        response_format=message.response_format,
        user=message.user,
        fallbacks=[
            fallback_name(f"fallbacks[{position}]", {"provider": entry.provider, "model": entry.model})
            for position, entry in enumerate(message.fallbacks)
        ],
        prompt=message.prompt,
        strength=message.strength if message.HasField("strength") else None,
        seed=message.seed if message.HasField("seed") else None,
        output_format=message.output_format,
        fit=message.fit,
        fit_ground=message.fit_ground,
        output_compression=message.output_compression if message.HasField("output_compression") else None,
        quality=message.quality,
        background=message.background,
        provider_options=plain(message.provider_options) if message.HasField("provider_options") else {},
    )


def refuse_too_much_text(raw: bytes) -> None:
    """Looks through the bytes of a typed request, before they are parsed, for more than its image may be.

    Millions of tiny fields take seconds to parse and a hundred times their size in memory.

    Raises:
        GatewayError: REQUEST_TOO_LARGE where everything but the image is too much; INVALID_REQUEST where it is no
            message.
    """
    if len(raw) <= MOST_TEXT_BYTES:
        return
    images = 0
    for number, start, end in outer_fields(raw):
        if number in _IMAGE_FIELDS:
            images += end - start
        if end - images > MOST_TEXT_BYTES:
            raise too_much_text()


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as plain Python values; whole numbers, which it holds as doubles, become integers again.

    Not by way of ``json_format``, which fails on NaN, and on Values in which nothing is set.
    """
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain_value(inner) for inner in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case _:
            return None


def response_message(outcome: Outcome, *, with_images: bool = True) -> pb.CreateImageVariationResponse:
    """The answer to a request that succeeded; without its images where they have been sent one by one."""
    first = outcome.images[0]
    message = pb.CreateImageVariationResponse(
        id=outcome.id,
        created=outcome.created,
        model=outcome.target.model,
        background=outcome.background,
        output_format=first.format.value,
        quality=outcome.quality,
        size=str(first.size),
        extra_fields=_extra_fields(outcome),
    )
    if with_images:
        message.data.extend(image_message(image) for image in outcome.images)
    if outcome.usage is not None:
        message.usage.CopyFrom(_usage_message(outcome.usage))
    return message


def image_message(image: FinishedImage) -> pb.ImageVariation:
    """One variation, with either its bytes or its link."""
    message = pb.ImageVariation(index=image.index)
    if image.url:
        message.url = image.url
    else:
        message.b64_json = image.data
    if image.revised_prompt:
        message.revised_prompt = image.revised_prompt
    return message


def event_message(event: VisibleEvent) -> pb.StreamImageVariationResponse:
    """One event of a stream."""
    match event:
        case AttemptStarted():
            return pb.StreamImageVariationResponse(
                type=f"{_EVENT_PREFIX}attempt_started",
                attempt_started=pb.AttemptStarted(
                    provider=event.target.provider, model=event.target.model, fallback_index=event.fallback_index
                ),
            )
        case AttemptFailed():
            return pb.StreamImageVariationResponse(
                type=f"{_EVENT_PREFIX}attempt_failed",
                attempt_failed=pb.AttemptFailed(
                    attempt=attempt_message(event.attempt),
                    reason=event.reason,
                    next=str(event.next_target) if event.next_target else "",
                ),
            )
        case ImageCompleted():
            image = image_message(event.image)
            image.provider, image.model = event.target.provider, event.target.model
            return pb.StreamImageVariationResponse(type=f"{_EVENT_PREFIX}image_completed", image_completed=image)


def completed_message(outcome: Outcome) -> pb.StreamImageVariationResponse:
    """The last event of a stream that succeeded."""
    return pb.StreamImageVariationResponse(
        type=f"{_EVENT_PREFIX}completed", completed=response_message(outcome, with_images=False)
    )


def keep_alive_message() -> pb.StreamImageVariationResponse:
    """Says that the work goes on."""
    return pb.StreamImageVariationResponse(type=f"{_EVENT_PREFIX}keep_alive", keep_alive=pb.KeepAlive())


def failed_message(error: GatewayError, request_id: str) -> pb.StreamImageVariationResponse:
    """The last event of a stream that failed after it had begun, where no status can be sent any more."""
    return pb.StreamImageVariationResponse(type=f"{_EVENT_PREFIX}failed", failed=request_error(error, request_id))


def _extra_fields(outcome: Outcome) -> pb.ExtraFields:
    extra = pb.ExtraFields(
        request_type="image_variation",
        provider=outcome.target.provider,
        model_requested=outcome.model_requested,
        model_deployment=outcome.deployment,
        latency=outcome.latency_ms,
        chunk_index=0,
        attempts=[attempt_message(attempt) for attempt in outcome.attempts],
        fallback_index=outcome.fallback_index,
        warnings=outcome.warnings,
        seeds=[str(seed) for seed in outcome.seeds],
        finish_reasons=outcome.finish_reasons,
        aspect_ratio=outcome.aspect_ratio,
    )
    if any(image.provenance != NOTHING_SAID for image in outcome.images):
        extra.provenance.extend(
            pb.Provenance(
                found=said.found,
                kept=said.kept,
                written=said.written,
                digital_source_type=said.digital_source_type,
            )
            for said in (image.provenance for image in outcome.images)
        )
    if outcome.cost_usd is not None:
        extra.cost_usd = outcome.cost_usd
    if outcome.cache is not None:
        extra.cache_debug.CopyFrom(_cache_message(outcome.cache))
    for name, raw in (("raw_request", outcome.raw_request), ("raw_response", outcome.raw_response)):
        if raw is not None:
            shown = _shown_raw(raw)
            if shown is None:
                extra.warnings.append(f"{name} was left out: it holds something that cannot be passed on as JSON.")
            else:
                getattr(extra, name).CopyFrom(shown)
    return extra


def _shown_raw(raw: Any) -> struct_pb2.Value | None:
    """Any JSON value as a message; None where it has no such form, or one that clients would not parse.

    The images are paid for: they must not be lost over what was only asked for besides them.
    """
    value = struct_pb2.Value()
    try:
        json_format.ParseDict(raw, value)
        # Parsers stop at a depth of 100 messages, and one level of JSON is up to three of them.
        answer = pb.CreateImageVariationResponse(extra_fields=pb.ExtraFields(raw_response=value))
        pb.StreamImageVariationResponse.FromString(
            pb.StreamImageVariationResponse(completed=answer).SerializeToString()
        )
    except (ValueError, OverflowError, RecursionError, json_format.ParseError, DecodeError):
        return None
    return value


def _cache_message(report: CacheReport) -> pb.CacheDebug:
    message = pb.CacheDebug(
        cache_hit=report.hit,
        cache_id=report.id,
        hit_type=report.hit_type,
        requested_provider=report.requested.provider,
        requested_model=report.requested.model,
        input_tokens=0,
        threshold=report.threshold,
    )
    if report.used is not None:
        message.provider_used, message.model_used = report.used.provider, report.used.model
    if report.similarity is not None:
        message.similarity = report.similarity
    return message


def _usage_message(usage: Usage) -> pb.Usage:
    return pb.Usage(
        input_tokens=_count(usage.input_tokens),
        input_tokens_details=pb.TokensDetails(
            image_tokens=_count(usage.input_image_tokens), text_tokens=_count(usage.input_text_tokens)
        ),
        total_tokens=_count(usage.total_tokens),
        output_tokens=_count(usage.output_tokens),
        output_tokens_details=pb.TokensDetails(
            image_tokens=_count(usage.output_image_tokens), text_tokens=_count(usage.output_text_tokens)
        ),
    )


def _count(number: int) -> int:
    """A provider's number, or a sum of them, in the range of the field: it must not cost the answer."""
    return min(max(number, 0), 2**32 - 1)
