"""Writes docs/metrics.md from the table of metrics: `python -m processor.metrics_page > docs/metrics.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from processor.client_statistics import BROKERS_MAX
from processor.metric import PREFIX, Group, Kind
from processor.metric_table import ABORTS, METRICS
from processor.telemetry import UNMAPPED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.metric import Metric

_HEAD: Final = f"""\
# Metrics

Written by `python -m processor.metrics_page`; a test holds it fresh.

A worker serves its metrics at `/metrics` of its own HTTP port (`metrics.host`, `metrics.port`), in Prometheus' text
format. They are the worker's own and begin at 0 with each start: sum rates over all workers. They follow Prometheus'
conventions: base units, `_total` for what only rises; a histogram has `_bucket`, `_sum` and `_count`, a summary has
quantiles, `_sum` and `_count`.

- What is counted is what was committed. A batch that went back counts as an abort and as nothing else.
- The rows of a partition are there as long as it is assigned to the worker, or restored by it, and no longer.
- Labels come from closed lists, from packs, and from the cluster's names of topics, partitions and brokers: no message,
  no host, no phone number. Only `unmapped_events_total` tells words from outside, masked, and at most {UNMAPPED_MAX} of
  them; a client's brokers get at most {BROKERS_MAX} rows.
- Words of a closed list are there from the start, with 0, so that the first one that counts is seen as a rise.
- Partitions are looked at once a second, librdkafka's clients every `metrics.client_statistics_ms`; everything else is
  as of the last batch.

All names below begin with `{PREFIX}`.
"""
_ABORTS: Final = """\
## Why batches go back

`transactions_total{result="aborted_…"}` by cause. Nothing is lost by an abort: the batch goes back and is processed
again. An error that leaves a transaction's outcome unknown is no abort: it ends the worker, see
[reliability.md](reliability.md).

| result | what it means |
|---|---|
"""
_LABELS: Final = """\
## Labels

| label | of | its values |
|---|---|---|
"""
_PROCESS: Final = """\
## Of any process

prometheus_client itself tells, without the prefix:

"""
PROCESS_METRICS: Final = {
    "process_cpu_seconds_total": "CPU time; its rate is in cores. The loop is one thread, and librdkafka's threads "
    "come on top: above 1 the loop may be full.",
    "process_resident_memory_bytes": "Memory in use. It levels off once caches and queues are full.",
    "process_virtual_memory_bytes": "Address space; RocksDB and librdkafka reserve more than they use.",
    "process_start_time_seconds": "When the process started, in seconds since the epoch: restarts.",
    "process_open_fds": "Open files and connections; RocksDB holds its table files open.",
    "process_max_fds": "How many the system allows.",
    "python_info": "The interpreter's version.",
}


def metrics_page() -> str:
    """Return the page."""
    return "\n".join([*_groups()]) + "\n" + _ABORTS + _aborts() + "\n" + _LABELS + _labels() + "\n" + _process()


def _groups() -> Iterator[str]:
    yield _HEAD
    for group in Group:
        yield f"## {group}\n"
        yield "| metric | kind, labels | what it is | when to look, and what it means |"
        yield "|---|---|---|---|"
        yield from (_row(metric) for metric in METRICS if metric.group is group)
        yield ""


def _row(metric: Metric) -> str:
    labels = "".join(f", `{label}`" for label in metric.labels)
    cells = (f"`{metric.served.removeprefix(PREFIX)}`", f"{metric.kind}{labels}", metric.help, metric.look)
    return "| " + " | ".join(cells) + " |"


def _aborts() -> str:
    return "".join(f"| `aborted_{cause}` | {meaning} |\n" for cause, meaning in ABORTS.items())


def _labels() -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for metric in METRICS:
        for label, values in metric.labels.items():
            rows.setdefault((label, values), []).append(f"`{metric.served.removeprefix(PREFIX)}`")
    bounds = ", ".join(f"`{metric.name}`" for metric in METRICS if metric.kind is Kind.HISTOGRAM)
    told = "".join(f"| `{label}` | {', '.join(of)} | {values} |\n" for (label, values), of in rows.items())
    return told + f"| `le` | {bounds} | upper bound of a bucket |\n| `quantile` | summaries | `0.5`, `0.99` |\n"


def _process() -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in PROCESS_METRICS.items())
    return f"{_PROCESS}| metric | what it is |\n|---|---|\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
