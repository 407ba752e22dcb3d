"""What the worker asks for is answered again after a partition's leader has changed."""

from __future__ import annotations

from contextlib import suppress

from confluent_kafka.admin import AdminClient

from processor.changelog import Watermarks, watermarks
from processor.errors import TransientError
from tests.broker.deployment import wait_for
from tests.conftest import MakeBroker


def test_the_ends_of_a_changelog_are_found_although_the_client_knows_an_old_leader_epoch(
    make_broker: MakeBroker,
) -> None:
    broker = make_broker()
    topic = broker.topic(2)
    broker.produce(topic, [(b"key", b"value")] * 3)
    admin = AdminClient(broker.client(log_level=0))
    before = watermarks(admin, topic, [0, 1])
    broker.kill()
    broker.start()
    found: dict[int, Watermarks] = {}

    def are_found() -> bool:
        with suppress(TransientError):
            found.update(watermarks(admin, topic, [0, 1]))
        return bool(found)

    wait_for("the ends to be found", are_found, 30)

    assert found == before
