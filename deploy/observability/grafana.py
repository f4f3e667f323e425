"""Grafana's dashboards, as far as ours need it: rows of time series over one Prometheus.

Grafana's own SDK for Python versions itself by Grafana's releases and brings all of its panels; this is
one kind of panel, whose JSON (schema 39) is a page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WIDTH = 24
HEIGHT = 8
SCHEMA = 39
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Query:
    """A line, or many, of a panel.

    Attributes:
        expression: In PromQL.
        legend: Names each line, with labels in braces.
    """

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """Lines over time.

    Attributes:
        title: What is seen.
        unit: In Grafana's words: `s`, `short`, `reqps`, `percentunit`, `bytes`.
        queries: Where the lines come from.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Dashboard:
    """Panels that are looked at together.

    Attributes:
        name: Names the file and the dashboard's address.
        title: For people.
        rows: Panels beside each other, row by row.
    """

    name: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]

    def to_json(self) -> str:
        """The file that Grafana imports or is provisioned with."""
        dashboard = {
            "uid": f"parley-{self.name}",
            "title": self.title,
            "tags": ["parley"],
            "schemaVersion": SCHEMA,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [_source()]},
            "panels": list(self._panels()),
        }
        return json.dumps(dashboard, indent=1) + "\n"

    def _panels(self) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for row, panels in enumerate(self.rows):
            width = WIDTH // len(panels)
            for column, panel in enumerate(panels):
                place = {"h": HEIGHT, "w": width, "x": column * width, "y": row * HEIGHT}
                made.append(_panel(len(made) + 1, panel, place))
        return made


def _source() -> dict[str, Any]:
    """Lets the viewer choose the Prometheus."""
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for at, query in enumerate(panel.queries)
        ],
    }
