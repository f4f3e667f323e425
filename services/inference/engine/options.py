"""What a request asks of a turn beside its messages and its sampling."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class Effort(StrEnum):
    """How much to reason; the names are those of the contract, without their prefix."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class CallMode(Enum):
    """Whether tools are called; the names are those of the contract, without their prefix."""

    AUTO = auto()
    NONE = auto()
    REQUIRED = auto()


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model must call tools.

    Attributes:
        mode: Whether any is called.
        name: The one that must be called, with `CallMode.REQUIRED`; empty for any.
    """

    mode: CallMode = CallMode.AUTO
    name: str = ""

    @property
    def after_a_turn(self) -> ToolChoice:
        """What holds once the model has had its say: a call is forced once, or the run would never end."""
        return ToolChoice() if self.mode is CallMode.REQUIRED else self


class FormKind(Enum):
    """How the form of an answer is told; the names are those of the contract's fields."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    GRAMMAR = "grammar"
    CHOICES = "choices"
    JSON_OBJECT = "json_object"


@dataclass(frozen=True, slots=True)
class OutputForm:
    """The form that an answer is held to.

    Attributes:
        kind: How it is told.
        text: The schema, the expression or the grammar.
        choices: The texts, with `FormKind.CHOICES`.
    """

    kind: FormKind
    text: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A text to go on with as it is; see `parley.inference.v1.CompleteRequest`.

    Attributes:
        text: The text; empty where there are tokens.
        tokens: Its tokens; empty where there is text.
        echo: Whether the answer begins with it.
        echo_only: Whether that is all of the answer.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    echo: bool = False
    echo_only: bool = False
