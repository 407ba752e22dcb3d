"""What a metric is, and how its samples are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from processor.histogram import Histogram

PREFIX: Final = "status_processor_"


class Kind(StrEnum):
    """What Prometheus makes of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    INFO = "info"


class Group(StrEnum):
    """What a metric is about: a section of the page."""

    EVENTS = "What became of events"
    TIME = "How long it takes"
    INPUT = "What is left to do"
    TRANSACTIONS = "Transactions and the group"
    STATE = "State"
    CLIENTS = "librdkafka's clients"
    PROGRAM = "The program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    """As it is served, but for the prefix and for what a kind adds: `_total`, `_info`."""
    kind: Kind
    group: Group
    help: str
    look: str
    """When to look at it, and what it means then."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What each label's value is, in their order."""
    bounds: tuple[float, ...] = ()
    """A histogram's buckets."""

    @property
    def family(self) -> str:
        """The name without what its kind adds, as the libraries of Prometheus want it."""
        return PREFIX + self.name

    @property
    def served(self) -> str:
        """The name to ask Prometheus for; a histogram and a summary have some more behind it."""
        return self.family + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


def counter(metric: Metric, rows: Iterable[tuple[Sequence[object], float]]) -> CounterMetricFamily:
    """Make a counter's samples of rows of label values and a value."""
    family = CounterMetricFamily(metric.family, metric.help, labels=list(metric.labels))
    for key, value in rows:
        family.add_metric([str(part) for part in key], value)
    return family


def gauge(metric: Metric, rows: Iterable[tuple[Sequence[object], float]]) -> GaugeMetricFamily:
    """Make a gauge's samples of rows of label values and a value."""
    family = GaugeMetricFamily(metric.family, metric.help, labels=list(metric.labels))
    for key, value in rows:
        family.add_metric([str(part) for part in key], value)
    return family


def histogram(metric: Metric, counted: Histogram) -> HistogramMetricFamily:
    """Make a histogram's samples."""
    return HistogramMetricFamily(metric.family, metric.help, buckets=counted.buckets(), sum_value=counted.sum)
