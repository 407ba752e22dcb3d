"""Apache Kafka's own image, by testcontainers."""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kafka.readiness import BrokerError, wait_until_it_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = "apache/kafka:4.1.0"
_SOCKET = Path("/var/run/docker.sock")
_ANSWER_S = 5
_PULL_S = 60.0
_START_S = 90.0
_ADDRESS = "/tmp/advertised"
# Docker chooses the port when the container starts, and the broker must know it: it waits until it is told.
_WAIT_AND_RUN = f"""
until [ -s {_ADDRESS} ]; do sleep 0.1; done
export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$(cat {_ADDRESS}),ITSELF://localhost:9094
exec /etc/kafka/docker/run
"""
_ENVIRONMENT = {
    "NODE_ID": "1",
    "PROCESS_ROLES": "broker,controller",
    "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    # The broker calls itself too, to verify and to end transactions, and knows no port of the machine around it.
    "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093,ITSELF://:9094",
    "INTER_BROKER_LISTENER_NAME": "ITSELF",
    "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,ITSELF:PLAINTEXT",
    "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "AUTO_CREATE_TOPICS_ENABLE": "false",
    "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
    "GROUP_CONSUMER_SESSION_TIMEOUT_MS": "6000",
    "GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "300",
    "GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
}


def missing(tell: Callable[[str], None]) -> str:
    """Return why the image cannot be run here, empty where it can; pulls it where that takes a minute at most."""
    if "DOCKER_HOST" not in os.environ and not _SOCKET.exists():
        return "no Docker"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Both libraries warn about themselves on import.
        try:
            import docker  # noqa: PLC0415  # slow, and needed only here
            from testcontainers.core.config import testcontainers_config  # noqa: PLC0415  # the same
        except ImportError as error:
            return f"Docker, but not the Python package {error.name}"
    try:
        with closing(docker.DockerClient.from_env(timeout=_ANSWER_S)) as client:
            client.ping()
            if not _is_there(client, IMAGE, tell):
                return f"Docker, but no image {IMAGE} within {_PULL_S:.0f} s"
            # Ryuk removes the container where pytest was killed; it is not worth a failure where it cannot be had.
            if not testcontainers_config.ryuk_disabled:
                testcontainers_config.ryuk_disabled = not _is_there(client, testcontainers_config.ryuk_image, tell)
    except (docker.errors.DockerException, OSError) as error:
        return f"Docker does not answer ({type(error).__name__})"
    return ""


@contextmanager
def container_broker() -> Iterator[str]:
    """Run a broker for as long as the block lasts, and give its address.

    Raises:
        BrokerError: It did not start in time; the message has the last lines of its log.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415  # slow, and needed only here

    environment = {f"KAFKA_{name}": value for name, value in _ENVIRONMENT.items()}
    container = (
        DockerContainer(IMAGE)
        .with_envs(**environment)
        .with_exposed_ports(9092)
        .with_command(["sh", "-c", _WAIT_AND_RUN])
    )
    try:
        container.start()
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(9092)}"
        container.exec(["sh", "-c", f"echo {address} > {_ADDRESS}"])
        wait_until_it_answers({"bootstrap.servers": address}, _START_S)
        yield address
    except BrokerError as error:
        log = b"".join(container.get_logs()).decode(errors="replace").splitlines()[-30:]
        raise BrokerError(f"{error}; the last lines of its log:\n" + "\n".join(log)) from error
    finally:
        container.stop()


def _is_there(client: Any, image: str, tell: Callable[[str], None]) -> bool:
    if client.images.list(image):
        return True
    tell(f"pulling {image} for up to {_PULL_S:.0f} s")
    done = threading.Event()
    pulled = threading.Event()

    def pull() -> None:
        with suppress(Exception):  # Whatever it is, there is no image; the caller says so.
            client.images.pull(image)
            pulled.set()
        done.set()

    # A pull cannot be ended, only left alone: the thread must not keep Python from ending.
    threading.Thread(target=pull, daemon=True).start()
    done.wait(_PULL_S)
    return pulled.is_set()
