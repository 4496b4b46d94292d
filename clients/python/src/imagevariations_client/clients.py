"""The two clients: what they send, and when they send it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import grpc
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import (
    image_variation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

from imagevariations_client.failures import VariationError, variation_error
from imagevariations_client.requests import Fields, variation_request

if TYPE_CHECKING:
    from typing_extensions import Unpack

Event = pb.StreamImageVariationResponse

DEFAULT_TIMEOUT_S: Final = 300.0
MOST_TRIES: Final = 3
# gRPC takes 4 MB by default. Four PNG files of 1024x1024 in one answer are more.
_OPTIONS: Final = (("grpc.max_receive_message_length", 100 << 20), ("grpc.max_send_message_length", 100 << 20))


class Client:
    """Calls the gateway; safe to use from several threads.

    Args:
        target: ``host:port`` of the gateway.
        api_key: A virtual key or token, where one is needed.
        credentials: For TLS. None: no TLS.
    """

    def __init__(self, target: str, *, api_key: str = "", credentials: grpc.ChannelCredentials | None = None) -> None:
        self._channel = (
            grpc.secure_channel(target, credentials, _OPTIONS)
            if credentials
            else grpc.insecure_channel(target, _OPTIONS)
        )
        self._stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._metadata = _metadata(api_key)

    def create(
        self, image: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT_S, **fields: Unpack[Fields]
    ) -> pb.CreateImageVariationResponse:
        """Makes variations and returns when all are there; ``fields`` are those of ``Fields``.

        Args:
            image: A PNG, JPEG, WebP or GIF file. Empty: it is at ``image_url``.
            timeout: Seconds for everything, retries included.

        Raises:
            VariationError: It failed, and is not worth another try or had three.
        """
        request = variation_request(image, **fields)
        deadline = time.monotonic() + timeout
        for number in range(1, MOST_TRIES + 1):
            try:
                return self._stub.CreateImageVariation(
                    request, timeout=deadline - time.monotonic(), metadata=self._metadata
                )
            except grpc.RpcError as failed:
                time.sleep(_wait_s(variation_error(failed), number, deadline - time.monotonic()))
        raise AssertionError("the last try returns or raises")

    def stream(
        self, image: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT_S, **fields: Unpack[Fields]
    ) -> Iterator[Event]:
        """Makes variations and yields what happens, each image as soon as it is there.

        Nothing is tried again once an event has come. Closing the iterator cancels the work.

        Raises:
            VariationError: As for ``create``.
        """
        request = variation_request(image, **fields)
        deadline = time.monotonic() + timeout
        for number in range(1, MOST_TRIES + 1):
            begun = False
            call = self._stub.StreamImageVariation(
                request, timeout=deadline - time.monotonic(), metadata=self._metadata
            )
            try:
                for event in call:
                    begun = True
                    yield event
                return
            except grpc.RpcError as failed:
                error = variation_error(failed)
                if begun:
                    raise error from None
                time.sleep(_wait_s(error, number, deadline - time.monotonic()))
            finally:
                call.cancel()

    def models(self, *, timeout: float = 30.0) -> Sequence[model_service_pb2.Model]:
        """The models and aliases that requests may name.

        Raises:
            VariationError: It failed.
        """
        try:
            return self._models.ListModels(
                model_service_pb2.ListModelsRequest(), timeout=timeout, metadata=self._metadata
            ).data
        except grpc.RpcError as failed:
            raise variation_error(failed) from None

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio; see ``Client``."""

    def __init__(self, target: str, *, api_key: str = "", credentials: grpc.ChannelCredentials | None = None) -> None:
        self._channel = (
            grpc.aio.secure_channel(target, credentials, _OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(target, _OPTIONS)
        )
        self._stub: Any = image_variation_service_pb2_grpc.ImageVariationServiceStub(self._channel)
        self._models: Any = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._metadata = _metadata(api_key)

    async def create(
        self, image: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT_S, **fields: Unpack[Fields]
    ) -> pb.CreateImageVariationResponse:
        """As ``Client.create``."""
        request = variation_request(image, **fields)
        deadline = time.monotonic() + timeout
        for number in range(1, MOST_TRIES + 1):
            try:
                answer: pb.CreateImageVariationResponse = await self._stub.CreateImageVariation(
                    request, timeout=deadline - time.monotonic(), metadata=self._metadata
                )
                return answer
            except grpc.aio.AioRpcError as failed:
                await asyncio.sleep(_wait_s(variation_error(failed), number, deadline - time.monotonic()))
        raise AssertionError("the last try returns or raises")

    async def stream(
        self, image: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT_S, **fields: Unpack[Fields]
    ) -> AsyncIterator[Event]:
        """As ``Client.stream``."""
        request = variation_request(image, **fields)
        deadline = time.monotonic() + timeout
        for number in range(1, MOST_TRIES + 1):
            begun = False
            call = self._stub.StreamImageVariation(
                request, timeout=deadline - time.monotonic(), metadata=self._metadata
            )
            try:
                async for event in call:
                    begun = True
                    yield event
                return
            except grpc.aio.AioRpcError as failed:
                error = variation_error(failed)
                if begun:
                    raise error from None
                await asyncio.sleep(_wait_s(error, number, deadline - time.monotonic()))
            finally:
                call.cancel()

    async def models(self, *, timeout: float = 30.0) -> Sequence[model_service_pb2.Model]:
        """As ``Client.models``."""
        try:
            answer: model_service_pb2.ListModelsResponse = await self._models.ListModels(
                model_service_pb2.ListModelsRequest(), timeout=timeout, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as failed:
            raise variation_error(failed) from None
        return answer.data

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _metadata(api_key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def _wait_s(error: VariationError, number: int, left_s: float) -> float:
    """Seconds to wait before the next try, only where the gateway says that the last one cost nothing.

    Anything else, a lost connection included, may have been paid for.

    Raises:
        VariationError: ``error``, where there is no next try.
    """
    wait_s = float(number) if error.retry_after_s is None else error.retry_after_s
    if not error.should_retry or number == MOST_TRIES or wait_s >= left_s:
        raise error from None
    return wait_s
