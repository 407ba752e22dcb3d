"""How long a partition stands still when its worker dies, with and without a warm standby, on a real broker.

Two workers share a changelog of so many messages; the first is killed with -9 under traffic. The second one's log tells
when it was given the partitions (the dead worker's session had to run out), when their committed offsets were stable
(its open transaction had to run out), and when their state was restored. A standby saves the last only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bench.changelog import fill
from processor.simulator import Simulator
from tests.broker.deployment import PARTITIONS, Deployment, WorkerProcess, wait_for
from tests.kafka.broker import own_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.broker import Broker

SESSION_S = 6.0
TRANSACTION_S = 15.0
_RESTORE_S = 900.0
_TRAFFIC_PER_S = 2_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000_000, help="messages of state (default 5,000,000)")
    parser.add_argument("--protocol", default="consumer", choices=["classic", "consumer"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, own_broker(Path(directory) / "kafka") as broker:
        deployment = _deploy(broker, Path(directory), options.protocol)
        began = time.monotonic()
        fill(broker.bootstrap, deployment.topics["state"], PARTITIONS, options.messages)
        print(f"{options.messages:,} messages of state in {PARTITIONS} partitions, {time.monotonic() - began:.0f} s")
        print(
            f"session timeout {SESSION_S:.0f} s, transaction timeout {TRANSACTION_S:.0f} s, {options.protocol} protocol"
        )
        print(f"{'':<18}{'session':>10}{'transaction':>13}{'restore':>10}{'in all':>10}   changelog records read")
        for standbys, name in ((0, "without standby"), (1, "with a standby")):
            row = take_over(deployment, standbys, options.messages)
            print(
                f"{name:<18}{row['session']:>8.1f} s{row['transaction']:>11.1f} s{row['restore']:>8.1f} s"
                f"{row['session'] + row['transaction'] + row['restore']:>8.1f} s   {row['records']:,.0f}",
                flush=True,
            )


def _deploy(broker: Broker, directory: Path, protocol: str) -> Deployment:
    deployment = Deployment(
        broker,
        directory,
        GROUP_PROTOCOL=protocol,
        TRANSACTION__TIMEOUT_MS=int(TRANSACTION_S * 1000),
        KAFKA__SESSION_TIMEOUT_MS=int(SESSION_S * 1000),
    )
    deployment.create_topics()
    return deployment


def take_over(deployment: Deployment, standbys: int, messages: int) -> dict[str, float]:
    """Kill one of two workers under traffic and return how long each phase took the other, in seconds."""
    shutil.rmtree(deployment.directory / "state", ignore_errors=True)
    deployment.settings["STATE__STANDBYS"] = standbys
    with ExitStack() as stack:
        zero = stack.enter_context(deployment.worker(0))
        one = stack.enter_context(deployment.worker(1))
        for worker in (zero, one):
            worker.wait_until_running()
        wait_for("both to have their half", lambda: _settled(zero) and _settled(one), _RESTORE_S)
        if standbys:
            wait_for("a whole replica", lambda: _total(one, "standby_records") >= messages * 0.49, _RESTORE_S)
        stack.enter_context(_traffic(deployment))
        wait_for("traffic", lambda: _total(zero, "records") > _TRAFFIC_PER_S, 60)
        seen, records = len(one.events_logged()), _total(one, "restored_records")
        killed = time.time()
        zero.kill()
        wait_for("all of it", lambda: _running(one) == 2 * PARTITIONS, _RESTORE_S)
        lines = one.events_logged()[seen:]
        assigned = _time_of(lines, "partitions assigned")
        stable = _time_of(lines, "restore begins")
        complete = max(_times_of(lines, "restore complete"), default=stable)
        return {
            "session": assigned - killed,
            "transaction": stable - assigned,
            "restore": complete - stable,
            "records": _total(one, "restored_records") - records,
        }


def _settled(worker: WorkerProcess) -> bool:
    if worker.exit_code is not None:
        sys.exit(f"a worker ended with {worker.exit_code}: {worker.log[-2000:]}")
    return _running(worker) == PARTITIONS


def _running(worker: WorkerProcess) -> float:
    """Return how many input partitions, raw and rekeyed, the worker is processing."""
    samples = worker.metrics().get("status_processor_assigned_partitions", [])
    return sum(value for labels, value in samples if labels["state"] == "running")


def _total(worker: WorkerProcess, name: str) -> float:
    return sum(value for _, value in worker.metrics()[f"status_processor_{name}_total"])


def _times_of(lines: list[dict[str, object]], event: str) -> list[float]:
    return [datetime.fromisoformat(str(line["timestamp"])).timestamp() for line in lines if line["event"] == event]


def _time_of(lines: list[dict[str, object]], event: str) -> float:
    times = _times_of(lines, event)
    if not times:
        sys.exit(f"the worker never said {event!r}:\n" + "\n".join(map(json.dumps, lines)))
    return times[0]


@contextmanager
def _traffic(deployment: Deployment) -> Iterator[None]:
    """Produce events at a steady rate for as long as a block lasts."""
    ended = threading.Event()
    start_ms = int(time.time() * 1000) - 24 * 3600 * 1000
    records = iter(Simulator(3, events=10_000_000, callbacks=0.0, start_ms=start_ms))

    def produce() -> None:
        while not ended.wait(0.1):
            deployment.produce(islice(records, _TRAFFIC_PER_S // 10))

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
