"""The queries of rules and dashboards, taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from deploy.observability import dashboards

RULES = yaml.safe_load(Path(dashboards.__file__).with_name("rules.yaml").read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def recorded() -> dict[str, set[str]]:
    """The series that rules record, with the labels that they keep."""
    return {
        rule["record"]: {str(label) for label in labels_kept(promql.parse(rule["expr"]))} - {"le"}
        for rule in rules()
        if "record" in rule
    }


def labels_kept(expression: Any) -> set[str]:
    """The labels that the sums within keep."""
    sums = inside(expression, promql.AggregateExpr)
    return {label for each in sums if each.modifier for label in each.modifier.labels}


def inside(expression: Any, kind: type) -> Iterator[Any]:
    """All parts of an expression of this kind."""
    if isinstance(expression, kind):
        yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        part = getattr(expression, name, None)
        for each in part if isinstance(part, list) else [part]:
            if each is not None:
                yield from inside(each, kind)


def queries() -> dict[str, str]:
    """Every query, by where it stands."""
    asked = {str(rule.get("alert") or rule["record"]): str(rule["expr"]) for rule in rules()}
    for dashboard in dashboards.DASHBOARDS:
        for panel in (panel for row in dashboard.rows for panel in row):
            for number, query in enumerate(panel.queries):
                asked[f"{dashboard.name}/{panel.title}/{number}"] = query.expression
    return {where: query.replace("$__rate_interval", "5m") for where, query in asked.items()}


def selectors(query: str) -> list[Any]:
    return list(inside(promql.parse(query), promql.VectorSelector))
