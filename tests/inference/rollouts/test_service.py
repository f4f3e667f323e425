"""Rollouts over real mTLS gRPC: who may make which, and who is answered by what."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from parley.inference.v1 import (
    chat_pb2,
    completion_pb2,
    conversation_service_pb2,
    inference_service_pb2,
    message_pb2,
    model_pb2,
    rollout_pb2,
)
from parley.inference.v1 import rollout_service_pb2 as pb2
from services.inference.conversations import schema as conversations_schema
from services.inference.conversations.library import ConversationLibrary
from services.inference.engine.turn import Message, Role
from services.inference.rollouts.library import RolloutLibrary
from services.sql.database import Database, parse_url
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.rollouts.conftest import ALIAS, PERMISSIONS, creation, halves, variant
from tests.inference.scripted import CARD, ScriptedEngine
from tests.inference.test_directory import pool, told
from tests.inference.test_servicer import chat, message, read, refusal
from tests.postgresql import sqlite_url

SECONDS = 15
USERS = tuple(f"user-{number}" for number in range(24))


async def refused(call: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


async def variants_of(process: Any, tokens: TokenMaker, users: tuple[str, ...] = USERS) -> dict[str, str]:
    """The variant that each user is given."""

    async def given(user_id: str) -> str:
        metadata = tokens.metadata(*PERMISSIONS, user_id=user_id)
        events = await read(process.stub.Chat(chat(model=ALIAS), metadata=metadata))
        assert (events[0].started.alias, events[0].started.model) == (ALIAS, "scripted")
        return str(events[0].started.variant)

    return dict(zip(users, await asyncio.gather(*map(given, users)), strict=True))


async def test_users_are_shared_out_and_each_keeps_a_variant_at_every_replica(
    replica: Replica, library: RolloutLibrary, operator: Any, tokens: TokenMaker
) -> None:
    async with (
        replica(ScriptedEngine(), rollouts=library) as one,
        replica(ScriptedEngine(), rollouts=library) as other,
    ):
        await one.rollouts.CreateRollout(creation(), metadata=operator)
        at_one = await variants_of(one, tokens)
        async with asyncio.timeout(SECONDS):
            while await refuses_alias(other, tokens):  # noqa: ASYNC110 - it is told by the database
                await asyncio.sleep(0.05)
        assert await variants_of(other, tokens) == at_one
    shares = [list(at_one.values()).count(name) for name in ("plain", "candidate")]
    assert sum(shares) == len(USERS)
    assert min(shares) > len(USERS) // 5


async def refuses_alias(process: Any, tokens: TokenMaker) -> bool:
    """Whether a replica does not know of the alias yet."""
    try:
        await read(process.stub.Chat(chat(model=ALIAS), metadata=tokens.metadata(*PERMISSIONS)))
    except grpc.aio.AioRpcError:
        return True
    return False


async def test_promotion_and_rollback_hold_for_everybody_and_at_once(
    replica: Replica, library: RolloutLibrary, operator: Any, tokens: TokenMaker
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(), metadata=operator)
        promoted = await process.rollouts.PromoteRollout(
            pb2.PromoteRolloutRequest(name=ALIAS), metadata=operator
        )
        assert promoted.rollout.state == rollout_pb2.ROLLOUT_STATE_PROMOTED
        assert set((await variants_of(process, tokens)).values()) == {"candidate"}
        back = await process.rollouts.RollbackRollout(
            pb2.RollbackRolloutRequest(name=ALIAS), metadata=operator
        )
        assert back.rollout.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
        assert back.rollout.serving_variant_name == "plain"
        assert set((await variants_of(process, tokens)).values()) == {"plain"}
        again = await process.rollouts.CreateRollout(creation(), metadata=operator)
        assert again.rollout.rollout_id != back.rollout.rollout_id
        await process.rollouts.DeleteRollout(pb2.DeleteRolloutRequest(name=ALIAS), metadata=operator)
        assert await refuses_alias(process, tokens)


async def test_a_variant_brings_its_instructions_and_its_sampling(
    replica: Replica, library: RolloutLibrary, operator: Any
) -> None:
    engine = ScriptedEngine()
    sampling = rollout_pb2.SamplingDefaults(temperature=0.25, top_k=5, max_output_tokens=7)
    candidate = variant("candidate", 100, system_prompt="Be brief.", sampling=sampling)
    asked = chat(model=ALIAS, sampling=chat_pb2.SamplingOptions(top_k=9))
    with_own = chat(model=ALIAS)
    with_own.messages.insert(0, message("Speak French.", message_pb2.ROLE_SYSTEM))
    raw = completion_pb2.CompleteRequest(model=ALIAS, text="Once")
    async with replica(engine, rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(candidate), metadata=operator)
        for request in (asked, with_own):
            await read(process.stub.Chat(request, metadata=operator))
        await read(process.stub.Complete(raw, metadata=operator))
    first, second, third = engine.rendered
    assert first.messages == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))
    assert (first.sampling.temperature, first.sampling.top_k) == (0.25, 9)
    assert engine.budgets == [7, 7, 7]
    assert second.messages[0] == Message(Role.SYSTEM, "Be brief.\n\nSpeak French.")
    assert (third.messages, third.sampling.temperature) == ((), 0.25)


async def test_a_variants_instructions_are_not_stored_in_a_conversation(
    replica: Replica, library: RolloutLibrary, operator: Any, tokens: TokenMaker, tmp_path: Any
) -> None:
    url = parse_url(sqlite_url(tmp_path / "conversations.db"))
    await conversations_schema.migrate(url)
    database, owner = Database(url), tokens.metadata(*PERMISSIONS, "inference.conversations.*")
    candidate = variant("candidate", 100, system_prompt="Be brief.")
    async with replica(ScriptedEngine(), rollouts=library, library=ConversationLibrary(database)) as process:
        await process.rollouts.CreateRollout(creation(candidate), metadata=operator)
        made = await process.conversations.CreateConversation(
            conversation_service_pb2.CreateConversationRequest(), metadata=owner
        )
        conversation_id = made.conversation.conversation_id
        request = chat(model=ALIAS, conversation_id=conversation_id, continue_conversation=True)
        await read(process.stub.Chat(request, metadata=owner))
        kept = await process.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation_id), metadata=owner
        )
    await database.close()
    assert [each.message.role for each in kept.messages] == [
        message_pb2.ROLE_USER,
        message_pb2.ROLE_ASSISTANT,
    ]


@pytest.mark.parametrize(
    ("request_", "reason", "said"),
    [
        (creation(variant("a", 60), variant("b", 30)), "ROLLOUT_INVALID", "the weights are 90 together"),
        (creation(variant("a", 50), variant("a", 50)), "ROLLOUT_INVALID", "two have the same name"),
        (creation(stable_variant_name="c"), "ROLLOUT_INVALID", "there is no variant 'c'"),
        (creation(name="scripted"), "ROLLOUT_INVALID", "'scripted' is a model's"),
        (creation(*halves(model="another")), "VARIANT_MODEL_UNAVAILABLE", "needs the model 'another'"),
        (creation(*halves(model="nowhere")), "VARIANT_MODEL_UNAVAILABLE", "needs the model 'nowhere'"),
    ],
    ids=["weights", "names", "stable", "a model's name", "a model that loads", "no such model"],
)
async def test_what_cannot_be_is_refused_in_a_line_and_leaves_nothing(
    replica: Replica,
    library: RolloutLibrary,
    operator: Any,
    request_: pb2.CreateRolloutRequest,
    reason: str,
    said: str,
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await process.rollouts.CreateRollout(request_, metadata=operator)
        assert refusal(error.value)[0] == reason
        assert said in str(error.value.details())
        assert "\n" not in str(error.value.details())
        listed = await process.rollouts.ListRollouts(pb2.ListRolloutsRequest(), metadata=operator)
        assert not listed.rollouts


async def test_another_tenant_sees_nothing_and_is_answered_by_nothing(
    replica: Replica, library: RolloutLibrary, operator: Any, stranger: Any
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(), metadata=operator)
        request = pb2.GetRolloutRequest(name=ALIAS)
        assert (await refused(process.rollouts.GetRollout(request, metadata=stranger)))[0] == (
            "ROLLOUT_NOT_FOUND"
        )
        for ended in (
            process.rollouts.PromoteRollout(pb2.PromoteRolloutRequest(name=ALIAS), metadata=stranger),
            process.rollouts.RollbackRollout(pb2.RollbackRolloutRequest(name=ALIAS), metadata=stranger),
        ):
            assert (await refused(ended))[0] == "ROLLOUT_NOT_FOUND"
        await process.rollouts.DeleteRollout(pb2.DeleteRolloutRequest(name=ALIAS), metadata=stranger)
        listed = await process.rollouts.ListRollouts(pb2.ListRolloutsRequest(), metadata=stranger)
        assert not listed.rollouts
        asked = read(process.stub.Chat(chat(model=ALIAS), metadata=stranger))
        assert (await refused(asked))[0] == "MODEL_NOT_FOUND"
        shown = await process.rollouts.GetRollout(request, metadata=operator)
        assert shown.rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING


async def test_one_that_runs_is_not_replaced_and_there_is_an_end_to_their_number(
    replica: Replica, library: RolloutLibrary, operator: Any
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        create = process.rollouts.CreateRollout
        for name in ("a", "b", "c"):
            await create(creation(name=name), metadata=operator)
        assert await refused(create(creation(name="a"), metadata=operator)) == (
            "ROLLOUT_RUNNING",
            {"name": "a"},
        )
        assert await refused(create(creation(name="d"), metadata=operator)) == (
            "TOO_MANY_ROLLOUTS",
            {"limit": "3"},
        )
        first = await process.rollouts.ListRollouts(pb2.ListRolloutsRequest(page_size=2), metadata=operator)
        request = pb2.ListRolloutsRequest(page_size=2, page_token=first.next_page_token)
        rest = await process.rollouts.ListRollouts(request, metadata=operator)
    assert [[each.name for each in page.rollouts] for page in (first, rest)] == [["a", "b"], ["c"]]


async def test_an_alias_is_listed_among_the_models_of_who_may_use_them(
    replica: Replica, library: RolloutLibrary, operator: Any, stranger: Any, tokens: TokenMaker
) -> None:
    async def listed(process: Any, metadata: Any) -> list[str]:
        found = await process.stub.ListModels(inference_service_pb2.ListModelsRequest(), metadata=metadata)
        return [model.name for model in found.models]

    async with replica(ScriptedEngine(), rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(), metadata=operator)
        request = inference_service_pb2.GetModelRequest(name=ALIAS)
        shown = (await process.stub.GetModel(request, metadata=operator)).model
        assert await listed(process, operator) == ["another", ALIAS, "scripted"]
        assert ALIAS not in await listed(process, stranger)
        assert await listed(process, tokens.metadata("inference.models", "models.another")) == ["another"]
    assert (shown.is_alias, shown.state) == (True, model_pb2.MODEL_STATE_READY)
    assert (shown.context_length, shown.supports_tools) == (CARD.context_length, True)


async def test_an_alias_gives_no_right_to_its_models(
    replica: Replica, library: RolloutLibrary, operator: Any, tokens: TokenMaker
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(), metadata=operator)
        metadata = tokens.metadata("inference.chat", f"models.{ALIAS}")
        asked = read(process.stub.Chat(chat(model=ALIAS), metadata=metadata))
        assert await refused(asked) == ("PERMISSION_MISSING", {"permission": "models.scripted"})


async def test_a_variant_of_another_pool_is_asked_for_there(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        await told(store, pool("large"), process.directory)
        everybody = creation(variant("plain", 0), variant("candidate", 100, model="large"))
        await process.rollouts.CreateRollout(everybody, metadata=operator)
        asked = read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
        assert await refused(asked) == (
            "VARIANT_ELSEWHERE",
            {"name": ALIAS, "variant": "candidate", "model": "large"},
        )


async def test_without_a_database_there_are_none(replica: Replica, operator: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        asked = process.rollouts.ListRollouts(pb2.ListRolloutsRequest(), metadata=operator)
        assert (await refused(asked))[0] == "ROLLOUTS_OFF"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("c", "ROLLOUT_INVALID"), ("", "ROLLOUT_INVALID")],
    ids=["unknown", "one of several"],
)
async def test_what_is_promoted_must_be_one_variant(
    replica: Replica, library: RolloutLibrary, operator: Any, name: str, reason: str
) -> None:
    three = creation(variant("plain", 50), variant("a", 25), variant("b", 25))
    async with replica(ScriptedEngine(), rollouts=library) as process:
        await process.rollouts.CreateRollout(three, metadata=operator)
        request = pb2.PromoteRolloutRequest(name=ALIAS, variant_name=name)
        asked = process.rollouts.PromoteRollout(request, metadata=operator)
        assert (await refused(asked))[0] == reason
        shown = await process.rollouts.GetRollout(pb2.GetRolloutRequest(name=ALIAS), metadata=operator)
    assert shown.rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING
