"""What the paths of OpenAI's API need of the edge: the model from the body, and errors in their shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from deploy.envoy.tree import Tree, extension, typed
from services.inference.openai_compat import failures

PREFIX = "/v1/"

HTTP_FILTERS = "envoy.extensions.filters.http"
BODY_MODEL = "envoy.filters.http.json_to_metadata"
SCRIPT = Path(__file__).with_name("openai.lua")

_KEY = "model"


def body_model() -> Tree:
    """Reads the model's name in a JSON body, on the routes that ask for it."""
    found = {"metadata_namespace": BODY_MODEL, "key": _KEY, "type": "STRING"}
    rule = {"selectors": [{"key": _KEY}], "on_present": found}
    reader = extension(
        BODY_MODEL, f"{HTTP_FILTERS}.json_to_metadata.v3.JsonToMetadata", request_rules={"rules": [rule]}
    )
    return {**reader, "disabled": True}


def reads_model() -> Tree:
    """Has a route do so."""
    return {BODY_MODEL: typed("envoy.config.route.v3.FilterConfig", config={})}


def named(model: str) -> Tree:
    """Matches the name of a model, and of its adapters: `MODEL:ADAPTER`."""
    return {"safe_regex": {"regex": f"{re.escape(model)}(:[^:]+)?"}}


def names_model(model: str) -> Tree:
    """Matches requests whose body names this model or an adapter of it.

    The name stays in the request's metadata: as a header, one with a line break
    would end the connection that it shares with others' calls.
    """
    return {"filter": BODY_MODEL, "path": [{"key": _KEY}], "value": {"string_match": named(model)}}


def openai_errors() -> Tree:
    """Gives a route's errors OpenAI's shape."""
    code = {"inline_string": _script()}
    return typed(f"{HTTP_FILTERS}.lua.v3.LuaPerRoute", source_code=code)


def _script() -> str:
    """The script, with the service's own tables."""
    parts = {
        "TYPES": _table({f"[{code}]": name for code, name in failures.TYPES.items()}),
        "OTHER_TYPE": failures.OTHER_TYPE,
        "CODES": _table(failures.CODES),
        "PARAMETERS": _table(failures.PARAMETERS),
        "PARAMETER_KEY": failures.PARAMETER_KEY,
    }
    script = SCRIPT.read_text()
    for name, text in parts.items():
        script = script.replace(f"@{name}@", text)
    return script


def _table(words: Mapping[str, str]) -> str:
    """The members of a Lua table; the words are names of ours and of OpenAI's, with nothing to escape."""
    return ", ".join(f'{key} = "{value}"' for key, value in sorted(words.items()))
