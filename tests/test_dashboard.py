"""Dashboard and alert rules ask for what workers tell, and the dashboard's file is what its source writes."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from deploy.grafana.dashboard import dashboard
from processor.metric import Kind
from processor.metric_table import METRICS

DEPLOY = Path(__file__).parent.parent / "deploy"
SHIPPED = DEPLOY / "grafana" / "dashboards" / "status-processor.json"
RULES = (DEPLOY / "prometheus" / "alerts.yml").read_text()
LEFT_OUT: frozenset[str] = frozenset()
"""Metrics that the dashboard deliberately does not show, by the name that is served: none."""

_NAME = re.compile(r"(?<![\w:])(?:job:)?status_processor_\w+(?::\w+)?")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(SHIPPED.read_text())["panels"]
    return [panel for row in found for panel in (row, *row.get("panels", ()))]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def served() -> set[str]:
    """Every name that a worker serves; a histogram and a summary serve more than one."""
    names = {metric.served for metric in METRICS}
    for metric in METRICS:
        if metric.kind in {Kind.HISTOGRAM, Kind.SUMMARY}:
            suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("_sum", "_count")
            names |= {metric.served + suffix for suffix in suffixes}
    return names


def test_the_file_is_what_its_source_writes() -> None:
    assert json.loads(SHIPPED.read_text()) == dashboard(), (
        "run `python -m deploy.grafana.dashboard > deploy/grafana/dashboards/status-processor.json`"
    )


def test_the_dashboard_asks_only_for_what_workers_tell() -> None:
    asked = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert asked - served() == set()


def test_the_dashboard_shows_every_metric() -> None:
    asked = " ".join(expressions())
    missing = {metric.served for metric in METRICS if not re.search(rf"\b{metric.served}(_bucket)?\b", asked)}
    assert missing == LEFT_OUT


def test_alert_rules_ask_only_for_what_workers_tell_and_for_what_they_record_themselves() -> None:
    recorded = set(re.findall(r"^ *- record: (\S+)$", RULES, flags=re.MULTILINE))
    text = re.sub(r"^ *#.*$", "", RULES, flags=re.MULTILINE)
    assert set(_NAME.findall(text)) - recorded - served() == set()
    # Each record has a use beside its definition.
    assert [name for name in recorded if text.count(name) < 2] == []


def test_the_dashboard_names_only_alerts_that_there_are_and_misses_none() -> None:
    alerts = set(re.findall(r"^ *- alert: (\w+)$", RULES, flags=re.MULTILINE))
    named = {name for panel in panels() for name in re.findall(r"StatusProcessor\w+", panel.get("description", ""))}
    assert named == alerts


def test_each_panel_has_its_own_number_and_its_own_place_and_says_what_it_shows() -> None:
    found = panels()
    assert max(Counter(panel["id"] for panel in found).values()) == 1
    places: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert places.isdisjoint(cells), panel["title"]
        places |= cells
        if panel["type"] not in {"row", "text"}:
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


def test_the_runbook_at_its_foot_refers_to_nothing_that_grafana_does_not_have() -> None:
    (text,) = (panel["options"]["content"] for panel in panels() if panel["type"] == "text")
    assert "### StatusProcessorNoWorkers" in text
    assert "](" not in text
