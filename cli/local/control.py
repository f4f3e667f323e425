"""What `parley up` is told over its socket, and what it answers: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MOST_BYTES = 64 * 2**10
"""A line of either side is no longer."""

DRAIN_SECONDS = 300.0
"""What the streams of a replica that leaves have, unless told otherwise."""

Name = Annotated[str, Field(max_length=256)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListReplicas(_Message):
    """Say which replicas there are."""

    ask: Literal["list"] = "list"


class AddReplicas(_Message):
    """Start more replicas of a model; an empty name means the default."""

    ask: Literal["add"] = "add"
    model: Name = ""
    count: int = Field(1, ge=1, le=64)


class RemoveReplica(_Message):
    """End a replica, once its streams have ended or this time is over."""

    ask: Literal["remove"] = "remove"
    replica: Name
    seconds: Seconds = DRAIN_SECONDS


class ReloadModel(_Message):
    """Put fresh replicas in the place of a model's, from its folder or another source."""

    ask: Literal["reload"] = "reload"
    model: Name = ""
    source: str = Field("", max_length=4096)
    seconds: Seconds = DRAIN_SECONDS


Request = ListReplicas | AddReplicas | RemoveReplica | ReloadModel
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="ask")])


class ReplicaState(_Message):
    """A replica, as the supervisor sees it."""

    name: str
    model: str
    source: str
    address: str
    phase: str
    cores: tuple[int, ...] = ()


class Failure(_Message):
    """Why something was not done, as `cli.failures.CommandError` tells it."""

    message: str
    remedy: str = ""
    exit_code: int


class Reply(_Message):
    """A line of the answer.

    Attributes:
        step: Something that was done; empty in a line that only says that it goes on.
        replicas: In the last line: those that there are now.
        failure: In the last line: why it was not done.
    """

    step: str = ""
    replicas: tuple[ReplicaState, ...] | None = None
    failure: Failure | None = None
