"""Between the generated messages and our own values."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import model_service_pb2

from service.api.status import attempt_message, request_error
from service.api.validation import Fields, fallback_name
from service.catalog.profile import Price, Profile
from service.core.errors import GatewayError, invalid
from service.core.values import Size, Target, Usage
from service.gateway.directory import Alias, Directory, Provider
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted, VisibleEvent
from service.gateway.outcome import CacheReport, FinishedImage, Outcome
from service.governance.keys import VirtualKey

_EVENT_PREFIX = "image_variation."
_MEGAPIXEL = 1024 * 1024
LARGEST_PAGE = 1000


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
        quality=message.quality,
        background=message.background,
        provider_options=plain(message.provider_options) if message.HasField("provider_options") else {},
    )


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


def models_message(
    directory: Directory,
    warnings: Mapping[Target, Sequence[str]],
    key: VirtualKey | None = None,
    *,
    page_size: int = 0,
    page_token: str = "",
) -> model_service_pb2.ListModelsResponse:
    """Every model that is listed, then the aliases, or a page of them.

    Args:
        warnings: What is wrong with a model, such as a sunset date that has passed.
        key: Leaves out what it may not use. None: everything may be used.
        page_size: Most models to list. 0: all of them.
        page_token: Where the page begins: what the page before said. Empty: at the beginning.

    Raises:
        GatewayError: INVALID_REQUEST for a page that cannot be.
    """
    if not 0 <= page_size <= LARGEST_PAGE:
        raise invalid("page_size", f"page_size must be a whole number from 0 to {LARGEST_PAGE}, not {page_size}.")
    may_use = key.may_use if key else lambda _: True
    models = [
        _model_message(provider, name, profile, warnings.get(Target(provider.name, name), ()))
        for provider in directory.providers.values()
        for name, profile in provider.profiles.items()
        if may_use(Target(provider.name, name))
    ]
    models.extend(
        _alias_message(name, alias)
        for name, alias in directory.aliases.items()
        if any(may_use(weighted.target) for weighted in alias.targets)
    )
    first = _page_start(models, page_token)
    page = models[first : first + page_size] if page_size else models[first:]
    rest = models[first + len(page) :]
    return model_service_pb2.ListModelsResponse(
        object="list", data=page, next_page_token=_page_token(rest[0].id) if rest else ""
    )


def _page_token(first_id: str) -> str:
    """Names the model that a page begins with: a list that changes meanwhile loses nothing and repeats nothing."""
    return base64.urlsafe_b64encode(first_id.encode()).decode().rstrip("=")


def _page_start(models: Sequence[model_service_pb2.Model], token: str) -> int:
    if not token:
        return 0
    for position, model in enumerate(models):
        if _page_token(model.id) == token:
            return position
    raise invalid("page_token", "page_token must be the next_page_token of an earlier page; begin again without it.")


def _model_message(provider: Provider, name: str, profile: Profile, warnings: Sequence[str]) -> model_service_pb2.Model:
    unavailable = provider.backend.unavailable()
    capabilities = model_service_pb2.ModelCapabilities(
        max_n=profile.max_n,
        sizes=[str(size) for size in profile.sizes],
        input_formats=[image_format.value for image_format in profile.input_formats],
        max_input_bytes=min(profile.max_input_bytes, 2**32 - 1),
        max_input_pixels=min(profile.max_input_pixels, 2**32 - 1),
        seed=profile.seed,
        strength=profile.strength,
        quality=profile.quality,
        background=profile.background,
        prompt=profile.prompt.value,
        square_input=profile.square_input,
        sunset_date=profile.sunset.isoformat() if profile.sunset else "",
        available=unavailable is None,
    )
    price = _price_per_image(profile.price)
    if price is not None:
        capabilities.price_per_image_usd = price
    return model_service_pb2.Model(
        id=f"{provider.name}/{name}",
        object="model",
        created=0,
        owned_by=provider.name,
        capabilities=capabilities,
        warnings=[*([unavailable.message] if unavailable else []), *warnings],
        notes=profile.notes,
    )


def _alias_message(name: str, alias: Alias) -> model_service_pb2.Model:
    return model_service_pb2.Model(
        id=name,
        object="model",
        created=0,
        owned_by="alias",
        targets=[str(weighted.target) for weighted in alias.targets],
    )


def _price_per_image(price: Price | None) -> float | None:
    """The price of one image of 1024 x 1024 pixels, or None where it depends on tokens."""
    if price is None or price.output_image_tokens or price.input_image_tokens:
        return None
    reference = Size(1024, 1024)
    return price.per_image + price.per_request + price.per_megapixel * reference.pixels / _MEGAPIXEL
