"""The port to an engine: what the rest of inference knows of a running model.

An engine renders a turn (`turn.py`) into a prompt and generates it as steps
(`step.py`), all of them the domain's own; whoever stops reading frees its slot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.inference.adapters.port import Adapter, AdapterHost
from services.inference.engine.model_card import ModelCard
from services.inference.engine.status import EngineStatus
from services.inference.engine.turn import Turn
from services.inference.reading.step import Step


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered turn.

    Attributes:
        tokens: How many tokens it has.
        native: What the engine that rendered it needs to generate.
        identity: Digest of all of it that the model is given; empty where the
            engine cannot tell, and then its answer is not shared.
        token_ids: Its tokens.
        choices: How many answers to it are generated at once.
        adapter: What answers it instead of the model alone.
    """

    tokens: int
    native: object = field(default=None, repr=False)
    identity: bytes = field(default=b"", repr=False)
    token_ids: Sequence[int] = field(default=(), repr=False)
    choices: int = 1
    adapter: Adapter | None = None


def no_ceiling() -> None:
    """The ceiling of a turn that may have all that it asked for."""


class Engine(Protocol):
    """A running model."""

    @property
    def card(self) -> ModelCard:
        """What the model can do."""
        ...

    @property
    def running(self) -> int:
        """Requests that wait for or hold a slot."""
        ...

    @property
    def slots(self) -> int:
        """How many requests it generates at once; more wait within it."""
        ...

    @property
    def status(self) -> EngineStatus:
        """How it is doing, as of its last step."""
        ...

    @property
    def adapter_host(self) -> AdapterHost | None:
        """What loads adapters of the model; None where it takes none."""
        ...

    async def render(self, turn: Turn) -> Prompt:
        """Render a turn with the model's chat template, or tokenize its raw prompt.

        Raises:
            MessagesInvalid: The template refuses the messages.
            ContextOverflow: The text cannot fit, whatever its tokens.
            ModelLacks: The model cannot do what the turn asks for; `ImageReader.pixels` says what of images.
            StructuredOutputInvalid: The form does not compile.
            StructuredOutputTooComplex: It takes too much to compile.
            EngineFailed: The engine is dead.
        """
        ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """Answer a prompt that `render` made. Closing the generator frees the slot at once.

        Steps of several choices come in any order.

        Args:
            prompt: The prompt.
            max_output_tokens: For each choice: at least 1, and no more than the context has left.
            request_id: Names the request in the engine; each is used once.
            ceiling: Tells how many tokens the turn may have by now. No step goes
                beyond it: what the engine has beyond comes with the next one,
                for which who reads asks only when it was raised.
            said: Tokens of the answer that were said before, fewer than `max_output_tokens`:
                the first step has their text, and the answer goes on after them.

        Raises:
            EngineFailed: The engine stopped or gave the request up.
            OutputUnparseable: What the model said breaks its own format.
        """
        ...

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The tokens of a text; `special` adds those that the model wants at its beginning.

        Raises:
            ContextOverflow: The text cannot fit the context, whatever its tokens.
        """
        ...

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of tokens, all of which the vocabulary has."""
        ...

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """The text of each token, in UTF-8."""
        ...

    async def failed(self) -> None:
        """Return when the engine has died, and not before."""
        ...

    async def close(self) -> None:
        """End the engine and its processes."""
        ...
