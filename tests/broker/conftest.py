"""A broker that failure tests may freeze and kill: shared, and whole again after each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kafka import maven
from tests.kafka.broker import Broker, own_broker


@pytest.fixture(scope="module")
def _own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with own_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def breakable(_own_broker: Broker) -> Iterator[Broker]:
    """A broker of the tests' own process, which a test may freeze and kill; the next one finds it whole."""
    with ExitStack() as mending:
        mending.callback(_mend, _own_broker)
        yield _own_broker


def _mend(broker: Broker) -> None:
    broker.resume()
    if broker.process is not None and broker.process.pid is None:
        broker.start()
