"""Which group protocol is taken follows from what the brokers list and what the coordinator answers."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError

from processor.errors import ExitCode, FatalError
from processor.group_protocol import CLASSIC, CONSUMER, brokers_have_it, is_refusal, protocols_to_try, subscription
from processor.run import _subscribe

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


def test_an_expression_is_searched_for_in_names_whoever_does_it() -> None:
    raw = ["plain", r"^in\.", "^a$|^b"]

    assert subscription(raw, CLASSIC) == raw
    # The broker holds an expression against the whole name.
    wholes = subscription(raw, CONSUMER)
    assert wholes[0] == "plain"
    for name in ("in.first", "a", "b.more", "in", "xin.first", "ab"):
        for one, whole in zip(raw[1:], wholes[1:], strict=True):
            assert (re.search(one, name) is None) == (re.fullmatch(whole, name) is None)


def test_an_expression_that_the_client_does_not_take_is_the_users_mistake() -> None:
    consumer = Consumer({"bootstrap.servers": "localhost:1", "group.id": "group", "log_level": 0})
    worker: Any = SimpleNamespace(subscribe=consumer.subscribe)

    with pytest.raises(FatalError, match=r"topics\.raw: the client takes no such expression") as caught:
        _subscribe(worker, ["^(?!not-this)"])

    assert caught.value.exit_code is ExitCode.SETTINGS
    consumer.close()
