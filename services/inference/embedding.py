"""Embeds the texts of one call: counted first, admitted, then embedded side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ulid import ULID

from parley.inference.v1 import embed_pb2
from services.inference.engine.embedder import Embedder, Form, Text
from services.inference.engine.turn_spans import embeddings_span
from services.inference.errors import TokenUnknown
from services.inference.models import Models
from services.ledger.admission import Admission, Spent
from services.ledger.limits import Payer
from services.rpc.call import current_principal
from services.rpc.errors import ServiceError
from services.rpc.tasks import end_task


class Embedding:
    """Answers `Embed`."""

    def __init__(self, models: Models, admission: Admission) -> None:
        """Embed with these models, for those who are admitted."""
        self._models = models
        self._admission = admission

    async def answer(self, request: embed_pb2.EmbedRequest) -> embed_pb2.EmbedResponse:
        """The embeddings of the request's texts, or of its tokens.

        Raises:
            ServiceError: The model cannot, a text does not fit, or a limit stands in the way.
        """
        principal = current_principal()
        embedder = self._models.embedder(request.model, principal)
        form = Form(
            dimensions=request.dimensions if request.HasField("dimensions") else None,
            normalize=request.normalize if request.HasField("normalize") else True,
        )
        texts = await _texts(request, embedder)
        payer = Payer(principal.tenant_id, principal.user_id, principal.key_id, embedder.card.name)
        vectors = await self._paid(embedder, texts, form, payer)
        return _response(embedder.card.name, texts, vectors, form)

    async def _paid(
        self, embedder: Embedder, texts: Sequence[Text], form: Form, payer: Payer
    ) -> list[Sequence[float]]:
        """Embed under a lease, which is settled however it ends.

        The tokens are spent once the engine has them: a call that is cancelled
        pays for them, one that the engine refuses or fails does not.
        """
        request_id = str(ULID())
        tokens = sum(text.tokens for text in texts)
        nested = current_principal().actor != ""
        lease = await self._admission.admit(request_id, payer, prompt=tokens, answers=False, nested=nested)
        spent = Spent(prompt_tokens=tokens)
        try:
            with embeddings_span(embedder.card.name, tokens, request_id):
                return await _side_by_side(embedder, texts, form, request_id)
        except ServiceError:
            spent = Spent()
            raise
        finally:
            await self._admission.settle(lease, spent)


async def _texts(request: embed_pb2.EmbedRequest, embedder: Embedder) -> list[Text]:
    """What is to be embedded, as tokens.

    Raises:
        TokenUnknown: A token is beyond the vocabulary.
        ContextOverflow: A text does not fit, and is not to be cut.
    """
    cut = request.truncation == embed_pb2.EMBED_TRUNCATION_CUT_END
    vocabulary = embedder.card.vocabulary_size
    for given in request.tokens:
        if max(given.ids) >= vocabulary:
            raise TokenUnknown("tokens.ids", max(given.ids), vocabulary)
    whole = [embedder.read_tokens(given.ids, cut=cut) for given in request.tokens]
    return whole or [await embedder.read(text, cut=cut) for text in request.texts]


async def _side_by_side(
    embedder: Embedder, texts: Sequence[Text], form: Form, request_id: str
) -> list[Sequence[float]]:
    """The vectors in the order of the texts. The first failure, or cancelling, frees all slots."""
    tasks = [
        asyncio.ensure_future(embedder.embed(text, form, f"{request_id}-{at}"))
        for at, text in enumerate(texts)
    ]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await end_task(task)


def _response(
    model: str, texts: Sequence[Text], vectors: Sequence[Sequence[float]], form: Form
) -> embed_pb2.EmbedResponse:
    return embed_pb2.EmbedResponse(
        model=model,
        embeddings=[
            embed_pb2.Embedding(values=vector, tokens=text.tokens, truncated=text.truncated)
            for text, vector in zip(texts, vectors, strict=True)
        ],
        dimensions=len(vectors[0]),
        normalized=form.normalize,
        prompt_tokens=sum(text.tokens for text in texts),
    )
