"""Serves `parley.auth.v1.QuotaService`."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from parley.auth.v1 import quota_pb2
from parley.auth.v1 import quota_service_pb2 as pb2
from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceServicer
from services.auth.clock import Clock
from services.auth.quotas import Quotas
from services.ledger.ledger import Ledger, LedgerUnavailable
from services.ledger.limits import Payer
from services.ledger.quotas import DIMENSION_MESSAGES, subject_from, subject_text, terms_for
from services.ledger.wire import Standing
from services.rpc.call import current_principal
from services.rpc.errors import DependencyUnavailable
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens
from services.rpc.quota_errors import QuotaUnavailable


class QuotaServicer(QuotaServiceServicer):
    """Manages quotas, and tells callers where they stand."""

    def __init__(self, quotas: Quotas, ledger: Ledger | None, pages: PageTokens, clock: Clock) -> None:
        """Work with these parts; without a ledger nothing is limited, and nothing may be set."""
        self._quotas = quotas
        self._ledger = ledger
        self._pages = pages
        self._clock = clock

    async def SetQuota(self, request: pb2.SetQuotaRequest, context: Context) -> pb2.SetQuotaResponse:
        """See `QuotaService.SetQuota`."""
        if self._ledger is None:
            # A limit that nobody counts would be a promise that is not kept.
            raise DependencyUnavailable("ledger")
        quota = await self._quotas.set(current_principal(), request.tenant_id, request.quota)
        return pb2.SetQuotaResponse(quota=quota)

    async def GetQuota(self, request: pb2.GetQuotaRequest, context: Context) -> pb2.GetQuotaResponse:
        """See `QuotaService.GetQuota`."""
        quota = await self._quotas.get(current_principal(), request.tenant_id, request.subject)
        return pb2.GetQuotaResponse(quota=quota)

    async def ListQuotas(self, request: pb2.ListQuotasRequest, context: Context) -> pb2.ListQuotasResponse:
        """See `QuotaService.ListQuotas`."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        found = await self._quotas.page(caller, request.tenant_id, listing.after, listing.fetched)
        page, token = listing.cut(found, lambda quota: subject_text(quota.subject))
        return pb2.ListQuotasResponse(quotas=page, next_page_token=token)

    async def DeleteQuota(self, request: pb2.DeleteQuotaRequest, context: Context) -> pb2.DeleteQuotaResponse:
        """See `QuotaService.DeleteQuota`."""
        await self._quotas.delete(current_principal(), request.tenant_id, request.subject)
        return pb2.DeleteQuotaResponse()

    async def GetEffectiveLimits(
        self, request: pb2.GetEffectiveLimitsRequest, context: Context
    ) -> pb2.GetEffectiveLimitsResponse:
        """See `QuotaService.GetEffectiveLimits`."""
        return pb2.GetEffectiveLimitsResponse(quotas=await self._matching(_payer(request.model)))

    async def GetQuotaStatus(
        self, request: pb2.GetQuotaStatusRequest, context: Context
    ) -> pb2.GetQuotaStatusResponse:
        """See `QuotaService.GetQuotaStatus`."""
        payer = _payer(request.model)
        terms = terms_for(payer, await self._matching(payer))
        try:
            standings = await self._ledger.standings(terms) if self._ledger is not None else []
        except LedgerUnavailable as error:
            raise QuotaUnavailable from error
        return pb2.GetQuotaStatusResponse(uses=[self._use(standing) for standing in standings])

    async def _matching(self, payer: Payer) -> list[quota_pb2.Quota]:
        if self._ledger is None:
            return []
        return await self._quotas.matching(payer, current_principal().roles)

    def _use(self, standing: Standing) -> quota_pb2.QuotaUse:
        use = quota_pb2.QuotaUse(
            subject=subject_from(standing.subject),
            dimension=DIMENSION_MESSAGES[standing.dimension],
            limit=standing.limit,
            used=standing.limit - standing.left,
        )
        if standing.reset is not None and use.dimension != quota_pb2.QUOTA_DIMENSION_CONCURRENT_STREAMS:
            reset = Timestamp()
            reset.FromDatetime(self._clock() + standing.reset)
            use.reset_time.CopyFrom(reset)
        return use


def _payer(model: str) -> Payer:
    """Who the current caller is to the ledger."""
    principal = current_principal()
    return Payer(principal.tenant_id, principal.user_id, principal.key_id, model)
