"""Is it a valid address, number, date …? Eleven kinds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.tools.builtin.checks import CHECKS, Verdict
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool

MAX_VALUE_CHARACTERS = 256 * 2**10

Kind = Literal["email", "url", "ip", "phone", "card", "json", "xml", "date", "number", "uuid", "password"]


class ValidateArguments(Arguments):
    """What `validate` takes."""

    kind: Kind = Field(description="What the value should be.", examples=["email"])
    value: str = Field(
        max_length=MAX_VALUE_CHARACTERS, description="The value.", examples=["ada@example.org"]
    )
    region: str | None = Field(
        None,
        pattern=r"^[A-Z]{2}$",
        description="For phone: the country (ISO 3166) of a number without +.",
        examples=["DE"],
    )


class ValidateResult(ToolResult):
    """What `validate` gives. Cards and passwords are not repeated."""

    kind: Kind
    valid: bool
    reason: str | None = Field(None, description="Why it is not valid.")
    normalized: str | None = Field(None, description="The value in its usual spelling.")
    details: str | None = Field(None, description="More about it, such as the brand of a card.")
    score: int | None = Field(None, description="Strength of a password, 0 (guessed at once) to 4.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.SAFE,
    timeout_seconds=10,
    max_output_bytes=2**20,
    examples=(
        Example(
            "An e-mail address",
            {"kind": "email", "value": "Ada@Example.ORG"},
            {"kind": "email", "valid": True, "normalized": "Ada@example.org"},
        ),
        Example(
            "A telephone number of Germany",
            {"kind": "phone", "value": "030 123456", "region": "DE"},
            {"kind": "phone", "valid": True, "normalized": "+4930123456", "details": "DE"},
        ),
        Example(
            "A mistyped card number",
            {"kind": "card", "value": "4111 1111 1111 1112"},
            {"kind": "card", "valid": False, "reason": "the check digit is wrong"},
        ),
    ),
)
def validate(arguments: ValidateArguments, _call: WorkerCall) -> ValidateResult:
    """Checks whether a value is a valid e-mail address, URL, IP address, phone or card number and so on."""
    verdict: Verdict = CHECKS[arguments.kind](arguments.value, arguments.region or "")
    return ValidateResult(
        kind=arguments.kind,
        valid=not verdict.reason,
        reason=verdict.reason or None,
        normalized=verdict.normalized or None,
        details=verdict.details or None,
        score=verdict.score,
    )


TOOLS = (validate,)
