"""Serves `parley.inference.v1.AdapterService`."""

from __future__ import annotations

from collections import Counter

from parley.inference.v1 import adapter_service_pb2 as pb2
from parley.inference.v1.adapter_service_pb2_grpc import AdapterServiceServicer
from services.inference.adapters.errors import AdaptersOff
from services.inference.adapters.pool import AdapterPool, Loaded, adapter_model
from services.inference.models import Models
from services.rpc.call import current_principal, note
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens


class AdapterServicer(AdapterServiceServicer):
    """Loads, unloads and lists the adapters of this pool's model."""

    def __init__(self, models: Models, pool: AdapterPool, pages: PageTokens) -> None:
        """Serve these adapters.

        Args:
            models: The models of this replica.
            pool: The adapters of one of them.
            pages: Makes and reads page tokens.
        """
        self._models = models
        self._pool = pool
        self._pages = pages

    async def LoadAdapter(self, request: pb2.LoadAdapterRequest, context: Context) -> pb2.LoadAdapterResponse:
        """See the contract."""
        self._check_base(request.base_model, request.adapter)
        loaded = await self._pool.load(request.adapter)
        return pb2.LoadAdapterResponse(adapter=_shown(loaded, self._pool.base_model, pb2.ADAPTER_STATE_READY))

    async def UnloadAdapter(
        self, request: pb2.UnloadAdapterRequest, context: Context
    ) -> pb2.UnloadAdapterResponse:
        """See the contract."""
        self._check_base(request.base_model, request.adapter)
        return pb2.UnloadAdapterResponse(running_runs=await self._pool.unload(request.adapter))

    async def ListAdapters(
        self, request: pb2.ListAdaptersRequest, context: Context
    ) -> pb2.ListAdaptersResponse:
        """See the contract."""
        self._check_base(request.base_model)
        host = self._pool.host()
        listing = Listing(self._pages, request, current_principal())
        later = [each for each in await self._all() if each.adapter > listing.after]
        shown, token = listing.cut(later[: listing.fetched], lambda each: each.adapter)
        return pb2.ListAdaptersResponse(
            adapters=shown,
            next_page_token=token,
            max_adapters=host.most_adapters,
            max_rank=host.most_rank,
        )

    def _check_base(self, name: str, adapter: str = "") -> None:
        """Refuse what is not about this pool's model; the audit is told which adapter a change is about.

        Raises:
            ModelNotFound: There is no such model here.
            PermissionMissing: The caller may not use it.
            AdaptersOff: It takes no adapters.
        """
        found = self._models.find(name or self._models.default, current_principal())
        if found.name != self._pool.base_model:
            raise AdaptersOff(found.name)
        if adapter:
            note(model=adapter_model(found.name, adapter))

    async def _all(self) -> list[pb2.Adapter]:
        """Every adapter that there is, by name."""
        base = self._pool.base_model
        states = dict.fromkeys(await self._pool.names(), pb2.ADAPTER_STATE_AVAILABLE)
        states |= dict.fromkeys(self._pool.failed, pb2.ADAPTER_STATE_FAILED)
        shown = {
            name: pb2.Adapter(adapter=name, base_model=base, model=adapter_model(base, name), state=state)
            for name, state in states.items()
        }
        still = Counter[str]()
        for loaded in self._pool.leaving:
            still[loaded.files.name] += loaded.engine.runs
            shown[loaded.files.name] = _shown(loaded, base, pb2.ADAPTER_STATE_UNLOADING)
        for loaded in self._pool.loaded:
            shown[loaded.files.name] = _shown(loaded, base, pb2.ADAPTER_STATE_READY)
            still[loaded.files.name] += loaded.engine.runs
        for name, runs in still.items():
            shown[name].running_runs = runs
        return [adapter for _, adapter in sorted(shown.items())]


def _shown(loaded: Loaded, base_model: str, state: pb2.AdapterState.ValueType) -> pb2.Adapter:
    """A loaded adapter as the contract has it."""
    files = loaded.files
    return pb2.Adapter(
        adapter=files.name,
        base_model=base_model,
        model=loaded.adapter.model,
        state=state,
        revision=files.revision,
        rank=files.rank,
        size_bytes=files.size_bytes,
        running_runs=loaded.engine.runs,
    )
