"""A service that fails as often as it is told to, and counts how often it is asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import image_variation_service_pb2_grpc

from service.api.status import row_of, trailers
from service.core.errors import GatewayError


@dataclass(slots=True)
class RefusingServer(image_variation_service_pb2_grpc.ImageVariationServiceServicer):
    """Fails with ``errors``, one a streamed request, and then answers; the others hang until they are given up.

    Attributes:
        asked: The requests so far.
    """

    errors: list[GatewayError]
    asked: list[pb.CreateImageVariationRequest] = field(default_factory=list)

    def CreateImageVariation(
        self, request: pb.CreateImageVariationRequest, context: grpc.ServicerContext
    ) -> pb.CreateImageVariationResponse:
        """Answers nobody: the caller has to give up."""
        self.asked.append(request)
        given_up = threading.Event()
        if context.add_callback(given_up.set):
            given_up.wait()
        return pb.CreateImageVariationResponse()

    def StreamImageVariation(
        self, request: pb.CreateImageVariationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamImageVariationResponse]:
        self.asked.append(request)
        if self.errors:
            error = self.errors.pop(0)
            context.set_trailing_metadata(trailers(error, transcoded=False, request_id="req_1"))
            context.abort(row_of(error).grpc_code, error.message)
        image = pb.ImageVariation(index=0, b64_json=b"image")
        yield pb.StreamImageVariationResponse(type="image_variation.image_completed", image_completed=image)
        # Newer than any program: it must be passed over.
        yield pb.StreamImageVariationResponse(type="image_variation.something_new")
        answer = pb.CreateImageVariationResponse(extra_fields=pb.ExtraFields(provider="a"))
        yield pb.StreamImageVariationResponse(type="image_variation.completed", completed=answer)


@contextlib.contextmanager
def refusing_server(*errors: GatewayError) -> Iterator[tuple[RefusingServer, str]]:
    """The server, and the address at which it listens."""
    servicer = RefusingServer(list(errors))
    server = grpc.server(ThreadPoolExecutor(2))
    image_variation_service_pb2_grpc.add_ImageVariationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None)
