"""Rendering of an outcome and of the events before it: as typed messages, or as JSON for the REST door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from imagevariations.v1 import image_variation_pb2 as pb

from service.api.convert import (
    completed_message,
    event_message,
    failed_message,
    keep_alive_message,
    response_message,
)
from service.api.rest.body import written_body
from service.api.rest.json_answer import Pieces, answer_json, completed_json, event_json, failed_json
from service.core.errors import GatewayError
from service.gateway.events import VisibleEvent
from service.gateway.outcome import Outcome

Answer_co = TypeVar("Answer_co", covariant=True)
Event_co = TypeVar("Event_co", covariant=True)


class Rendering(Protocol[Answer_co, Event_co]):
    """One way to write answers and events.

    Attributes:
        stream_headers: Response headers of every stream.
        failure_is_event: Whether a stream that has begun ends with an event when it fails, instead of a gRPC status.
    """

    stream_headers: Mapping[str, str]
    failure_is_event: bool

    def answer(self, outcome: Outcome) -> Answer_co: ...
    def event(self, event: VisibleEvent) -> Event_co: ...
    def completed(self, outcome: Outcome) -> Event_co: ...
    def keep_alive(self) -> Event_co: ...
    def failed(self, error: GatewayError, request_id: str) -> Event_co: ...


class TypedRendering:
    """The generated messages, for native gRPC clients."""

    stream_headers: Mapping[str, str] = {}
    failure_is_event = False

    def answer(self, outcome: Outcome) -> pb.CreateImageVariationResponse:
        return response_message(outcome)

    def event(self, event: VisibleEvent) -> pb.StreamImageVariationResponse:
        return event_message(event)

    def completed(self, outcome: Outcome) -> pb.StreamImageVariationResponse:
        return completed_message(outcome)

    def keep_alive(self) -> pb.StreamImageVariationResponse:
        return keep_alive_message()

    def failed(self, error: GatewayError, request_id: str) -> pb.StreamImageVariationResponse:
        return failed_message(error, request_id)


class RestRendering:
    """JSON and Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html), in HttpBody."""

    # Proxies must neither keep events nor collect them: x-accel-buffering is how nginx is told.
    stream_headers: Mapping[str, str] = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    failure_is_event = True

    def answer(self, outcome: Outcome) -> bytes:
        return written_body("application/json", answer_json(outcome))

    def event(self, event: VisibleEvent) -> bytes:
        return _sent(*event_json(event))

    def completed(self, outcome: Outcome) -> bytes:
        return _sent(*completed_json(outcome))

    def keep_alive(self) -> bytes:
        return written_body("text/event-stream", [b": the work goes on\n\n"])

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return _sent(*failed_json(error, request_id))


def _sent(kind: str, pieces: Pieces) -> bytes:
    # JSON has no line break of its own, so one data line holds all of it.
    return written_body("text/event-stream", [f"event: {kind}\ndata: ".encode(), *pieces, b"\n\n"])
