"""Whether a caller is let in, asked before a body is taken."""

from __future__ import annotations

from imagevariations.v1 import access_service_pb2 as pb

from service.api.calls import Calls, Context
from service.api.unread import Unread


class AccessServicer:
    """Answers for the credential in the call's metadata, by the rules that every other method has."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def CheckAccess(  # noqa: N802
        self, request: Unread[pb.CheckAccessRequest], context: Context
    ) -> pb.CheckAccessResponse:
        request.read()  # It has no fields, but it must be one.
        await self._calls.check("CheckAccess", context)
        return pb.CheckAccessResponse()
