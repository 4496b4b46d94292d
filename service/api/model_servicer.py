"""ListModels: the models and aliases that can be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagevariations.v1 import (
    model_service_pb2,
)

from service.api.call import Call
from service.api.calls import Calls, Context
from service.api.model_messages import model_message, models_message
from service.api.unread import Unread
from service.core.values import Target
from service.gateway.directory import Directory


class ModelServicer:
    """The models and aliases that can be asked for."""

    def __init__(self, directory: Directory, warnings: Mapping[Target, Sequence[str]], calls: Calls) -> None:
        self._directory = directory
        self._warnings = warnings
        self._calls = calls

    async def ListModels(  # noqa: N802
        self,
        request: Unread[model_service_pb2.ListModelsRequest],
        context: Context,
    ) -> model_service_pb2.ListModelsResponse:
        async def handle(call: Call) -> model_service_pb2.ListModelsResponse:
            asked = request.read()
            return models_message(
                self._directory,
                self._warnings,
                call.caller.key,
                page_size=asked.page_size,
                page_token=asked.page_token,
            )

        return await self._calls.unary("ListModels", context, handle)

    async def GetModel(  # noqa: N802
        self,
        request: Unread[model_service_pb2.GetModelRequest],
        context: Context,
    ) -> model_service_pb2.Model:
        async def handle(call: Call) -> model_service_pb2.Model:
            return model_message(self._directory, self._warnings, call.caller.key, request.read().id)

        return await self._calls.unary("GetModel", context, handle)
