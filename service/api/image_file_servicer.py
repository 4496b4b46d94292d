"""GetImageFile: the images behind the links of ``response_format: url``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from google.api import httpbody_pb2
from imagevariations.v1 import (
    image_file_service_pb2,
)

from service.api.byte_range import ByteRange, byte_range
from service.api.call import Call
from service.api.calls import Calls, Context
from service.api.status import HTTP_STATUS_HEADER
from service.api.unread import Unread
from service.core.errors import ErrorKind, GatewayError
from service.gateway.delivery.links import Links

# Envoy's Lua filter makes the Content-Length of it: under its own name it would have to fit gRPC's frames.
LENGTH_HEADER = "x-file-length"


class ImageFileServicer:
    """The images behind the links of ``response_format: url``."""

    def __init__(self, links: Links, calls: Calls) -> None:
        self._links = links
        self._calls = calls

    async def GetImageFile(  # noqa: N802
        self, request: Unread[image_file_service_pb2.GetImageFileRequest], context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        async def handle(call: Call) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
            link = request.read()
            image = await self._links.open(link.name, str(link.expires), link.signature)
            # The link is the permission: whoever has it may keep what it shows, but no shared cache may.
            call.headers |= {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}
            asked = _asked(call.range, image.size)
            if call.transcoded:
                length = image.size if asked is None else asked.end - asked.start
                call.headers |= {"accept-ranges": "bytes", LENGTH_HEADER: str(length)}
                if asked is not None:
                    call.headers |= {"content-range": asked.content_range, HTTP_STATUS_HEADER: "206"}
            if call.http_method == "HEAD":
                yield httpbody_pb2.HttpBody(content_type=image.media_type)
                return
            async for chunk in image.chunks if asked is None else asked.of(image.chunks):
                yield httpbody_pb2.HttpBody(content_type=image.media_type, data=chunk)

        async with contextlib.aclosing(
            self._calls.stream("GetImageFile", context, handle, for_everybody=True)
        ) as chunks:
            async for chunk in chunks:
                yield chunk


def _asked(header: str, size: int) -> ByteRange | None:
    try:
        return byte_range(header, size)
    except ValueError:
        raise GatewayError(
            ErrorKind.RANGE_NOT_SATISFIABLE,
            f"The file has {size} bytes: there is nothing in the range {header[:60]!r}.",
            param="range",
            may_have_run=False,
        ) from None
