"""Three brokers that are one cluster: leaders and coordinators move, and replicas fall behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import ConsumerGroupDescription

from tests.kafka.broker import Broker
from tests.kafka.maven import MavenBroker
from tests.kafka.readiness import HOST, free_port, wait_until_it_answers

_NODES = (1, 2, 3)
_HEAP = "512m"
_JOINED_WITHIN_S = 60


@dataclass(frozen=True)
class Cluster:
    """Three nodes, each broker and controller; topics have three replicas, of which two must take a record."""

    broker: Broker
    """The cluster as a client sees it."""
    nodes: dict[int, MavenBroker]
    """The processes by node id."""

    def coordinator(self, group: str) -> int:
        """Return the node that coordinates a group."""
        (future,) = self.broker.admin.describe_consumer_groups([group]).values()
        described = future.result(30)
        assert isinstance(described, ConsumerGroupDescription)
        return int(described.coordinator.id)

    def in_sync(self) -> bool:
        """Tell whether every partition has all its replicas."""
        topics = self.broker.admin.list_topics(timeout=30).topics.values()
        partitions = [partition for topic in topics for partition in topic.partitions.values()]
        return all(len(partition.isrs) == len(_NODES) for partition in partitions)


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Run a cluster for as long as the block lasts, however it ends."""
    controllers = {node: free_port() for node in _NODES}
    ports = {node: free_port() for node in _NODES}
    bootstrap = ",".join(f"{HOST}:{port}" for port in ports.values())
    with ExitStack() as discarding:
        nodes: dict[int, MavenBroker] = {}
        for node in _NODES:
            client: dict[str, str | float] = {"bootstrap.servers": bootstrap}
            nodes[node] = MavenBroker(
                directory / f"node-{node}", _config(node, ports[node], controllers), client, heap=_HEAP
            )
            discarding.callback(nodes[node].discard)
        with ThreadPoolExecutor(len(nodes)) as starting:
            list(starting.map(MavenBroker.start, nodes.values()))
        # The controller may take a moment longer to know the last of them, and refuses topics until then.
        wait_until_it_answers({"bootstrap.servers": bootstrap}, _JOINED_WITHIN_S, brokers=len(_NODES))
        yield Cluster(Broker({"bootstrap.servers": bootstrap}), nodes)


def _config(node: int, port: int, controllers: dict[int, int]) -> dict[str, str]:
    replicated = {
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        "default.replication.factor": "3",
        "min.insync.replicas": "2",
    }
    return {
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{other}@{HOST}:{at}" for other, at in controllers.items()),
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controllers[node]}",
        **replicated,
    }
