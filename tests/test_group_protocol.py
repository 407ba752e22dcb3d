"""Which group protocol is taken follows from what the brokers list and what the coordinator answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.group_protocol import brokers_have_it, is_refusal, protocols_to_try

OLD = ["Fetch (1) Versions 0..15", "ApiVersion (18) Versions 0..3", "ListGroups (16) Versions 0..4"]
NEW = [*OLD, "ConsumerGroupHeartbeat (68) Versions 0..1"]


class ListingClient:
    """Writes what brokers list to the logger, a line for each poll."""

    brokers: dict[str, list[str]]

    def __init__(self, config: dict[str, Any], logger: logging.Logger) -> None:
        assert config["debug"] == "feature"
        self._logger = logger
        self._lines = [f"[thrd:{name}]: {name}:   ApiKey {api}" for name, apis in self.brokers.items() for api in apis]

    def poll(self, _: float) -> int:
        if self._lines:
            self._logger.debug("APIVERSION [rdkafka#producer-1] %s", self._lines.pop(0))
        return 0


@pytest.mark.parametrize(
    ("brokers", "expected"),
    [
        ({"kafka:9092/bootstrap": NEW}, True),
        ({"kafka:9092/bootstrap": OLD}, False),
        ({"kafka:9092/bootstrap": NEW, "kafka:9092/1": OLD}, False),
        ({}, False),
    ],
    ids=["new", "old", "mixed", "nobody-answers"],
)
def test_every_broker_that_answers_must_list_the_new_heartbeat(brokers: dict[str, list[str]], expected: bool) -> None:
    client = type("Client", (ListingClient,), {"brokers": brokers})
    assert brokers_have_it({}, 0.2, client) is expected


@pytest.mark.parametrize("setting", ["classic", "consumer"])
def test_a_protocol_that_is_set_is_the_only_one_tried(setting: str) -> None:
    assert protocols_to_try(setting, {}) == [setting]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ConsumerGroupHeartbeat fatal error: Broker: API version not supported", True),
        ("ConsumerGroupHeartbeat fatal error: Broker: The group id does not exist", True),
        ("ConsumerGroupHeartbeat fatal error: Broker: Group authorization failed", False),
        ("Broker: API version not supported", False),
    ],
)
def test_a_refusal_is_known_by_its_text_alone(words: str, expected: bool) -> None:
    error = KafkaError(KafkaError._FATAL, f"Fatal error: {words}")
    assert is_refusal(error) is expected
