"""Health checks and pages of a real worker on a real Kafka, in good states and in bad ones."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Producer

from processor.http_server import CONNECTIONS_MAX
from processor.simulator import Simulator, is_simulated_number
from tests.broker.deployment import Deployment, WorkerProcess, wait_for
from tests.kafka.broker import Broker

SEED = 20_260_611
START_MS = int(time.time() * 1000) - 24 * 3600 * 1000
RESTORED = 2
"""The partition whose state cannot be restored yet."""


def check(worker: WorkerProcess, path: str) -> tuple[int, list[dict[str, Any]]]:
    """Ask a check: its status and its reasons."""
    status, body = worker.ask(path)
    told = json.loads(body)
    assert told["ok"] == (status == 200)
    return status, told["reasons"]


def connect(worker: WorkerProcess) -> socket.socket:
    address = urlsplit(worker.address)
    return socket.create_connection((address.hostname, address.port or 0), 10)


def is_ready(worker: WorkerProcess) -> bool:
    return check(worker, "/readyz")[0] == 200


def test_a_worker_is_ready_once_its_state_is_restored_and_its_pages_are_up_before_that(
    broker: Broker, tmp_path: Path
) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    oracle = deployment.produce(Simulator(SEED, events=3_000, poison=0.05, callbacks=0.3, start_ms=START_MS))
    # Whoever restores has to wait for the end of a transaction that is open in front of the changelog's end.
    hung = Producer(broker.client(transactional_id=f"{deployment.name}-hung", transaction_timeout_ms=120_000))
    hung.init_transactions(30)
    hung.begin_transaction()
    hung.produce(deployment.topics["state"], b"", b"never committed", partition=RESTORED)
    assert hung.flush(30) == 0

    with deployment.worker() as worker, ExitStack() as clients:

        def is_restoring() -> bool:
            status, reasons = check(worker, "/readyz")
            assert status == 503
            return ("restoring", RESTORED) in {(reason["cause"], reason.get("partition")) for reason in reasons}

        wait_for("a restore that cannot end", is_restoring)
        assert check(worker, "/livez") == (200, [])
        assert worker.ask("/")[0] == 200
        restoring = json.loads(worker.page("/status.json"))
        assert [one["partition"] for one in restoring["restore"]] == [RESTORED]
        states = {one["state"] for one in restoring["partitions"]["inputs"] if one["partition"] == RESTORED}
        assert states == {"restoring"}

        hung.abort_transaction(30)
        wait_for("readiness", lambda: is_ready(worker))
        # More clients than there are connections, none of which ever says what it wants, hold up nobody.
        slow = [clients.enter_context(connect(worker)) for _ in range(CONNECTIONS_MAX + 20)]
        for client in slow:
            client.sendall(b"GET /status.json HT")
        deployment.wait_for_events(oracle.totals.total())
        assert check(worker, "/livez") == (200, [])

        told = json.loads(worker.page("/status.json"))
        assert told["restore"] == []
        counted = told["outcomes"]
        assert sum(counted.values()) - counted["forwarded"] == oracle.totals.total()
        assert counted["dead_lettered"] == oracle.by_outcome["dead_lettered"]
        assert told["dead_letters"]
        assert told["versions"]["group_protocol"] in {"classic", "consumer"}
        pages = [worker.page(path) for path in ("/", "/status.json", "/metrics", "/livez", "/readyz")]
        assert not any(map(is_simulated_number, pages))
        assert worker.stop() == 0
    assert not is_simulated_number(worker.log)


def test_livez_names_a_partition_that_stands_still_and_a_worker_without_brokers_is_not_ready(
    breakable: Broker, tmp_path: Path
) -> None:
    stall_after_s = 3
    deployment = Deployment(breakable, tmp_path, HEALTH__STALL_AFTER=f"{stall_after_s}s", BATCH__RECORDS_MAX=100)
    deployment.create_topics()
    deployment.produce(Simulator(SEED, events=40_000, callbacks=0.0, start_ms=START_MS))

    breakable.pause()
    with deployment.worker() as worker:
        status, (reason,) = check(worker, "/readyz")
        assert (status, reason["cause"]) == (503, "starting")
        assert check(worker, "/livez") == (200, [])

        breakable.resume()
        wait_for("readiness", lambda: is_ready(worker))
        assert check(worker, "/livez") == (200, [])

        wait_for("work to be under way", lambda: json.loads(worker.page("/status.json"))["partitions"]["lag"] > 5000)
        breakable.pause()
        wait_for("a stalled partition", lambda: check(worker, "/livez")[0] == 503, 20)
        _, reasons = check(worker, "/livez")
        raw = deployment.topics["raw"]
        assert {(one["cause"], one["topic"]) for one in reasons} == {("partition_stalled", raw)}
        assert all(one["seconds"] > stall_after_s for one in reasons)
        assert f"{raw}[{reasons[0]['partition']}] has " in reasons[0]["text"]
        shown = json.loads(worker.page("/status.json"))["partitions"]["inputs"]
        assert shown[0]["state"] == "stalled"

        breakable.resume()
        wait_for("life", lambda: check(worker, "/livez")[0] == 200)
