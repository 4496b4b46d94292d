"""The outcome of a request, events included, as bytes that can be stored and replayed.

The format: the header's length, the header in JSON, then the images' files one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ImageFormat, Provenance, Size, Target, Usage
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted, VisibleEvent
from service.gateway.outcome import CacheReport, FinishedImage, Outcome

_LENGTH: Final = struct.Struct(">I")
_ERROR_FIELDS: Final = ("message", "code", "param", "retry_after_s", "upstream_status", "may_have_run")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The end of a request: the events that streams pass on, and an outcome or an error."""

    events: tuple[VisibleEvent, ...]
    end: Outcome | GatewayError


def dump(recorded: Recorded) -> bytes:
    """As bytes."""
    end = recorded.end
    images = end.images if isinstance(end, Outcome) else ()
    places = {image.index: place for place, image in enumerate(images)}
    header = {
        "events": [event for each in recorded.events if (event := _event(each, places)) is not None],
        "outcome": _outcome(end) if isinstance(end, Outcome) else None,
        "error": _error(end) if isinstance(end, GatewayError) else None,
    }
    written = orjson.dumps(header)
    return b"".join([_LENGTH.pack(len(written)), written, *(image.data for image in images)])


def parse(data: bytes) -> Recorded:
    """What ``dump`` wrote; ValueError where it did not."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = orjson.loads(memoryview(data)[_LENGTH.size : _LENGTH.size + length])
        position = _LENGTH.size + length
        end: Outcome | GatewayError
        images: list[FinishedImage] = []
        if header["outcome"] is None:
            end = _read_error(header["error"])
        else:
            for fields in header["outcome"].pop("images"):
                size = fields.pop("bytes")
                images.append(
                    FinishedImage(
                        **{
                            **fields,
                            "size": Size(**fields["size"]),
                            "format": ImageFormat(fields["format"]),
                            "provenance": Provenance.of(fields["provenance"]),
                        },
                        data=data[position : position + size],
                    )
                )
                position += size
            end = _read_outcome(header["outcome"], tuple(images))
        events = tuple(_read_event(event, images) for event in header["events"])
    except (KeyError, TypeError, IndexError, struct.error) as error:
        raise ValueError(f"no recorded answer: {type(error).__name__}") from None
    return Recorded(events, end)


def _event(event: VisibleEvent, places: Mapping[int, int]) -> dict[str, Any] | None:
    match event:
        case AttemptStarted(target, fallback_index):
            return {"started": asdict(target), "fallback_index": fallback_index}
        case AttemptFailed(attempt, reason, next_target):
            return {
                "failed": asdict(attempt),
                "reason": reason,
                "next": None if next_target is None else asdict(next_target),
            }
        case ImageCompleted(image, target):
            place = places.get(image.index)
            return None if place is None else {"image": place, "target": asdict(target)}


def _read_event(event: Mapping[str, Any], images: Sequence[FinishedImage]) -> VisibleEvent:
    if "started" in event:
        return AttemptStarted(Target(**event["started"]), event["fallback_index"])
    if "failed" in event:
        following = event["next"]
        return AttemptFailed(
            Attempt(**event["failed"]), event["reason"], None if following is None else Target(**following)
        )
    return ImageCompleted(images[event["image"]], Target(**event["target"]))


def _outcome(outcome: Outcome) -> dict[str, Any]:
    skipped = ("images", "raw_request", "raw_response")
    plain = {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__ if name not in skipped}
    images = [
        {name: getattr(image, name) for name in FinishedImage.__dataclass_fields__ if name != "data"}
        | {"bytes": len(image.data)}
        for image in outcome.images
    ]
    return {**plain, "images": images, **_raw("raw_request", outcome), **_raw("raw_response", outcome)}


def _raw(name: str, outcome: Outcome) -> dict[str, Any]:
    """An exchange that JSON cannot hold is left out: it was only asked for besides the images."""
    try:
        return {name: orjson.Fragment(orjson.dumps(getattr(outcome, name)))}
    except TypeError:
        return {name: None}


def _read_outcome(fields: dict[str, Any], images: tuple[FinishedImage, ...]) -> Outcome:
    cache = fields["cache"]
    if cache is not None:
        used = cache["used"]
        cache = CacheReport(
            **{
                **cache,
                "requested": Target(**cache["requested"]),
                "used": None if used is None else Target(**used),
            }
        )
    return Outcome(
        **{
            **fields,
            "images": images,
            "target": Target(**fields["target"]),
            "attempts": tuple(Attempt(**attempt) for attempt in fields["attempts"]),
            "usage": None if fields["usage"] is None else Usage(**fields["usage"]),
            "warnings": tuple(fields["warnings"]),
            "seeds": tuple(fields["seeds"]),
            "finish_reasons": tuple(fields["finish_reasons"]),
            "cache": cache,
        }
    )


def _error(error: GatewayError) -> dict[str, Any]:
    plain = {name: getattr(error, name) for name in _ERROR_FIELDS}
    plain["message"] = error.message.encode("utf-8", "replace").decode()
    return {**plain, "kind": error.kind.value, "attempts": [asdict(attempt) for attempt in error.attempts]}


def _read_error(fields: dict[str, Any]) -> GatewayError:
    attempts = [Attempt(**attempt) for attempt in fields["attempts"]]
    return GatewayError(ErrorKind(fields["kind"]), **{name: fields[name] for name in _ERROR_FIELDS}, attempts=attempts)
