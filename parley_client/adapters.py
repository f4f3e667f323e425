"""LoRA adapters: models that are loaded and unloaded while the platform serves."""

from __future__ import annotations

import grpc

from parley.inference.v1 import adapter_service_pb2 as pb2
from parley.inference.v1.adapter_service_pb2_grpc import AdapterServiceStub
from parley_client.caller import Caller
from parley_client.pools import MODEL_KEY


class Adapters:
    """What `AdapterService` does for one caller.

    A base model's name may be empty, for the deployment's default model. Every
    method raises `ParleyError` when the call does not end well.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._caller = caller
        self._stub = AdapterServiceStub(channel)

    async def load(self, adapter: str, base_model: str = "") -> pb2.Adapter:
        """Loads an adapter, or its files anew where they changed."""
        request = pb2.LoadAdapterRequest(base_model=base_model, adapter=adapter)
        also = ((MODEL_KEY, base_model),)
        return (await self._caller.unary(self._stub.LoadAdapter, request, also=also)).adapter

    async def unload(self, adapter: str, base_model: str = "") -> int:
        """Unloads an adapter; gives how many runs the replica still answers by it."""
        request = pb2.UnloadAdapterRequest(base_model=base_model, adapter=adapter)
        also = ((MODEL_KEY, base_model),)
        return (await self._caller.unary(self._stub.UnloadAdapter, request, also=also)).running_runs

    async def list(self, request: pb2.ListAdaptersRequest) -> pb2.ListAdaptersResponse:
        """Lists a base model's adapters a page at a time; `parley_client.caller.pages` gives them all."""
        also = ((MODEL_KEY, request.base_model),)
        return await self._caller.unary(self._stub.ListAdapters, request, also=also)


def state(adapter: pb2.Adapter) -> str:
    """How an adapter stands, in a word."""
    return pb2.AdapterState.Name(adapter.state).removeprefix("ADAPTER_STATE_").lower()
