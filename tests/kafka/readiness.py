"""What every kind of broker shares: a port to listen on, and waiting until it answers."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOST = "127.0.0.1"
_PORTS = range(20_000, 30_000)


class BrokerError(RuntimeError):
    """A broker could not be had."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on.

    It lies below the ports that the system gives to clients: one of those could be taken by a client while a broker
    is down, and a client that tries to reach a broker there can even connect to itself.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as listener:
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
            return port
    raise BrokerError(f"no free port from {_PORTS.start} to {_PORTS.stop}")


def wait_until_it_answers(
    client: Mapping[str, str | float],
    within_s: float,
    has_ended: Callable[[], bool] = lambda: False,
    brokers: int = 1,
) -> None:
    """Wait until so many brokers have joined their cluster.

    Raises:
        BrokerError: It ended, or did not answer in time.
    """
    deadline = time.monotonic() + within_s
    admin = AdminClient({**client, "log_level": 0})
    last = "no answer"
    while time.monotonic() < deadline:
        if has_ended():
            raise BrokerError(f"the broker for {client['bootstrap.servers']} ended while it started")
        try:
            found = len(admin.list_topics(timeout=1).brokers)
        except KafkaException as exception:
            last = str(exception.args[0])
        else:
            if found >= brokers:
                return
            last = f"{found} of {brokers} are there"
            time.sleep(0.05)
    raise BrokerError(f"no broker answers at {client['bootstrap.servers']} within {within_s:.0f} s ({last})")
