import json
from collections.abc import Callable

import grpc
import pytest

from parley_client.client import Client, question
from parley_client.errors import ParleyError
from parley_client.retries import service_config
from tests.client.toy_platform import KEY_ID, ToyPlatform

Connect = Callable[[], Client]


def repeated() -> set[str]:
    (policy,) = json.loads(service_config())["methodConfig"]
    return {f"{name['service'].rpartition('.')[2]}/{name['method']}" for name in policy["name"]}


def test_only_what_the_contract_lets_be_repeated_is() -> None:
    assert {"InferenceService/ListModels", "KeyService/RevokeKey", "SessionService/WhoAmI"} <= repeated()
    never = {
        "InferenceService/Chat",
        "KeyService/CreateKey",
        "SessionService/Refresh",
        "SessionService/Login",
    }
    assert not never & repeated()


async def test_a_short_lapse_is_not_noticed(toy: ToyPlatform, connect: Connect) -> None:
    toy.lapses = 2
    async with connect() as client:
        assert (await client.revoke_key(KEY_ID)).key_id == KEY_ID
    assert len(toy.requests) == 3


async def test_a_long_lapse_ends_with_its_error(toy: ToyPlatform, connect: Connect) -> None:
    toy.lapses = 100
    async with connect() as client:
        with pytest.raises(ParleyError) as caught:
            await client.list_models()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert 2 <= len(toy.requests) <= 5


async def test_what_could_happen_twice_is_sent_once(toy: ToyPlatform, connect: Connect) -> None:
    toy.lapses = 1
    async with connect() as client:
        with pytest.raises(ParleyError):
            await client.create_key("ci")
        assert len(toy.requests) == 1
        toy.lapses = 1
        with pytest.raises(ParleyError):
            async with client.chat(question("Hi")) as events:
                await anext(events)
    assert len(toy.requests) == 2
