"""Forms of answers, in the process that compiles them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.inference.errors import StructuredOutputInvalid, StructuredOutputTooComplex
from services.inference.forms.forms import FIELD, MOST_WAITING, Forms, check_schema
from services.rpc.errors import Overloaded

pytestmark = [
    pytest.mark.slow,  # the process imports torch
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
]

# A repetition around nested groups multiplies them; the compiler would never come to an end.
ENDLESS = json.dumps({"type": "string", "pattern": "(" * 100 + "a" + ")" * 100 + "{1,9999}"})
# It compiles at once; each token then can be read in more ways than the one before.
SLOW = "(a*b?)" * 300


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forms() -> AsyncIterator[Forms]:
    made = Forms(lambda: "", seconds=5)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json_schema", '{"type": "object", "properties": {"a": {"type": "integer"}}}'),
        (
            "json_schema",
            '{"$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}',
        ),
        ("regex", "(a{1000}){1000}"),
        ("grammar", 'root ::= "yes" | "no"'),
        ("choices", ""),
        ("json_object", ""),
    ],
)
async def test_what_compiles_is_taken(forms: Forms, kind: str, text: str) -> None:
    await forms.check(kind, text, FIELD)
    await forms.check(kind, text, FIELD)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("json_schema", '{"type": "nonsense"}', "nonsense"),
        ("regex", "(a", "parenthesis"),
        ("regex", "(?=a)b", "Lookahead"),
        ("regex", "(" * 2000 + "a" + ")" * 2000, "Nest"),
        ("grammar", "root ::= nowhere", "nowhere"),
        ("grammar", 'start ::= "a"', "root"),
    ],
)
async def test_what_does_not_compile_is_refused_with_its_fault(
    forms: Forms, kind: str, text: str, told: str
) -> None:
    with pytest.raises(StructuredOutputInvalid) as refused:
        await forms.check(kind, text, FIELD)
    assert refused.value.metadata == {"field": f"structured_output.{kind}"}
    assert told in str(refused.value)


async def test_what_holds_the_engine_up_at_each_token_is_refused(forms: Forms) -> None:
    with pytest.raises(StructuredOutputTooComplex) as refused:
        await forms.check("regex", SLOW, FIELD)
    assert "each token" in str(refused.value)


async def test_what_never_ends_is_ended(forms: Forms) -> None:
    with pytest.raises(StructuredOutputTooComplex) as refused:
        await forms.check("json_schema", ENDLESS, FIELD)
    assert refused.value.metadata == {"field": "structured_output.json_schema", "limit_seconds": "5"}


async def test_more_than_may_wait_are_refused() -> None:
    forms = Forms(lambda: "")
    waiting = [
        asyncio.create_task(forms.check("regex", f"a{number}", FIELD)) for number in range(MOST_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await forms.check("regex", "b", FIELD)
    await forms.close()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "true", "[" * 5000, '{"a":' * 33 + "1" + "}" * 33])
async def test_what_is_no_schema_is_refused_at_once(text: str) -> None:
    with pytest.raises(StructuredOutputInvalid):
        check_schema(text)
