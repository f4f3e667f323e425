"""The OpenAPI document says what the contracts say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from deploy.envoy.contract import load_contract
from docs.openapi import document

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[dict[str, Any]]:
    for path in DOCUMENT["paths"].values():
        yield from path.values()


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_binding_of_every_method_is_an_operation_of_its_own() -> None:
    bound = {
        (re.sub(r"=[^}]*", "", binding.template), binding.verb.lower())
        for method in load_contract().methods
        for binding in method.bindings
    }
    shown = {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs}
    assert shown == bound
    names = [operation["operationId"] for operation in operations()]
    assert len(names) == len(set(names))


def test_every_reference_leads_to_a_schema() -> None:
    found = set(references(DOCUMENT))
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= SCHEMAS.keys()


def test_a_path_names_its_parameters() -> None:
    for path, verbs in DOCUMENT["paths"].items():
        for operation in verbs.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def test_bounds_come_along_and_long_numbers_are_texts() -> None:
    sampling = SCHEMAS["parley.inference.v1.SamplingOptions"]["properties"]
    assert sampling["temperature"] == {"type": "number", "format": "float", "minimum": 0.0, "maximum": 2.0}
    assert sampling["seed"]["type"] == "string"
    assert sampling["stop"]["maxItems"] == 16
    assert sampling["stop"]["items"] == {"type": "string", "minLength": 1, "maxLength": 256}


def test_openais_paths_have_openais_errors() -> None:
    chat = DOCUMENT["paths"]["/v1/chat/completions"]["post"]
    [reference] = references(chat["responses"]["default"])
    assert reference.endswith("/OpenAIError")
    assert chat["x-parley-permission"] == "inference.chat"
