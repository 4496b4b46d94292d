"""GetImageFile: the images behind the links of ``response_format: url``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from google.api import httpbody_pb2
from imagevariations.v1 import (
    image_file_service_pb2,
)

from service.api.call import Call
from service.api.calls import Calls, Context
from service.api.unread import Unread
from service.gateway.delivery.links import Links


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
            async for chunk in image.chunks:
                yield httpbody_pb2.HttpBody(content_type=image.media_type, data=chunk)

        async with contextlib.aclosing(
            self._calls.stream("GetImageFile", context, handle, for_everybody=True)
        ) as chunks:
            async for chunk in chunks:
                yield chunk
