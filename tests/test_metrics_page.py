"""The table of metrics is closed: what is served is in it, what is in it is served, and the page tells the same."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processor.errors import AbortCause
from processor.metric import PREFIX
from processor.metric_table import ABORTS, METRICS
from processor.metrics_page import PROCESS_METRICS, metrics_page
from processor.outbox import Outbox, Tally, Unmapped
from processor.telemetry import InputView, PartitionView, StoreCounts, Telemetry, metrics_registry
from processor.testing import PipelineDriver, raw_event
from tests.test_client_statistics import connection, said

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def scrape() -> str:
    """Serve every metric with a row at least."""
    driver = PipelineDriver()
    driver.pipe(raw_event("smpp", "m1", "DELIVRD", channel="SMS", occurred_at=driver.now_ms))
    tally = Tally(
        records=1,
        outcomes=Counter({("smpp", "published", ""): 1}),
        unmapped=Counter([Unmapped("twilio", "SMS", "teleported", "9")]),
        times_left_out=Counter(["twilio"]),
    )
    telemetry = Telemetry("test")
    telemetry.packs_in_force(1)
    telemetry.committed(
        Outbox(changes={0: driver.changes}, tallies={("raw", 0): tally}), consumed_at=1.0, began_at=1.0, now=2.0
    )
    view = PartitionView(
        seen_at=1.0,
        inputs={("raw", 0): InputView(1, running=True, moved_at=1.0, oldest_at=1.0)},
        state_entries={0: 1},
        state_bytes={0: 1},
        restore_share={0: 0.5},
        restore_left={0: 1},
    )
    telemetry.progressed(view, StoreCounts(), 1)
    telemetry.clients.callback("producer")(said(connection(1, rtt_us=1, samples=1)))
    return generate_latest(metrics_registry(telemetry)).decode()


def test_everything_served_is_in_the_table_with_its_kind_and_its_labels_and_nothing_else_is() -> None:
    served: dict[str, tuple[str, str, set[str]]] = {}
    for family in text_string_to_metric_families(scrape()):
        if family.name.startswith(PREFIX):
            name = family.name.removesuffix("_info")
            labels = {label for sample in family.samples for label in sample.labels} - {"le", "quantile"}
            served[name] = (family.type, family.documentation, labels)

    # The text format knows no info: prometheus_client serves one as a gauge.
    expected = {
        metric.family: (str(metric.kind).replace("info", "gauge"), metric.help, set(metric.labels))
        for metric in METRICS
    }
    assert served == expected


def test_what_is_told_of_any_process_is_served() -> None:
    names = {line.split("{")[0].split(" ")[0] for line in scrape().splitlines() if not line.startswith("#")}

    assert set(PROCESS_METRICS) <= names


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == metrics_page()


def test_every_cause_of_an_abort_is_explained() -> None:
    assert list(ABORTS) == list(AbortCause)


def test_promtool_finds_nothing_to_mend() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scrape(), capture_output=True, text=True, timeout=60, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
