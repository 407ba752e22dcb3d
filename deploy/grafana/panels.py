"""Panels as Grafana's dashboard JSON has them, with the few options that ours need."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from processor.metric_table import METRICS

JSON = dict[str, Any]

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
"""Columns of Grafana's grid."""
_NAME: Final = re.compile(r"\bstatus_processor_[a-z_]+")
_SUFFIX: Final = re.compile(r"_(bucket|sum|count)$")
_BY_NAME: Final = {metric.served: metric for metric in METRICS}

Steps = tuple[tuple[float | None, str], ...]
"""From which value on a panel has which colour; None is the first."""
CALM: Final[Steps] = ((None, "green"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: what it asks for, and how it is drawn."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """Expressions, each with the legend of its series."""
    kind: str = "timeseries"
    unit: str = "short"
    steps: Steps = CALM
    width: int = 8
    height: int = 8
    stacked: bool = False
    most: float | None = None
    """The scale's end, where it has one by nature."""
    alerts: tuple[str, ...] = ()
    """Alerts that look at the same, for the description."""
    note: str = ""

    def json(self, number: int, x: int, y: int) -> JSON:
        """Make what Grafana reads, at a place of the grid."""
        panel: JSON = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description(),
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [self._target(at, *query) for at, query in enumerate(self.queries)],
        }
        if self.kind == "table":
            # One row for each series, its labels as columns; when it was asked for says nothing.
            hidden = {"Time": True, "__name__": True}
            panel["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
        return panel

    def description(self) -> str:
        """Say what the metrics are and when to look at them, in the words of their table, and which alerts look too."""
        names = (_SUFFIX.sub("", name) for expression, _ in self.queries for name in _NAME.findall(expression))
        found = [_BY_NAME[name] for name in dict.fromkeys(names) if name in _BY_NAME]
        parts = [self.note, *(f"{metric.help} {metric.look}" for metric in found)]
        if self.alerts:
            parts.append("Alerts: " + ", ".join(f"StatusProcessor{name}" for name in self.alerts) + ".")
        return "\n\n".join(filter(None, parts))

    def _defaults(self) -> JSON:
        defaults: JSON = {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.steps],
            },
            "color": {"mode": "thresholds" if self.kind in {"stat", "table"} else "palette-classic"},
        }
        if self.kind in {"timeseries", "stat"}:
            defaults["min"] = 0
        if self.most is not None:
            defaults["max"] = self.most
        if self.kind == "timeseries":
            defaults["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 40 if self.stacked else 5,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                # A line where it begins to be bad, where somebody has said so.
                "thresholdsStyle": {"mode": "dashed" if len(self.steps) > 1 else "off"},
            }
        return defaults

    def _target(self, at: int, expression: str, legend: str) -> JSON:
        now = self.kind in {"stat", "table"}
        return {
            "refId": chr(ord("A") + at),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "editorMode": "code",
            "instant": now,
            "range": not now,
            "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
        }


_OPTIONS: Final[dict[str, JSON]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64},
        "yAxis": {"unit": "s"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "cellGap": 1,
    },
}


@dataclass(frozen=True, slots=True)
class Text:
    """A panel of text, as wide as the page."""

    markdown: str
    width: int = WIDTH
    height: int = 24

    def json(self, number: int, x: int, y: int) -> JSON:
        """Make what Grafana reads, at a place of the grid."""
        return {
            "id": number,
            "type": "text",
            "title": "",
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "options": {"mode": "markdown", "content": self.markdown},
        }


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel | Text, ...]
    collapsed: bool = False


def laid_out(rows: tuple[Row, ...]) -> list[JSON]:
    """Place the panels of each row from left to right, line by line."""
    placed: list[JSON] = []
    number, y = 0, 0
    for row in rows:
        number += 1
        heading: JSON = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        y += 1
        placed.append(heading)
        inside = heading["panels"] if row.collapsed else placed
        x, line = 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            number += 1
            inside.append(panel.json(number, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return placed
