"""The publisher by what the client answers: each class of error, injected at each call, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processor import publisher as module
from processor.codec import ChangeEncoder
from processor.errors import AbortCause, ExitCode, FatalError, TransientError
from processor.outbox import Outbox
from processor.publisher import OutputTopics, Publisher, RecordsRefusedError

CONFIG = {"transactional.id": "app-group-0", "transaction.timeout.ms": 15_000}


def error(code: int, **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, "injected", **flags))


def retriable() -> KafkaException:
    return error(KafkaError._TIMED_OUT, retriable=True)


def abortable() -> KafkaException:
    return error(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)


def fenced() -> KafkaException:
    return error(KafkaError._FENCED, fatal=True)


Answer = BaseException | Callable[[], object]


class FakeProducer:
    """Answers each call as planned, and then with success."""

    def __init__(self, plan: dict[str, list[Answer]]) -> None:
        self.plan = plan
        self.calls: list[str] = []

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        answers = self.plan.get(call, [])
        if answers:
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            answer()

    def init_transactions(self, _: float) -> None:
        self._answer("init")

    def begin_transaction(self) -> None:
        self._answer("begin")

    def flush(self, _: float) -> int:
        self._answer("flush")
        return 0

    def send_offsets_to_transaction(self, *_: object) -> None:
        self._answer("send")

    def commit_transaction(self, _: float) -> None:
        self._answer("commit")

    def abort_transaction(self, _: float) -> None:
        self._answer("abort")

    def poll(self, _: float) -> None:
        """Serve nothing."""

    def purge(self) -> None:
        """Forget nothing."""

    def close(self) -> None:
        self.calls.append("close")


class Scene:
    """A publisher with producers whose answers are planned, the same plan for all of them."""

    def __init__(self, plan: dict[str, list[Answer]], budget_s: float = 12.0) -> None:
        self.producers: list[FakeProducer] = []
        self.waited: list[str] = []

        def make(_: object, **__: object) -> Any:
            self.producers.append(FakeProducer(plan))
            return self.producers[-1]

        self.publisher = Publisher(
            CONFIG,
            OutputTopics("changes", "dead-letter", "state", "rekeyed"),
            ChangeEncoder(None),
            budget_s=budget_s,
            make_producer=make,
            on_wait=self.waited.append,
        )
        self.publisher.start()

    def publish(self) -> None:
        self.publisher.publish(Outbox(), {}, [TopicPartition("raw", 0, 1)], b"member")

    def calls(self, number: int = 0) -> list[str]:
        return self.producers[number].calls


@pytest.mark.parametrize("call", ["send", "commit"])
def test_a_retriable_error_is_asked_again_until_it_is_answered(call: str) -> None:
    scene = Scene({call: [retriable() for _ in range(5)]})

    scene.publish()

    assert scene.calls().count(call) == 6
    assert "abort" not in scene.calls()


def test_a_commit_that_is_not_answered_is_waited_for_aloud_however_long_that_takes() -> None:
    scene = Scene({"commit": [retriable() for _ in range(100)]}, budget_s=0.0)

    scene.publish()

    assert scene.waited == ["to commit a transaction"] * 100


def test_after_a_repeated_commit_the_next_transaction_gets_a_new_producer() -> None:
    scene = Scene({"commit": [retriable()]})

    scene.publish()
    scene.publish()

    assert [producer.calls[-1] for producer in scene.producers] == ["close", "commit"]


def test_without_trouble_all_transactions_have_the_same_producer() -> None:
    scene = Scene({})

    scene.publish()
    scene.publish()

    assert len(scene.producers) == 1


@pytest.mark.parametrize("call", ["begin", "flush", "send", "commit"])
def test_an_abortable_error_is_aborted_and_the_batch_may_come_again(call: str) -> None:
    scene = Scene({call: [abortable()]})

    with pytest.raises(TransientError, match="ILLEGAL_GENERATION"):
        scene.publish()

    assert scene.calls()[-1] == "abort"
    scene.publish()
    assert len(scene.producers) == 2


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (KafkaError.ILLEGAL_GENERATION, AbortCause.STALE_MEMBER),
        (KafkaError.FENCED_MEMBER_EPOCH, AbortCause.STALE_MEMBER),
        (KafkaError.NOT_COORDINATOR, AbortCause.UNAVAILABLE),
        (KafkaError._MSG_TIMED_OUT, AbortCause.TIMEOUT),
        (KafkaError.INVALID_PRODUCER_EPOCH, AbortCause.FENCED),
        (KafkaError.MSG_SIZE_TOO_LARGE, AbortCause.REFUSED),
        (KafkaError.UNKNOWN, AbortCause.TRANSIENT),
    ],
)
def test_an_abort_says_its_cause(code: int, cause: AbortCause) -> None:
    scene = Scene({"send": [error(code, txn_requires_abort=True)]})

    with pytest.raises(TransientError) as caught:
        scene.publish()

    assert caught.value.cause is cause


def test_records_that_are_too_large_are_told_apart() -> None:
    scene = Scene({"commit": [error(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True)]})

    with pytest.raises(RecordsRefusedError):
        scene.publish()

    assert scene.calls()[-1] == "abort"


def test_a_denial_is_aborted_and_ends_the_worker() -> None:
    scene = Scene({"flush": [error(KafkaError.TOPIC_AUTHORIZATION_FAILED, txn_requires_abort=True)]})

    with pytest.raises(FatalError, match="TOPIC_AUTHORIZATION_FAILED") as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.NOT_PERMITTED
    assert scene.calls()[-1] == "abort"


@pytest.mark.parametrize("call", ["begin", "flush", "send", "commit"])
@pytest.mark.parametrize("flags", [{"fatal": True}, {}], ids=["fatal", "unflagged"])
def test_a_fatal_or_unflagged_error_ends_the_worker_without_an_abort(call: str, flags: dict[str, bool]) -> None:
    scene = Scene({call: [error(KafkaError.UNKNOWN, **flags)]})

    with pytest.raises(FatalError, match="unknown outcome") as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.UNKNOWN_OUTCOME
    assert "abort" not in scene.calls()


def test_a_fatal_error_that_surfaces_in_a_callback_is_told_by_its_own_words() -> None:
    surfaced = SystemError("returned a result with an exception set")
    surfaced.__cause__ = error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True)
    scene = Scene({"flush": [surfaced]})

    with pytest.raises(FatalError, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED") as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.NOT_PERMITTED


@pytest.mark.parametrize("call", ["flush", "send", "commit"])
def test_a_young_transaction_that_is_fenced_blames_another_worker(call: str) -> None:
    scene = Scene({call: [fenced()]})

    with pytest.raises(
        FatalError, match=r"another worker uses the same ordinal .transactional id app-group-0"
    ) as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.UNKNOWN_OUTCOME


@pytest.mark.parametrize("call", ["flush", "send"])
def test_a_transaction_that_outlived_its_time_comes_again_where_its_commit_was_not_asked_for(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene({call: [fenced()]})
    monkeypatch.setitem(scene.publisher._config, "transaction.timeout.ms", 0)

    with pytest.raises(TransientError, match="outlived"):
        scene.publish()
    scene.publish()

    assert len(scene.producers) == 2


def test_a_transaction_that_outlived_its_time_in_the_commit_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene({"commit": [retriable(), fenced()]})
    monkeypatch.setitem(scene.publisher._config, "transaction.timeout.ms", 0)

    with pytest.raises(FatalError, match="stood still for longer than") as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.UNKNOWN_OUTCOME


def test_an_abort_that_is_refused_is_left_to_the_next_producer() -> None:
    scene = Scene({"send": [abortable()], "abort": [error(KafkaError.INVALID_TXN_STATE, fatal=True)]})

    with pytest.raises(TransientError):
        scene.publish()
    scene.publish()

    assert scene.calls(0)[-1] == "close"
    assert scene.calls(1) == ["init", "begin", "flush", "send", "commit"]


def test_an_abort_that_is_refused_after_the_commit_was_asked_for_ends_the_worker() -> None:
    scene = Scene({"commit": [abortable()], "abort": [error(KafkaError.INVALID_TXN_STATE, fatal=True)]})

    with pytest.raises(FatalError) as caught:
        scene.publish()

    assert caught.value.exit_code is ExitCode.UNKNOWN_OUTCOME


def test_an_abort_that_nobody_answers_is_left_to_the_next_producer() -> None:
    scene = Scene({"send": [abortable()], "abort": [retriable() for _ in range(3)]}, budget_s=0.0)

    with pytest.raises(TransientError):
        scene.publish()

    assert scene.calls().count("abort") == 1


def test_a_call_that_never_returns_is_left_behind_with_its_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As librdkafka's send_offsets_to_transaction does when the group's coordinator has been killed."""
    monkeypatch.setattr(module, "_CALL_S", 0.0)
    let_go = threading.Event()
    scene = Scene({"send": [lambda: let_go.wait(30)]}, budget_s=0.0)

    with pytest.raises(TransientError, match="did not take the offsets in time"):
        scene.publish()
    scene.publish()
    let_go.set()

    assert "close" not in scene.calls(0)
    assert scene.calls(1)[-1] == "commit"


def test_a_coordinator_that_is_away_at_the_start_ends_the_worker_in_one_line() -> None:
    scene = Scene({})
    scene.publisher.close()
    scene.producers.clear()
    scene.publisher._make_producer = lambda *_, **__: FakeProducer({"init": [retriable() for _ in range(3)]})  # type: ignore[assignment]  # as a producer

    with pytest.raises(FatalError, match="no transaction coordinator within 0 s") as caught:
        scene.publisher.start(deadline_s=0.0)

    assert caught.value.exit_code is ExitCode.UNAVAILABLE


def test_a_coordinator_that_is_away_later_is_waited_for_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALL_S", 0.0)
    plan: dict[str, list[Answer]] = {"commit": [retriable()]}
    scene = Scene(plan)
    scene.publish()
    plan["init"] = [retriable(), retriable()]

    for _ in range(2):
        with pytest.raises(TransientError):
            scene.publish()
    scene.publish()

    assert len(scene.producers) == 2  # The second one went on where it had been.
