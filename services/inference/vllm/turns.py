"""A turn as vLLM's own request model, which its renderer, its parsers and its sampler read."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from services.inference.engine.options import CallMode, Effort, FormKind, OutputForm, ToolChoice
from services.inference.engine.turn import Message, Sampling, ToolSpec, Turn
from services.inference.images.image import parts
from services.inference.images.marks import Write
from services.inference.images.reader import Pixels
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports
from services.rpc.errors import FieldViolation, InvalidRequest

# isort: split
from vllm.config import ModelConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers import TokenizeParams
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

MOST_SEED = 2**63 - 1
GREEDY_BELOW = 1e-5
"""From which temperature on vLLM samples."""


class RenderRequest(ChatCompletionRequest):
    """vLLM's request, counted by us: its own length check hides how long the prompt is."""

    def build_tok_params(self, model_config: ModelConfig) -> TokenizeParams:
        """Tokenize all of the text; `VllmEngine.render` bounds it first."""
        del model_config
        return TokenizeParams(max_total_tokens=None, add_special_tokens=self.add_special_tokens)


def chat_request(turn: Turn, pixels: Pixels, write: Write) -> RenderRequest:
    """A turn as vLLM's renderer and parser read it; of a raw prompt, what its sampler reads.

    Args:
        turn: The turn.
        pixels: The pictures of its messages.
        write: Writes what strangers said.

    Raises:
        ValueError: A field is not as vLLM's own model wants it.
    """
    options = _sampling(turn.sampling)
    if turn.tools:
        options["tools"] = [{"type": "function", "function": _tool(tool, write)} for tool in turn.tools]
        options["tool_choice"] = _tool_choice(turn.tool_choice)
        options["parallel_tool_calls"] = turn.parallel_calls
    if turn.form is not None and turn.tool_choice.mode is not CallMode.REQUIRED:
        options["structured_outputs"] = _constraint(turn.form)
    options |= _reasoning(turn.reasoning, turn.effort)
    messages = [_message(each, write) for each in turn.messages]
    request = RenderRequest(messages=messages, stream=True, **options)
    if pixels:
        # Its validator knows no pictures that are in memory; the renderer does.
        request.messages = [
            _seen(message, each, pixels, write)
            for message, each in zip(request.messages, turn.messages, strict=True)
        ]
    if turn.raw is not None and turn.raw.echo:
        # Its validator takes them for answers in one piece only; the engine gives them to both.
        request.prompt_logprobs = turn.sampling.top_logprobs
    return request


def refuse_same_choices(request: RenderRequest, defaults: dict[str, Any]) -> None:
    """Refuse several choices of a model that is greedy by itself; those asked to be the contract refuses.

    Raises:
        InvalidRequest: They would all be the same.
    """
    temperature = request.temperature if request.temperature is not None else defaults.get("temperature", 1.0)
    if (request.n or 1) > 1 and temperature < GREEDY_BELOW:
        rule = "must be 1 where this model's own temperature, 0, stands: give a temperature above 0 for more"
        field = "sampling.choice_count"
        raise InvalidRequest(f"{field}: {rule}.", violations=[FieldViolation(field, rule)])


def characters(turn: Turn) -> int:
    """How long its text is."""
    if turn.raw is not None:
        return len(turn.raw.text)
    return sum(len(message.content) + len(message.reasoning) for message in turn.messages)


def sampling_params(
    request: RenderRequest, max_output_tokens: int, defaults: dict[str, Any]
) -> SamplingParams:
    """What the sampler is told.

    Args:
        request: The request, as rendering left it.
        max_output_tokens: Tokens that each choice may have.
        defaults: The model's generation defaults.
    """
    request.min_tokens = min(request.min_tokens, max_output_tokens)
    return request.to_sampling_params(max_output_tokens, defaults)


def _sampling(given: Sampling) -> dict[str, Any]:
    optional = {
        "temperature": given.temperature,
        "top_p": given.top_p,
        "top_k": given.top_k,
        "min_p": given.min_p,
        "presence_penalty": given.presence_penalty,
        "frequency_penalty": given.frequency_penalty,
        "repetition_penalty": given.repetition_penalty,
    }
    options: dict[str, Any] = {name: value for name, value in optional.items() if value is not None}
    options["stop"] = list(given.stop)
    options["stop_token_ids"] = list(given.stop_token_ids)
    options["min_tokens"] = given.min_output_tokens
    options["ignore_eos"] = given.ignore_eos
    options["n"] = given.choice_count
    if given.seed is not None:
        # vLLM adds each choice's number.
        options["seed"] = min(given.seed, MOST_SEED - given.choice_count + 1)
    if given.logit_bias:
        options["logit_bias"] = {str(token): bias for token, bias in given.logit_bias.items()}
    if given.top_logprobs is not None:
        options |= {"logprobs": True, "top_logprobs": given.top_logprobs}
    return options


def _tool_choice(given: ToolChoice) -> Any:
    if given.name:
        return {"type": "function", "function": {"name": given.name}}
    return given.mode.name.lower()


def _constraint(form: OutputForm) -> StructuredOutputsParams:
    match form.kind:
        case FormKind.JSON_SCHEMA:
            return StructuredOutputsParams(json=form.text)
        case FormKind.REGEX:
            return StructuredOutputsParams(regex=form.text)
        case FormKind.GRAMMAR:
            return StructuredOutputsParams(grammar=form.text)
        case FormKind.CHOICES:
            return StructuredOutputsParams(choice=list(form.choices))
        case FormKind.JSON_OBJECT:
            return StructuredOutputsParams(json_object=True)


def _reasoning(enabled: bool | None, effort: Effort | None) -> dict[str, Any]:
    """Families spell it differently; a template takes what it knows."""
    options: dict[str, Any] = {}
    if enabled is not None:
        options["chat_template_kwargs"] = {"enable_thinking": enabled, "thinking": enabled}
    if effort is not None:
        options["reasoning_effort"] = effort.value
    return options


def _seen(rendered: Any, message: Message, pixels: Pixels, write: Write) -> Any:
    """A message of vLLM's with its images: each in its place, and named by its content."""
    if not message.images:
        return rendered
    content: list[dict[str, Any]] = []
    for part in parts(message.content, message.images):
        if isinstance(part, str):
            content.append({"type": "text", "text": write(part)})
        else:
            content.append({"image_pil": pixels[part.digest], "uuid": part.digest.hex()})
    return {**rendered, "content": content}


def _tool(tool: ToolSpec, write: Write) -> Any:
    return json.loads(write(json.dumps(asdict(tool), ensure_ascii=False)))


def _message(message: Message, write: Write) -> dict[str, Any]:
    rendered: dict[str, Any] = {"role": message.role.value, "content": write(message.content)}
    if message.reasoning:
        rendered["reasoning"] = write(message.reasoning)
    if message.tool_call_id:
        rendered["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        rendered["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": write(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return rendered
