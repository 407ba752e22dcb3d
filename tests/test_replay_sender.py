"""The producer of a replay by what the client answers: what was sent is known, or nothing goes on."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.errors import ExitCode, FatalError, TransientError
from processor.replay_plan import Outgoing
from processor.replay_sender import LettersRefusedError, ReplaySender
from tests.test_publisher import Answer, FakeProducer, error, fenced, retriable

RECORD = Outgoing("raw", 2, b"key", b"value", [("name", b"x")])


class Producer(FakeProducer):
    """Remembers what it was handed, and the log that its trouble shows in."""

    def __init__(self, plan: dict[str, list[Answer]], config: dict[str, Any]) -> None:
        super().__init__(plan)
        self.config = config
        self.produced: list[tuple[object, ...]] = []

    def produce(self, topic: str, value: object, key: object, partition: int, headers: object) -> None:
        self._answer("produce")
        self.produced.append((topic, partition, key, value, headers))


class Scene:
    """A sender whose producers answer as planned."""

    def __init__(self, plan: dict[str, list[Answer]]) -> None:
        self.producers: list[Producer] = []
        self.waited: list[str] = []

        def make(config: dict[str, Any], **_: object) -> Any:
            self.producers.append(Producer(plan, config))
            return self.producers[-1]

        self.sender = ReplaySender({"transactional.id": "dead-replay"}, make_producer=make, on_wait=self.waited.append)

    def calls(self, number: int = 0) -> list[str]:
        return self.producers[number].calls


def abortable(code: int = KafkaError.INVALID_TXN_STATE) -> KafkaException:
    return error(code, txn_requires_abort=True)


def test_records_go_in_one_transaction_as_they_are() -> None:
    scene = Scene({})

    scene.sender.start()
    scene.sender.send([RECORD, RECORD])

    assert scene.calls() == ["init", "begin", "produce", "produce", "commit"]
    assert scene.producers[0].produced == [("raw", 2, b"key", b"value", [("name", b"x")])] * 2
    assert not scene.sender.doubted


def test_a_commit_is_asked_for_until_it_is_answered_and_doubted_after() -> None:
    scene = Scene({"commit": [retriable(), retriable()]})

    scene.sender.start()
    scene.sender.send([RECORD])

    assert scene.calls().count("commit") == 3
    assert scene.waited == ["to commit a transaction"] * 2
    assert scene.sender.doubted
    scene.sender.start()
    scene.sender.send([RECORD])
    assert [producer.calls[-1] for producer in scene.producers] == ["close", "commit"]


@pytest.mark.parametrize("call", ["begin", "produce", "commit"])
def test_after_an_abortable_error_the_producer_is_given_up(call: str) -> None:
    scene = Scene({call: [abortable()]})
    scene.sender.start()

    with pytest.raises(TransientError):
        scene.sender.send([RECORD])

    assert scene.calls()[-1] == "close"
    assert ("abort" in scene.calls()) is (call != "begin")


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        ("commit", abortable(KafkaError.MSG_SIZE_TOO_LARGE)),
        ("commit", abortable(KafkaError.INVALID_TIMESTAMP)),
        ("produce", error(KafkaError.MSG_SIZE_TOO_LARGE)),
    ],
)
def test_what_is_refused_for_good_is_told_apart(call: str, refusal: KafkaException) -> None:
    scene = Scene({call: [refusal]})
    scene.sender.start()

    with pytest.raises(LettersRefusedError):
        scene.sender.send([RECORD])

    assert scene.calls()[-2:] == ["abort", "close"]


@pytest.mark.parametrize("call", ["init", "begin", "commit"])
def test_a_replay_that_was_fenced_says_that_another_has_begun(call: str) -> None:
    scene = Scene({call: [fenced()]})

    def start_and_send() -> None:
        scene.sender.start()
        scene.sender.send([RECORD])

    with pytest.raises(FatalError, match="another replay") as raised:
        start_and_send()

    assert raised.value.exit_code is ExitCode.UNKNOWN_OUTCOME


@pytest.mark.parametrize(
    "denial",
    [
        error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True),
        abortable(KafkaError.TOPIC_AUTHORIZATION_FAILED),
    ],
)
def test_a_denial_says_what_to_grant(denial: KafkaException) -> None:
    scene = Scene({"commit": [denial]})
    scene.sender.start()

    with pytest.raises(FatalError, match=r"Write on the topics .* and on the transactional id dead-replay") as raised:
        scene.sender.send([RECORD])

    assert raised.value.exit_code is ExitCode.NOT_PERMITTED


def test_an_error_without_any_flag_is_an_unknown_outcome_and_nothing_is_aborted() -> None:
    scene = Scene({"commit": [error(KafkaError._FAIL)]})
    scene.sender.start()

    with pytest.raises(FatalError, match="unknown outcome") as raised:
        scene.sender.send([RECORD])
    scene.sender.close()

    assert raised.value.exit_code is ExitCode.UNKNOWN_OUTCOME
    assert "abort" not in scene.calls()


def test_a_coordinator_that_does_not_answer_is_waited_for_only_so_long() -> None:
    scene = Scene({"init": [retriable() for _ in range(1000)]})

    with pytest.raises(TransientError, match="coordinator"):
        scene.sender.start(within_s=0.0)

    assert scene.calls()[:1] == ["init"]


def test_what_is_open_is_aborted_on_the_way_out() -> None:
    scene = Scene({"produce": [KeyboardInterrupt()]})
    scene.sender.start()

    with pytest.raises(KeyboardInterrupt):
        scene.sender.send([RECORD])
    scene.sender.close()

    assert scene.calls()[-2:] == ["abort", "close"]


def test_a_failed_connection_is_noticed_in_the_clients_own_log() -> None:
    scene = Scene({})
    scene.sender.start()

    scene.producers[0].config["error_cb"](KafkaError(KafkaError._TRANSPORT))

    assert scene.sender.doubted
