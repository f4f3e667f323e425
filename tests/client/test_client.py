import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2

from parley.inference.v1 import answer_pb2, chat_pb2, converse_pb2
from parley_client.channel import open_channel
from parley_client.client import Client, question
from parley_client.credentials import ApiKey, ExchangedKey, Login, TokensInMemory
from parley_client.errors import ParleyError
from tests.client.toy_platform import KEY_ID, PASSWORD, RUN_ID, ToyPlatform, failure

Connect = Callable[[], Client]


async def test_an_answer_streams_as_numbered_events(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client, client.chat(question("What is 17 * 23?")) as events:
        seen = [event async for event in events]
    assert [event.sequence for event in seen] == list(range(1, len(toy.events) + 1))
    assert "".join(event.content_delta.text for event in seen) == "17 * 23 is 391."
    assert toy.requests[0].server_tools.all


async def test_the_model_travels_as_metadata_too(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client, client.chat(question("Hi", model="toy")) as events:
        assert [event async for event in events]
    assert toy.metadata["parley-model"] == "toy"


class Once(dict[str, Any]):
    """Failures that each happen once."""

    def get(self, key: str, default: Any = None) -> Any:
        return self.pop(key, default)


@pytest.mark.parametrize("window", [0, 60], ids=["plain", "resumable"])
async def test_an_alias_is_followed_to_the_pool_of_its_variant(
    toy: ToyPlatform, connect: Connect, window: int
) -> None:
    toy.failures = Once(
        Chat=failure(9, "VARIANT_ELSEWHERE", "It is there.", name="assistant", variant="b", model="large")
    )
    request = question("Hi", model="assistant")
    if window:
        request.resume_window.FromSeconds(window)
    async with connect() as client:
        for seen in (2, 3):
            async with client.chat(request) as events:
                assert [event async for event in events]
            assert len(toy.requests) == seen
            assert (toy.requests[-1].model, toy.metadata["parley-model"]) == ("assistant", "large")


async def test_who_is_sent_about_for_ever_is_told(toy: ToyPlatform, connect: Connect) -> None:
    toy.failures["Chat"] = failure(9, "VARIANT_ELSEWHERE", "It is there.", name="assistant", model="large")
    async with connect() as client, client.chat(question("Hi", model="assistant")) as events:
        with pytest.raises(ParleyError, match="VARIANT_ELSEWHERE"):
            await anext(events)
    assert len(toy.requests) == 3


async def test_closing_the_stream_cancels_the_run(toy: ToyPlatform, connect: Connect) -> None:
    toy.hang = True
    async with connect() as client:
        async with client.chat(question("Hi")) as events:
            first = await anext(events)
            assert first.started.run_id == RUN_ID
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_cancelling_the_reader_cancels_the_run(toy: ToyPlatform, connect: Connect) -> None:
    toy.hang = True
    reading = asyncio.Event()

    async def read(client: Client) -> None:
        async with client.chat(question("Hi")) as events:
            async for _ in events:
                reading.set()

    async with connect() as client:
        task = asyncio.create_task(read(client))
        await asyncio.wait_for(reading.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)


async def test_a_stream_that_was_never_read_opens_no_call(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        async with client.chat(question("Hi")):
            pass
        await client.who_am_i()
    assert len(toy.requests) == 1


async def test_a_deadline_of_the_client_is_a_typed_error(toy: ToyPlatform, connect: Connect) -> None:
    toy.hang = True
    async with connect() as client, client.chat(question("Hi"), timeout_seconds=0.3) as events:
        with pytest.raises(ParleyError) as caught:
            [event async for event in events]
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_failed_call_carries_reason_metadata_and_delay(toy: ToyPlatform, connect: Connect) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=3))
    toy.failures["Chat"] = failure(
        code_pb2.UNAVAILABLE, "MODEL_NOT_READY", "The model is loading.", retry, model="toy"
    )
    async with connect() as client, client.chat(question("Hi")) as events:
        with pytest.raises(ParleyError) as caught:
            await anext(events)
    error = caught.value
    assert (error.code, error.reason, error.domain) == (
        grpc.StatusCode.UNAVAILABLE,
        "MODEL_NOT_READY",
        "test.parley",
    )
    assert error.metadata == {"model": "toy"}
    assert error.retry_after == timedelta(seconds=3)
    assert error.hint == "Try again in 3 s."
    assert str(error) == "MODEL_NOT_READY: The model is loading."


async def test_broken_rules_are_named_by_field(toy: ToyPlatform, connect: Connect) -> None:
    bad = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="name", description="too long")]
    )
    toy.failures["CreateKey"] = failure(code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST", "No.", bad)
    async with connect() as client:
        with pytest.raises(ParleyError) as caught:
            await client.create_key("x" * 200)
    assert [(v.field, v.description) for v in caught.value.violations] == [("name", "too long")]
    assert caught.value.hint == "name: too long"


async def test_nobody_listening_says_what_to_do(connect: Connect) -> None:
    async with Client(open_channel("127.0.0.1:1")) as client:
        with pytest.raises(ParleyError) as caught:
            await client.list_models()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "parley status" in caught.value.hint


async def test_a_stranger_s_certificate_is_refused(toy: ToyPlatform) -> None:
    async with Client(open_channel(toy.address)) as client:
        with pytest.raises(ParleyError) as caught:
            await client.list_models()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert toy.requests == []


async def test_pages_are_followed_to_the_end(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        models = await client.list_models()
    assert [model.name for model in models] == ["first", "second"]


async def test_every_other_method_answers(toy: ToyPlatform, connect: Connect) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with connect() as client:
        assert (await client.create_key("ci", ["inference.*"], tomorrow)).secret == "pk_abc_secret"
        assert toy.requests[-1].expire_time.seconds == int(tomorrow.timestamp())
        assert [key.name for key in await client.list_keys()] == ["ci", "old"]
        assert (await client.revoke_key(KEY_ID)).key_id == KEY_ID
        assert [tool.name for tool in await client.list_tools()] == ["calculator"]
        await client.cancel(RUN_ID)
        assert toy.requests[-1].run_id == RUN_ID
        assert await client.purge_cache("second") == 3
        assert toy.requests[-1].model == "second"
        async with client.execute("calculator", "{}") as events:
            kinds = [event.WhichOneof("event") async for event in events]
    assert kinds == ["started", "progress", "output", "result"]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE]
)
async def test_a_stream_that_breaks_off_is_told_as_that_and_not_as_a_fault_of_the_platform(
    toy: ToyPlatform, connect: Connect, code: grpc.StatusCode
) -> None:
    """The edge resets what a lost replica leaves, and gRPC has several names for it."""
    toy.cuts, toy.cut_as = [2], code
    async with connect() as client:
        async with client.chat(question("Hi")) as events:
            seen = [await anext(events), await anext(events)]
            with pytest.raises(ParleyError) as caught:
                await anext(events)
        assert [event.sequence for event in seen] == [1, 2]
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
        toy.cuts = [2]
        async with client.converse(converse_pb2.ConverseSetup()) as talk:
            await talk.say("Hi")
            await anext(talk)
            with pytest.raises(ParleyError) as caught:
                await anext(talk)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_an_api_key_goes_as_a_bearer_value_and_never_into_a_repr(
    toy: ToyPlatform, connect: Connect
) -> None:
    key = ApiKey("pk_abc_secret")
    async with connect() as client:
        client.credentials = key
        await client.who_am_i()
    assert toy.metadata["authorization"] == "Bearer pk_abc_secret"
    assert "secret" not in repr(key)


