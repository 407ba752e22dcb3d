"""What the workers do, whether it is right, and how long it takes."""

from __future__ import annotations

from typing import Final

from deploy.grafana.expressions import (
    CONFLICTS,
    COUNTED,
    DEAD,
    IGNORED,
    RUNNING,
    WAITING,
    every,
    quantiles,
    rate,
    share,
)
from deploy.grafana.panels import Panel, Row

_EVENTS_NOW: Final = f"sum(increase({every('events_total', COUNTED)}[10m]))"
_LETTERS_NOW: Final = f"(sum(increase({every('events_total', DEAD)}[10m])) or vector(0))"
_FIRING: Final = 'ALERTS{alertname=~"StatusProcessor.+", alertstate="firing", job=~"$job|"}'

NOW: Final = Row(
    "Now",
    (
        Panel(
            title="Workers",
            kind="stat",
            unit="none",
            width=3,
            height=4,
            queries=((f"count({every('build_info')})", ""),),
            steps=((None, "red"), (1, "green")),
            alerts=("NoWorkers", "WorkerDown"),
        ),
        Panel(
            title="Partitions processed",
            kind="stat",
            unit="none",
            width=3,
            height=4,
            queries=((f"sum({every('assigned_partitions', RUNNING)})", ""),),
            alerts=("PartitionsUnowned",),
        ),
        Panel(
            title="Partitions that wait",
            kind="stat",
            unit="none",
            width=3,
            height=4,
            queries=((f"sum({every('assigned_partitions', WAITING)})", ""),),
            steps=((None, "green"), (1, "yellow")),
            alerts=("PartitionsWaiting", "RestoreStuck"),
        ),
        Panel(
            title="Partitions that stand still",
            kind="stat",
            unit="none",
            width=3,
            height=4,
            queries=((f"sum({every('stalled_partitions')})", ""),),
            steps=((None, "green"), (1, "red")),
            alerts=("NoProgress",),
        ),
        Panel(
            title="Records left",
            kind="stat",
            width=3,
            height=4,
            queries=((f"sum({every('consumer_lag_records')})", ""),),
            steps=((None, "blue"),),
            alerts=("LagGrowing",),
        ),
        Panel(
            title="Oldest record left",
            kind="stat",
            unit="s",
            width=3,
            height=4,
            queries=((f"max({every('oldest_unprocessed_seconds')})", ""),),
            steps=((None, "green"), (60, "yellow"), (300, "orange"), (3600, "red")),
            alerts=("InputLate", "InputVeryLate"),
        ),
        Panel(
            title="Events",
            kind="stat",
            unit="cps",
            width=3,
            height=4,
            queries=((f"{rate('events_total', '', COUNTED)}", ""),),
            steps=((None, "blue"),),
            note="Those that are forwarded count where they go to.",
            alerts=("InputStopped",),
        ),
        Panel(
            title="Dead letters among them, 10 minutes",
            kind="stat",
            unit="percentunit",
            width=3,
            height=4,
            queries=((f"{_LETTERS_NOW} / ({_EVENTS_NOW} > 0)", ""),),
            steps=((None, "green"), (0.01, "yellow"), (0.05, "orange"), (0.25, "red")),
            alerts=("DeadLetterShare", "DeadLetterFlood"),
        ),
        Panel(
            title="Events by outcome",
            unit="cps",
            stacked=True,
            width=9,
            queries=((rate("events_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            title="Status changes by status",
            unit="cps",
            stacked=True,
            width=9,
            queries=((rate("changes_total", "channel, status"), "{{channel}} {{status}}"),),
        ),
        Panel(
            title="Alerts that fire",
            kind="table",
            width=6,
            queries=((_FIRING, ""),),
            steps=((None, "red"),),
            note="What each means and what to do about it stands in the runbook, at the foot of this page.",
        ),
        Panel(
            title="Events of the ten largest carriers",
            unit="cps",
            width=12,
            queries=((f"topk(10, {rate('events_total', 'carrier', COUNTED)})", "{{carrier}}"),),
        ),
        Panel(
            title="Records by worker",
            unit="cps",
            width=12,
            queries=((rate("records_total", "instance"), "{{instance}}"),),
        ),
    ),
)

CORRECTNESS: Final = Row(
    "Correctness",
    (
        Panel(
            title="Dead letters by reason",
            unit="cps",
            stacked=True,
            queries=((rate("events_total", "reason", DEAD), "{{reason}}"),),
        ),
        Panel(
            title="Share of dead letters by carrier, 10 minutes",
            unit="percentunit",
            steps=((None, "green"), (0.05, "red")),
            queries=((share("events_total", DEAD, COUNTED), "{{carrier}}"),),
            alerts=("DeadLetterShare", "DeadLetterFlood"),
        ),
        Panel(
            title="Words without a row, since the workers' start",
            kind="table",
            unit="none",
            steps=((None, "text"),),
            queries=(
                (f"topk(20, sum by (carrier, channel, status, error_code) ({every('unmapped_events_total')}))", ""),
            ),
            alerts=("UnmappedStatus", "UnmappedSpike"),
        ),
        Panel(
            title="Share of conflicts by carrier, 10 minutes",
            unit="percentunit",
            steps=((None, "green"), (0.1, "red")),
            queries=((share("events_total", CONFLICTS, COUNTED), "{{carrier}}"),),
            note="Failures that were reported of messages which had been reported as delivered.",
            alerts=("ConflictShare",),
        ),
        Panel(
            title="Share of events without a usable time, 10 minutes",
            unit="percentunit",
            steps=((None, "green"), (0.2, "red")),
            queries=((share("times_left_out_total", "", ""), "{{carrier}}"),),
            alerts=("TimesLeftOut",),
        ),
        Panel(
            title="Ignored events by reason",
            unit="cps",
            queries=((rate("events_total", "reason", IGNORED), "{{reason}}"),),
        ),
        Panel(
            title="Reloads of packs, one hour",
            unit="none",
            width=12,
            height=6,
            queries=(
                (f"sum by (instance, result) (increase({every('pack_reloads_total')}[1h]))", "{{instance}} {{result}}"),
            ),
            alerts=("PackReloadRefused",),
        ),
        Panel(
            title="Carriers with a pack",
            unit="none",
            width=12,
            height=6,
            queries=((every("packs_loaded"), "{{instance}}"),),
            alerts=("PacksDiffer",),
        ),
    ),
)

LATENCY: Final = Row(
    "Latency",
    (
        Panel(
            title="From receipt at the edge to commit",
            unit="s",
            steps=((None, "green"), (60, "red")),
            queries=quantiles("event_age_seconds"),
            alerts=("EventsLate",),
        ),
        Panel(
            title="From the carrier's time to commit",
            unit="s",
            steps=((None, "green"), (300, "red")),
            queries=quantiles("end_to_end_delay_seconds"),
            alerts=("EndToEndDelay",),
        ),
        Panel(
            title="Receipt to commit, all events",
            kind="heatmap",
            unit="short",
            queries=((f"sum by (le) (increase({every('event_age_seconds_bucket')}[$__rate_interval]))", "{{le}}"),),
        ),
        Panel(title="In the worker, from poll to commit", unit="s", queries=quantiles("processing_seconds")),
        Panel(
            title="Transactions",
            unit="s",
            steps=((None, "green"), (5, "red")),
            queries=quantiles("transaction_seconds"),
            alerts=("TransactionsSlow",),
        ),
        Panel(title="Records in a batch", queries=quantiles("batch_records")),
    ),
)
