"""Makes the OpenAPI document of the JSON surfaces from the contracts' descriptors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from deploy.envoy.contract import HttpBinding, load_contract
from docs.openapi_schemas import Schemas
from services.auth.descriptors import CONTRACTS
from services.rpc.policies import Access, access_table

FILE = "openapi.json"
VERSION = "3.1.0"
HTTP_BODY = "google.api.HttpBody"
STATUS = "google.rpc.Status"
OPENAI_PREFIX = "/v1/"
OPENAI_ERROR = "OpenAIError"

_NO_BODY = frozenset({"GET", "DELETE"})
_OPENAI_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

Json = dict[str, Any]


def openapi_text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def document() -> Json:
    """The document: every method that the edge serves as JSON."""
    schemas = Schemas()
    paths: dict[str, Json] = {}
    for method, access, bindings in _methods():
        for number, binding in enumerate(bindings):
            path = re.sub(r"\{(\w+)=[^}]*\}", r"{\1}", binding.template)
            operation = _operation(method, access, binding, schemas)
            operation["operationId"] += f"_{number + 1}" if number else ""
            paths.setdefault(path, {})[binding.verb.lower()] = operation
    return {
        "openapi": VERSION,
        "info": {"title": "Parley", "version": "v1", "description": "The edge's JSON surfaces."},
        "paths": paths,
        "security": [{"token": []}, {"key": []}],
        "components": {
            "schemas": {**schemas.components(), OPENAI_ERROR: _OPENAI_ERROR},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token or an API key.",
                },
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _methods() -> Iterator[tuple[MethodDescriptor, Access, tuple[HttpBinding, ...]]]:
    """Each method with its access rule and its bindings, by name."""
    served = {f"{method.service}.{method.name}": method for method in load_contract().methods}
    for module in CONTRACTS:
        for service in module.DESCRIPTOR.services_by_name.values():
            table = access_table([service.full_name])
            for method in service.methods:
                at_edge = served.get(method.full_name)
                if at_edge is not None and at_edge.bindings:
                    yield method, table[f"/{service.full_name}/{method.name}"], at_edge.bindings


def _operation(method: MethodDescriptor, access: Access, binding: HttpBinding, schemas: Schemas) -> Json:
    in_path = re.findall(r"\{(\w+)(?:=[^}]*)?\}", binding.template)
    service = method.containing_service
    operation: Json = {
        "operationId": f"{service.name}_{method.name}",
        "tags": [service.full_name],
        "parameters": list(_parameters(method.input_type, binding, in_path, schemas)),
        "responses": {"200": _answer(method, schemas), "default": _error(binding, schemas)},
        "x-parley-permission": access.permission,
    }
    if binding.verb not in _NO_BODY:
        schema = _schema(method.input_type, schemas)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if not access.needs_token:
        operation["security"] = []
    return operation


def _parameters(
    message: Descriptor, binding: HttpBinding, in_path: list[str], schemas: Schemas
) -> Iterator[Json]:
    for name in in_path:
        field = message.fields_by_name[name]
        yield {"name": name, "in": "path", "required": True, "schema": schemas.field(field)}
    if binding.verb in _NO_BODY:
        for field in message.fields:
            if field.name not in in_path and field.type != FieldDescriptor.TYPE_MESSAGE:
                yield {"name": field.json_name, "in": "query", "schema": schemas.field(field)}


def _answer(method: MethodDescriptor, schemas: Schemas) -> Json:
    schema = _schema(method.output_type, schemas)
    kinds = ["application/json", *(["text/event-stream"] if method.server_streaming else [])]
    text = "A stream of these, a line each or as events." if method.server_streaming else "The answer."
    if method.output_type.full_name == HTTP_BODY:
        text = "As the guide says."
    return {"description": text, "content": {kind: {"schema": schema} for kind in kinds}}


def _error(binding: HttpBinding, schemas: Schemas) -> Json:
    is_openai = binding.template.startswith(OPENAI_PREFIX)
    schema = {"$ref": f"#/components/schemas/{OPENAI_ERROR}"} if is_openai else schemas.of(STATUS)
    return {"description": "A refusal.", "content": {"application/json": {"schema": schema}}}


def _schema(message: Descriptor, schemas: Schemas) -> Json:
    """A message's schema; bodies of protocols of their own are free."""
    return {"type": "object"} if message.full_name == HTTP_BODY else schemas.of(message.full_name)
