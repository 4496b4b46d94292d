"""What the gateway tells of a failure, out of the details of a gRPC status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import grpc
from google.rpc import error_details_pb2, status_pb2
from imagevariations.v1 import image_variation_pb2 as pb

_DETAILS = "grpc-status-details-bin"


class _Failed(Protocol):
    """What sync and async errors of gRPC have in common."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Any: ...


class VariationError(Exception):
    """A request failed.

    Attributes:
        code: The gRPC status code.
        message: What went wrong, in a sentence or two.
        reason: A name of ``ErrorReason``, such as ``INVALID_N``. Empty where the failure is not the gateway's own, such
            as a connection that was refused.
        param: The request field at fault. Empty: none is.
        should_retry: Whether the gateway says that the same request may be sent again: it has cost nothing so far.
        retry_after_s: Seconds until then; None where nobody knows.
        request_id: By which the gateway's log knows the request.
        attempts: Every try that the gateway made, in order.
    """

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, told: pb.RequestError) -> None:
        super().__init__(f"{code.name}: {message}" + (f" ({reason})" if reason else ""))
        self.code = code
        self.message = message
        self.reason = reason
        self.param = told.param
        self.should_retry = told.should_retry
        self.retry_after_s = told.retry_after_ms / 1000 if told.HasField("retry_after_ms") else None
        self.request_id = told.request_id
        self.attempts: Sequence[pb.Attempt] = tuple(told.attempts)


def variation_error(failed: _Failed) -> VariationError:
    """A gRPC error as a ``VariationError``."""
    info, told = error_details_pb2.ErrorInfo(), pb.RequestError()
    for name, value in failed.trailing_metadata() or ():
        if name == _DETAILS:
            for detail in status_pb2.Status.FromString(value).details:
                if not detail.Unpack(info):
                    detail.Unpack(told)
    return VariationError(failed.code(), failed.details() or "", info.reason, told)
