"""Rules and dashboard on a real Prometheus that scrapes a real worker: every expression is run, and finds something."""

from __future__ import annotations

import json
import math
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from processor.codec import encode_raw_events
from processor.model import RawStatusEvent
from processor.simulator import Oracle, SimulatedRecord, Simulator, is_simulated_number
from processor.testing import raw_event
from tests.broker.deployment import Deployment, WorkerProcess, wait_for
from tests.broker.test_worker import ACME
from tests.deploy.prometheus import Prometheus, prometheus, require_prometheus
from tests.kafka.broker import Broker
from tests.kafka.readiness import HOST, free_port

SEED = 20_260_613
EVENTS = 12_000
START_MS = int(time.time() * 1000) - 24 * 3600 * 1000
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "status-processor.json"
BATCH_BYTES = 16_000
RESTORED = 2
"""The partition whose state cannot be restored at first."""
RATE_INTERVAL = "20s"
"""What Grafana would put in the place of $__rate_interval."""
# What the load brings about, and what must not fire of it.
EXPECTED = {
    "StatusProcessorUnmappedStatus",
    "StatusProcessorPackReloadRefused",
    "StatusProcessorRestoreStuck",
}
UNEXPECTED = {
    "StatusProcessorNoWorkers",
    "StatusProcessorWorkerDown",
    "StatusProcessorRestartLoop",
    "StatusProcessorTargetFlapping",
    "StatusProcessorBrokersUnreached",
    "StatusProcessorFilesNearlyUsedUp",
    "StatusProcessorNoProgress",
    "StatusProcessorInputStopped",
    "StatusProcessorPacksDiffer",
    "StatusProcessorStateSetAside",
    "StatusProcessorStateGrowing",
    "StatusProcessorThrottled",
}

_SELECTOR = re.compile(
    r'((?:job:)?status_processor_\w+(?::\w+)?|process_\w+|\bup\b)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?'
)


