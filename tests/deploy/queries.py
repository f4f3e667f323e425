"""The queries of rules, dashboards and analyses of releases, taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from deploy.observability import dashboards
from tests.deploy.manifests import FOLDER, Tree

GUIDE = (Path(__file__).parents[2] / "docs/guide/observability.md").read_text()
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


def analyses() -> list[Tree]:
    """The templates by which releases are judged."""
    text = (FOLDER / "overlays" / "progressive" / "analysis.yaml").read_text()
    return list(yaml.load_all(text, yaml.CSafeLoader))


def judged(template: Tree) -> dict[str, str]:
    """The queries of such a template, by what they measure, with its arguments filled in."""
    given = {argument["name"]: argument.get("value", "x") for argument in template["spec"]["args"]}

    def filled(query: str) -> str:
        return re.sub(r"\{\{args\.([\w-]+)\}\}", lambda found: given[found[1]], query)

    metrics = template["spec"]["metrics"]
    return {metric["name"]: filled(metric["provider"]["prometheus"]["query"]) for metric in metrics}


def queries() -> dict[str, str]:
    """Every query, by where it stands."""
    asked = {str(rule.get("alert") or rule["record"]): str(rule["expr"]) for rule in rules()} | shown("5m")
    for template in analyses():
        name = template["metadata"]["name"]
        asked |= {f"{name}/{measured}": query for measured, query in judged(template).items()}
    return asked


def shown(interval: str) -> dict[str, str]:
    """Every query of a panel, by where it stands, with what Grafana puts in for its interval."""
    return {
        f"{dashboard.name}/{panel.title}/{number}": query.expression.replace("$__rate_interval", interval)
        for dashboard in dashboards.DASHBOARDS
        for row in dashboard.rows
        for panel in row
        for number, query in enumerate(panel.queries)
    }


def selectors(query: str) -> list[Any]:
    return list(inside(promql.parse(query), promql.VectorSelector))
