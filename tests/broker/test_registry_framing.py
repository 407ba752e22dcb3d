"""Confluent's wire format both ways, with a registry that answers over HTTP."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from processor.codec import encode_raw_events
from processor.registry import Registry
from processor.schemas import schema_text
from processor.testing import raw_event
from tests.broker.deployment import Deployment, wait_for
from tests.kafka.broker import Broker
from tests.test_registry import serving


def test_events_and_changes_carry_the_registrys_ids(broker: Broker, tmp_path: Path) -> None:
    with serving() as server:
        deployment = Deployment(broker, tmp_path, REGISTRY__URL=server.url)
        deployment.create_topics()
        registry = Registry({"url": server.url})
        schema_id = registry.register(f"{deployment.topics['raw']}-value", schema_text("raw_status_event"))
        frame = b"\0" + schema_id.to_bytes(4, "big")
        words = ["queued", "sent", "delivered", "delivered"]
        events = [raw_event("twilio", "SM1", word, channel="SMS") for word in words]
        broker.produce(deployment.topics["raw"], [(b"SM1", value) for value in encode_raw_events(events, frame)])
        broker.produce(deployment.topics["raw"], [(b"SM1", b"\0\0\0\x30\x39" + b"no schema of this id")])

        with deployment.worker() as running:
            deployment.wait_for_events(5)
            assert running.stop() == 0

        changes = broker.read(deployment.topics["changes"])
        (subject,) = [name for name in server.subjects if name.startswith(deployment.topics["changes"])]
        (changes_id,) = server.subjects[subject].values()
    assert {(message.value() or b"")[:5] for message in changes} == {b"\0" + changes_id.to_bytes(4, "big")}
    assert [str(change.status) for change in deployment.changes()] == ["QUEUED", "SENT", "DELIVERED"]
    (letter,) = deployment.dead_letters()
    assert dict(letter.headers() or [])["status.errors.reason"] == b"undecodable"


def test_a_registry_that_is_down_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    with serving() as server:
        deployment = Deployment(broker, tmp_path, REGISTRY__URL=server.url)
        deployment.create_topics()
        schema_id = Registry({"url": server.url}).register("raw-value", schema_text("raw_status_event"))
        frame = b"\0" + schema_id.to_bytes(4, "big")
        value = encode_raw_events([raw_event("twilio", "SM1", "sent", channel="SMS")], frame)[0]
        with deployment.worker() as running:
            running.wait_until_running()
            server.fail_with = (503, b"{}")
            producer = Producer(broker.client())
            producer.produce(deployment.topics["raw"], value, b"SM1")
            producer.flush(30)
            wait_for("the batch to go back", lambda: "the batch goes back" in running.log)
            assert deployment.dead_letters() == []

            server.fail_with = None

            deployment.wait_for_events(1)
            assert running.stop() == 0
    assert [str(change.status) for change in deployment.changes()] == ["SENT"]