async def test_a_key_is_exchanged_once_for_many_calls(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        client.credentials = ExchangedKey("pk_abc_secret", client.exchange_key)
        await asyncio.gather(*(client.who_am_i() for _ in range(8)))
    assert toy.metadata["authorization"] == "Bearer of-pk_abc_secret"
    assert toy.exchanged == ["pk_abc_secret"]


async def test_a_key_is_exchanged_again_before_its_token_ends(toy: ToyPlatform, connect: Connect) -> None:
    toy.token_seconds = 30
    async with connect() as client:
        client.credentials = ExchangedKey("pk_abc_secret", client.exchange_key)
        await client.who_am_i()
        await client.who_am_i()
    assert len(toy.exchanged) == 2


async def test_a_login_is_renewed_ahead_of_its_end_and_only_once(toy: ToyPlatform, connect: Connect) -> None:
    toy.token_seconds = 30
    async with connect() as client:
        tokens = await client.login("ada", PASSWORD)
        assert "access" not in repr(tokens).replace("expires_at", "")
        client.credentials = Login(TokensInMemory(tokens), client.refresh)
        await asyncio.gather(*(client.who_am_i() for _ in range(8)))
    assert toy.refreshed == ["refresh-ada"]
    assert toy.metadata["authorization"] == "Bearer access-new1"


async def test_a_token_that_the_service_takes_for_ended_is_renewed_and_the_call_made_again(
    toy: ToyPlatform, connect: Connect
) -> None:
    """Whose clock is behind the service's notices nothing, neither in calls nor in streams."""
    async with connect() as client:
        client.credentials = Login(TokensInMemory(await client.login("ada", PASSWORD)), client.refresh)
        toy.ended = {"access-ada"}
        await client.who_am_i()
        assert toy.refreshed == ["refresh-ada"]
        toy.ended |= {"access-new1"}
        async with client.chat(question("Hi")) as events:
            assert [event.WhichOneof("event") async for event in events][-1] == "finished"
    assert toy.metadata["authorization"] == "Bearer access-new2"


async def test_an_exchanged_key_is_exchanged_again_when_its_token_has_ended(
    toy: ToyPlatform, connect: Connect
) -> None:
    """Once for a call: a service that says so of every token is believed."""
    async with connect() as client:
        client.credentials = ExchangedKey("pk_abc_secret", client.exchange_key)
        toy.ended = {"of-pk_abc_secret"}
        with pytest.raises(ParleyError, match="TOKEN_EXPIRED"):
            await client.who_am_i()
        assert toy.exchanged == ["pk_abc_secret"] * 2
        client.credentials = ApiKey("of-pk_abc_secret")
        with pytest.raises(ParleyError, match="TOKEN_EXPIRED"):
            await client.who_am_i()


async def test_a_revoked_login_is_renewed_for_the_next_call(toy: ToyPlatform, connect: Connect) -> None:
    revoked = failure(code_pb2.UNAUTHENTICATED, "TOKEN_REVOKED", "The token was ended.")
    async with connect() as client:
        client.credentials = Login(TokensInMemory(await client.login("ada", PASSWORD)), client.refresh)
        toy.failures["WhoAmI"] = revoked
        with pytest.raises(ParleyError, match="TOKEN_REVOKED"):
            await client.who_am_i()
        assert toy.refreshed == ["refresh-ada"]
        del toy.failures["WhoAmI"]
        await client.who_am_i()
    assert toy.metadata["authorization"] == "Bearer access-new1"


async def test_a_revoked_login_that_cannot_be_renewed_says_so(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        client.credentials = Login(TokensInMemory(await client.login("ada", PASSWORD)), client.refresh)
        toy.failures["WhoAmI"] = failure(code_pb2.UNAUTHENTICATED, "TOKEN_REVOKED", "Ended.")
        toy.failures["Refresh"] = failure(code_pb2.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID", "Over.")
        with pytest.raises(ParleyError, match="REFRESH_TOKEN_INVALID"):
            await client.who_am_i()


async def test_a_changed_password_brings_the_login_its_rights(toy: ToyPlatform, connect: Connect) -> None:
    toy.must_change_password = True
    async with connect() as client:
        tokens = await client.login("ada", PASSWORD)
        assert tokens.must_change_password
        client.credentials = Login(TokensInMemory(tokens), client.refresh)
        await client.change_password(PASSWORD, "a new one for ada")
    assert toy.refreshed == ["refresh-ada"]


async def test_a_changed_password_changes_nothing_for_a_key(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        client.credentials = ApiKey("pk_abc_secret")
        await client.change_password(PASSWORD, "a new one for ada")
    assert toy.refreshed == []


async def test_a_login_that_lasts_is_left_alone(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        client.credentials = Login(TokensInMemory(await client.login("ada", PASSWORD)), client.refresh)
        await client.who_am_i()
    assert toy.refreshed == []
    assert toy.metadata["authorization"] == "Bearer access-ada"


async def test_logging_in_sends_no_older_credentials(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        client.credentials = ApiKey("pk_old")
        with pytest.raises(ParleyError, match="CREDENTIALS_INVALID"):
            await client.login("ada", "wrong")
    assert "authorization" not in toy.metadata


async def test_no_tools_are_offered_where_none_are_wanted(toy: ToyPlatform, connect: Connect) -> None:
    request = question("Hi", all_tools=False)
    assert request == chat_pb2.ChatRequest(
        messages=request.messages, server_tools=chat_pb2.ServerTools(all=False)
    )


async def test_answers_to_waiting_calls_reach_the_run(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client:
        await client.decide_approval(RUN_ID, "c1", approve=True, note="Go on.")
        await client.decide_approval(RUN_ID, "c2", approve=False)
        await client.submit_tool_result(RUN_ID, answer_pb2.ClientToolResult(call_id="c3", content="blue"))
    yes, no, result = toy.requests
    assert (yes.run_id, yes.decision.call_id, yes.decision.note) == (RUN_ID, "c1", "Go on.")
    assert yes.decision.verdict == answer_pb2.APPROVAL_VERDICT_APPROVE
    assert no.decision.verdict == answer_pb2.APPROVAL_VERDICT_DENY
    assert (result.result.call_id, result.result.content) == ("c3", "blue")


async def test_a_conversation_says_and_hears_on_one_stream(toy: ToyPlatform, connect: Connect) -> None:
    setup = converse_pb2.ConverseSetup(model="toy", conversation_id="c-1")
    async with connect() as client, client.converse(setup) as conversation:
        await conversation.say("What is 17 * 23?")
        await conversation.decide_approval("c1", approve=True)
        await conversation.submit_tool_result(answer_pb2.ClientToolResult(call_id="c2", error="no"))
        await conversation.interrupt(RUN_ID)
        await conversation.finish()
        heard = [response async for response in conversation]
    assert [response.event.sequence for response in heard] == list(range(1, len(toy.events) + 1))
    assert {response.message_number for response in heard} == {2}
    kinds = [request.WhichOneof("message") for request in toy.requests]
    assert kinds == ["setup", "user_turn", "decision", "tool_result", "interrupt"]
    assert toy.requests[0].setup == setup
    assert toy.requests[4].interrupt.run_id == RUN_ID
    assert toy.metadata["parley-model"] == "toy"


async def test_a_conversation_that_fails_is_a_typed_error(toy: ToyPlatform, connect: Connect) -> None:
    toy.failures["Converse"] = failure(code_pb2.UNAUTHENTICATED, "TOKEN_EXPIRED", "It is over.")
    async with connect() as client, client.converse(converse_pb2.ConverseSetup()) as conversation:
        with pytest.raises(ParleyError) as caught:
            await anext(conversation)
        assert caught.value.reason == "TOKEN_EXPIRED"
        with pytest.raises(ParleyError):
            await conversation.say("Hello?")
