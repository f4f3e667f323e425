"""What `Tokenize`, `Detokenize` and `CountTokens` do."""

from __future__ import annotations

from parley.inference.v1 import tokens_pb2
from services.inference.engine.port import Engine
from services.inference.engine.turn import Turn
from services.inference.errors import TokenUnknown
from services.inference.messages import check_order
from services.inference.runs.turn_rules import check_images
from services.inference.translation import messages as translate_messages
from services.inference.translation import options as translate_options
from services.inference.translation import requests as translate


async def tokenize(engine: Engine, request: tokens_pb2.TokenizeRequest) -> tokens_pb2.TokenizeResponse:
    """The tokens of a text or of a chat's prompt.

    Raises:
        ServiceError: The messages cannot be rendered, or the text cannot fit the context.
    """
    if request.WhichOneof("input") == "chat":
        token_ids = (await engine.render(_turn(engine, request.chat))).token_ids
    else:
        special = request.add_special_tokens if request.HasField("add_special_tokens") else True
        token_ids = await engine.tokenize(request.text, special=special)
    texts = await engine.token_texts(token_ids) if request.include_texts else ()
    return tokens_pb2.TokenizeResponse(
        token_ids=token_ids, token_texts=texts, context_length=engine.card.context_length
    )


async def count(engine: Engine, request: tokens_pb2.CountTokensRequest) -> tokens_pb2.CountTokensResponse:
    """How many tokens a text or a chat's prompt has.

    Raises:
        ServiceError: As `tokenize` does.
    """
    if request.WhichOneof("input") == "chat":
        tokens = (await engine.render(_turn(engine, request.chat))).tokens
    else:
        tokens = len(await engine.tokenize(request.text, special=True))
    return tokens_pb2.CountTokensResponse(token_count=tokens, context_length=engine.card.context_length)


async def detokenize(engine: Engine, request: tokens_pb2.DetokenizeRequest) -> tokens_pb2.DetokenizeResponse:
    """The text of tokens.

    Raises:
        TokenUnknown: The vocabulary lacks one.
    """
    ids, size = request.tokens.ids, engine.card.vocabulary_size
    if max(ids) >= size:
        raise TokenUnknown("tokens.ids", max(ids), size)
    text = await engine.detokenize(ids, skip_special=request.skip_special_tokens)
    return tokens_pb2.DetokenizeResponse(text=text)


def _turn(engine: Engine, chat: tokens_pb2.ChatInput) -> Turn:
    """The turn that a chat of these messages would begin with.

    Raises:
        ServiceError: The messages make no sense, or are not for this model, or a tool cannot be offered.
    """
    messages = tuple(translate_messages.message(each) for each in chat.messages)
    check_order(messages)
    check_images(messages, engine.card)
    return Turn(
        messages,
        translate.client_tools(chat.client_tools, waits=False).tools,
        reasoning=translate_options.reasoning(chat.reasoning),
        effort=translate_options.effort(chat.reasoning),
    )
