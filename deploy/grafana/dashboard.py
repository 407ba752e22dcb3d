"""Writes the Grafana dashboard: `python -m deploy.grafana.dashboard > deploy/grafana/dashboards/status-processor.json`.

Its panels say what their metrics are in the words of the worker's own table; the runbook stands at its foot, so that
whoever is called finds both in one place. A test holds the file fresh and runs every expression.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from deploy.grafana.events_rows import CORRECTNESS, LATENCY, NOW
from deploy.grafana.expressions import process
from deploy.grafana.panels import JSON, SOURCE, Row, Text, laid_out
from deploy.grafana.worker_rows import CLIENTS, PARTITIONS, PROCESS, STATE, TRANSACTIONS

_RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "runbook.md"
ROWS: Final = (NOW, CORRECTNESS, LATENCY, PARTITIONS, TRANSACTIONS, STATE, CLIENTS, PROCESS)


def dashboard() -> JSON:
    """Make the whole dashboard, in Grafana's classic model, which every version reads."""
    return {
        "uid": "status-processor",
        "title": "Message status processor",
        "description": "Carriers' raw reports in, canonical status changes out, exactly once.",
        "tags": ["kafka", "status-processor"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": [_starts()]},
        "links": [],
        "panels": laid_out((*ROWS, Row("Runbook", (Text(_runbook()),), collapsed=True))),
    }


def _variables() -> list[JSON]:
    """What can be chosen at its top: where from, which deployment, which worker."""
    source: JSON = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    queries = {
        "job": "label_values(status_processor_build_info, job)",
        "instance": 'label_values(status_processor_build_info{job=~"$job"}, instance)',
    }
    labels = {"job": "Deployment", "instance": "Worker"}
    chosen: list[JSON] = [
        {
            "name": name,
            "label": labels[name],
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            # When the range changes: workers come and go.
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
        for name, query in queries.items()
    ]
    return [source, *chosen]


def _starts() -> JSON:
    return {
        "name": "Starts of workers",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"{process('start_time_seconds')} * 1000",
        "useValueForTime": True,
        "titleFormat": "A worker started",
        "textFormat": "{{instance}}",
        "step": "60s",
    }


def _runbook() -> str:
    """Return the runbook; what it refers to lies beside it, and not in Grafana."""
    text = _RUNBOOK.read_text(encoding="utf-8")
    text = re.sub(r"\[([^]]+)\]\(#[^)]+\)", r"\1", text)
    return re.sub(r"\[([^]]+\.(?:md|yml))\]\([^)]+\)", r"docs/\1", text).replace("docs/deploy/", "deploy/")


def main() -> None:
    """Print it."""
    sys.stdout.write(json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
