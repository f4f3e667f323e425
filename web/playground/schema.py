"""What a tool's JSON Schema says of its parameters, and how that is told to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Rule = Mapping[str, Any]
"""A parameter's own schema, references followed; `nullable` where null would do beside another type."""

MAX_REFERENCES = 16
"""Steps from one reference to the next that are followed."""


def properties(schema: str) -> tuple[dict[str, Rule] | None, frozenset[str]]:
    """The rules of the parameters by name, and which are required; no rules where it cannot be read."""
    try:
        parsed = json.loads(schema or "{}")
    except (ValueError, RecursionError):
        return None, frozenset()
    if not isinstance(parsed, dict) or not isinstance(parsed.get("properties", {}), dict):
        return None, frozenset()
    known = parsed.get("$defs")
    definitions = known if isinstance(known, dict) else {}
    rules = {str(name): _plain(rule, definitions) for name, rule in parsed.get("properties", {}).items()}
    required = parsed.get("required")
    return rules, frozenset(map(str, required)) if isinstance(required, list) else frozenset()


def _plain(rule: Any, definitions: Mapping[str, Any]) -> Rule:
    """A rule without references and without the ways to say that null would do, too."""
    plain = _followed(rule, definitions)
    kinds = plain.get("type")
    if isinstance(kinds, list) and len(kinds) == 2 and "null" in kinds:
        return {**plain, "type": next(kind for kind in kinds if kind != "null"), "nullable": True}
    choices = plain.get("anyOf") or plain.get("oneOf")
    if isinstance(choices, list):
        others = [followed for choice in choices if (followed := _followed(choice, definitions)) != _NULL]
        if len(others) == 1 and len(choices) == 2:
            rest = {name: value for name, value in plain.items() if name not in ("anyOf", "oneOf")}
            return {**others[0], **rest, "nullable": True}
    return plain


_NULL = {"type": "null"}


def _followed(rule: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A rule in place of its reference. What stands beside the reference wins."""
    followed: dict[str, Any] = dict(rule) if isinstance(rule, dict) else {}
    for _ in range(MAX_REFERENCES):
        reference = followed.pop("$ref", None)
        if reference is None:
            break
        target = definitions.get(str(reference).removeprefix("#/$defs/"))
        followed = {**(target if isinstance(target, dict) else {}), **followed}
    return followed


def in_words(rule: Rule) -> str:
    """A type in words: `integer`, `list of number`, `"a" or "b"`."""
    if isinstance(rule.get("enum"), list):
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in rule["enum"])
    choices = rule.get("anyOf") or rule.get("oneOf")
    if isinstance(choices, list):
        names = [in_words(choice) for choice in choices if isinstance(choice, dict)]
        return " or ".join(name for name in names if name != "null")
    kind = rule.get("type", "any")
    if kind == "array" and isinstance(rule.get("items"), dict):
        return f"list of {in_words(rule['items'])}"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def bounds(rule: Rule) -> str:
    """What a value must keep to, in words: `1 to 1,000 characters`, `at least 0`."""
    said = [
        _range(rule, "minimum", "maximum", ""),
        _beyond(rule),
        _range(rule, "minLength", "maxLength", " characters"),
        _range(rule, "minItems", "maxItems", " items"),
        f"matches {rule['pattern']}" if isinstance(rule.get("pattern"), str) else "",
    ]
    return ", ".join(filter(None, said))


def _range(rule: Rule, least: str, most: str, unit: str) -> str:
    low, high = _figure(rule.get(least)), _figure(rule.get(most))
    if low and high:
        return f"{low} to {high}{unit}"
    if low:
        return f"at least {low}{unit}"
    return f"at most {high}{unit}" if high else ""


def _beyond(rule: Rule) -> str:
    above, below = _figure(rule.get("exclusiveMinimum")), _figure(rule.get("exclusiveMaximum"))
    return " and ".join(filter(None, (above and f"above {above}", below and f"below {below}")))


def _figure(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
