"""vLLM's own models of OpenAI's requests: the only module here that imports vLLM.

Importing it takes seconds where the engine is not loaded yet; `RequestModels` does it on a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from services.inference.errors import ParameterInvalid
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.exceptions import VLLMValidationError

T = TypeVar("T", bound=BaseModel)

_SHAPES = frozenset({"bool", "bytes", "dict", "float", "int", "list", "str"})


def chat_completion(body: dict[str, Any]) -> ChatCompletionRequest:
    """A chat as vLLM reads it.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
    """
    return _read(ChatCompletionRequest, body)


def completion(body: dict[str, Any]) -> CompletionRequest:
    """A completion as vLLM reads it.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
    """
    return _read(CompletionRequest, body)


def response(body: dict[str, Any]) -> ResponsesRequest:
    """A response as vLLM reads what is asked for.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
    """
    return _read(ResponsesRequest, body)


def _read(model: type[T], body: dict[str, Any]) -> T:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None
    except VLLMValidationError as error:
        raise ParameterInvalid(error.parameter or "request", str(error.args[0])) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        # Its validators look into parts of the body before these are checked.
        raise ParameterInvalid("request", "a field has a value of the wrong type") from None


def _invalid(error: ValidationError) -> ParameterInvalid:
    """The first fault; of a value that may have one of several shapes pydantic lists one for each."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ParameterInvalid(_path(first["loc"]), first["msg"])


def _path(location: Iterable[int | str]) -> str:
    """Where the fault is, without pydantic's names for the shapes that it tried."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and step.islower() and step not in _SHAPES:
            path += f".{step}" if path else step
        else:
            break
    return path or "request"