@dataclass
class Watched:
    """A Prometheus that has seen a worker through its whole life, so far."""

    prometheus: Prometheus
    worker: WorkerProcess
    began: float

    def series(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gave at any time, without what is no number."""
        found = self.prometheus.query_range(expression, time.time() - self.began)
        return [one for one in found if any(math.isfinite(float(value)) for _, value in one["values"])]


@pytest.fixture(scope="module")
def watched(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A worker that restores, forwards, refuses, aborts and reloads while it is watched."""
    require_prometheus()
    directory = tmp_path_factory.mktemp("watching")
    packs, port = directory / "packs", free_port()
    packs.mkdir()
    deployment = Deployment(
        broker,
        directory,
        METRICS__PORT=port,
        METRICS__CLIENT_STATISTICS_MS=1_000,
        BATCH__RECORDS_MAX=1_000,
        KAFKA__BATCH_SIZE=BATCH_BYTES,
        PACKS__DIRECTORY=packs,
    )
    deployment.create_topics()
    # The broker takes batches of many changes, and refuses a single one that is larger: a transaction that is aborted.
    _limit(broker, deployment.topics["changes"], 2 * BATCH_BYTES)
    traffic = list(Simulator(SEED, events=EVENTS, poison=0.03, callbacks=0.3, start_ms=START_MS))
    hung = _hung_transaction(deployment)
    (directory / "prometheus").mkdir()
    with ExitStack() as running:
        worker = running.enter_context(deployment.worker())
        wait_for("its pages", lambda: bool(worker.address))
        targets = {"worker:9464": f"{HOST}:{port}"}
        server = running.enter_context(prometheus(directory / "prometheus", targets))
        # Prometheus looks for targets some seconds after its start, and has alerted on that by then.
        wait_for(
            "a scrape", lambda: bool(server.query("up == 1")) and "StatusProcessorNoWorkers" not in server.firing()
        )
        seen = Watched(server, worker, time.time())
        wait_for("a restore to be seen", lambda: bool(seen.series("status_processor_restore_ratio")))
        wait_for("it to be alerted on", lambda: "StatusProcessorRestoreStuck" in seen.prometheus.firing())
        hung.abort_transaction(30)
        _go_through(deployment, seen, traffic, packs / "acme.toml")
        yield seen
        assert worker.stop() == 0


def _hung_transaction(deployment: Deployment) -> Producer:
    """Write to the changelog in a transaction that stays open: whoever restores waits for its end."""
    producer = Producer(
        deployment.broker.client(transactional_id=f"{deployment.name}-hung", transaction_timeout_ms=120_000)
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(deployment.topics["state"], b"", b"never committed", partition=RESTORED)
    assert producer.flush(30) == 0
    return producer


def _go_through(deployment: Deployment, seen: Watched, traffic: list[SimulatedRecord], pack: Path) -> None:
    """Have everything happen that a dashboard shows, in four parts, so that Prometheus sees counters rise."""
    now_ms = int(time.time() * 1000)
    early = raw_event("smpp", "early", "DELIVRD", channel="SMS", received_at=now_ms, occurred_at=4_102_444_800_000)
    large = raw_event("smpp", "large", "UNDELIV", channel="SMS", received_at=now_ms, error_text="x" * 3 * BATCH_BYTES)
    fresh = [
        raw_event("smpp", f"fresh-{number}", "DELIVRD", channel="SMS", received_at=now_ms, occurred_at=now_ms - 1_000)
        for number in range(50)
    ]
    reloads = [None, ACME, ACME.replace('landed = "DELIVERED"', 'landed = "ARRIVED"'), ACME]
    # By itself: what comes in one batch with it is taken apart with it.
    settled = _say(deployment, [large])
    deployment.wait_for_events(settled)
    for part, text in enumerate(reloads):
        oracle: Oracle = deployment.produce(traffic[part :: len(reloads)])
        settled += oracle.totals.total() + _say(deployment, [early, *fresh])
        if text is not None:
            pack.write_text(text)
            seen.worker.signal(signal.SIGHUP)
        deployment.wait_for_events(settled)
        _wait_until_seen(seen)
    # Two scrapes more, for what is reckoned from two.
    last = time.time()
    wait_for("two more scrapes", lambda: _last_scrape(seen.prometheus) > last + 2)


def _wait_until_seen(seen: Watched) -> None:
    """Wait until Prometheus knows of every record that the worker has counted so far."""
    (record,) = seen.worker.metrics()["status_processor_records_total"]
    counted = "sum(status_processor_records_total)"
    wait_for("a scrape", lambda: float(seen.prometheus.query(counted)[0]["value"][1]) >= record[1])


def _say(deployment: Deployment, events: list[RawStatusEvent]) -> int:
    """Produce reports, keyed by message id."""
    records = [(event.message_id.encode(), encode_raw_events([event])[0]) for event in events]
    deployment.broker.produce(deployment.topics["raw"], records)
    return len(events)


def _last_scrape(server: Prometheus) -> float:
    return float(server.query("timestamp(status_processor_build_info)")[0]["value"][1])


def _limit(broker: Broker, topic: str, bytes_max: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)


def substituted(text: str) -> str:
    """Put into an expression what Grafana would, with all deployments and all workers chosen."""
    values = {"$__rate_interval": RATE_INTERVAL, "$__range": "10m", "$job": ".*", "$instance": ".*"}
    for name, value in values.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def targets() -> list[tuple[str, dict[str, Any]]]:
    """Return what the dashboard's panels ask for, each with its panel's title."""
    rows = json.loads(DASHBOARD.read_text())["panels"]
    panels = [panel for row in rows for panel in (row, *row.get("panels", ()))]
    return [(panel["title"], target) for panel in panels for target in panel.get("targets", ())]


def rules(server: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in server.get("rules")["groups"] for rule in group["rules"]]


def test_the_load_brings_about_what_is_to_be_watched(watched: Watched) -> None:
    happened = {
        "status_processor_restore_ratio < 1",
        'status_processor_transactions_total{result="aborted_refused"} > 0',
        'status_processor_events_total{outcome="forwarded"} > 0',
        'status_processor_events_total{reason="unknown_status"} > 0',
        'status_processor_events_total{reason="unprocessable"} > 0',
        'status_processor_pack_reloads_total{result="loaded"} == 2',
        'status_processor_pack_reloads_total{result="refused"} == 1',
        "status_processor_times_left_out_total > 0",
    }
    assert {expression for expression in happened if not watched.series(expression)} == set()


def test_each_expression_of_the_dashboard_finds_something(watched: Watched) -> None:
    asked = targets()
    found = {(title, target["expr"]): watched.series(substituted(target["expr"])) for title, target in asked}
    assert len(found) > 50
    assert [key for key, series in found.items() if not series] == []
    # What is asked for one moment has an answer in this one.
    instants = [(title, target["expr"]) for title, target in asked if target["instant"]]
    assert [key for key in instants if not watched.prometheus.query(substituted(key[1]))] == []


def test_what_can_be_chosen_at_the_top_of_the_dashboard_and_its_annotations_are_found(watched: Watched) -> None:
    shown = json.loads(DASHBOARD.read_text())
    for variable in shown["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked
            values = watched.prometheus.get(f"label/{asked[2]}/values", **{"match[]": substituted(asked[1])})
            assert len(values) == 1, variable["name"]
    (annotation,) = shown["annotations"]["list"]
    assert watched.series(substituted(annotation["expr"]))


def test_each_rule_is_evaluated_without_error_and_asks_for_what_is_there(watched: Watched) -> None:
    found = rules(watched.prometheus)
    assert len(found) > 30
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []
    selectors = {"".join(parts) for rule in found for parts in _SELECTOR.findall(rule["query"])}
    assert len(selectors) > 40
    assert sorted(selector for selector in selectors if not watched.series(selector)) == []


def test_alerts_fire_for_what_happened_and_for_nothing_else(watched: Watched) -> None:
    fired = {one["metric"]["alertname"] for one in watched.series('ALERTS{alertstate="firing"}')}
    assert EXPECTED - fired == set()
    assert UNEXPECTED & fired == set()


def test_alerts_name_the_words_that_are_new_and_no_phone_number(watched: Watched) -> None:
    firing = watched.prometheus.firing()
    told = firing["StatusProcessorUnmappedStatus"]["annotations"]
    assert "VAPORISED" in json.dumps(watched.prometheus.get("alerts"))
    assert " times)" in told["description"]
    assert told["runbook_url"] == "docs/runbook.md#statusprocessorunmappedstatus"
    assert not is_simulated_number(json.dumps(firing))
