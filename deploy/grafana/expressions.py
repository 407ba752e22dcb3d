"""What panels ask Prometheus for, of the workers that are chosen at the top of the dashboard."""

from __future__ import annotations

from typing import Final

ON: Final = 'job=~"$job", instance=~"$instance"'
COUNTED: Final = 'outcome!="forwarded"'
"""A forwarded event is counted again, where it goes to."""
DEAD: Final = 'outcome="dead_lettered"'
CONFLICTS: Final = 'outcome="conflict"'
IGNORED: Final = 'outcome="ignored"'
RUNNING: Final = 'state="running"'
WAITING: Final = 'state="waiting"'
COMMITTED: Final = 'result="committed"'
ABORTED: Final = 'result!="committed"'
PRODUCER: Final = 'client="producer"'
OTHERS: Final = 'client!="producer", quantile="0.99"'


def every(metric: str, labels: str = "") -> str:
    """Select a metric of the workers that are chosen."""
    return f"status_processor_{metric}{{{ON}{', ' if labels else ''}{labels}}}"


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """Tell how fast a counter rises, summed by some labels."""
    return f"sum by ({by}) (rate({every(metric, labels)}[$__rate_interval]))"


def share(metric: str, labels: str, of: str) -> str:
    """Tell, by carrier, what share of the events in the last ten minutes has an outcome; the ten with the most."""
    part, whole = every(metric, labels), every("events_total", of)
    return f"topk(10, sum by (carrier) (increase({part}[10m])) / (sum by (carrier) (increase({whole}[10m])) > 0))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Tell three quantiles of a histogram, each with its legend."""
    buckets = f"sum by (le) (rate({every(metric + '_bucket')}[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {buckets})", f"{float(q):.0%}") for q in ("0.5", "0.95", "0.99"))


def process(metric: str) -> str:
    """Select what prometheus_client tells of any process, of the workers that are chosen."""
    return f"process_{metric}{{{ON}}}"
