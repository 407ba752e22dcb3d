"""Asks the worker that owns a message to forget it, and waits until that is done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from processor.control import FORGET, Forget, Forgotten, encode_forget
from processor.errors import ExitCode, FatalError, TransientError
from processor.headers import CONTROL
from processor.identity import owner_of
from processor.kafka_errors import Heard, describe, error_of, is_denied
from processor.known import Choice, Knowledge, Known
from processor.topic_reader import silent_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from processor.partition_reader import PartitionReader

_DELIVERED_WITHIN_S: Final = 30.0


class Forgetting:
    """One message on its way to be forgotten."""

    def __init__(self, reader: PartitionReader, state: str, rekeyed: str, message_id: str) -> None:
        """Find out which partition owns the message.

        Raises:
            TransientError: No broker answers.
            FatalError: A topic is missing, may not be seen, or has another number of partitions.
        """
        partitions = reader.count(state)
        if reader.count(rekeyed) != partitions:
            raise FatalError(
                f"{state} and {rekeyed} have different numbers of partitions; see `status-processor topics check`",
                ExitCode.UNAVAILABLE,
            )
        self.owner = owner_of(message_id, partitions)
        self._reader = reader
        self._state = state
        self._rekeyed = rekeyed
        self._message_id = message_id
        self.knowledge = Knowledge(message_id, Choice())

    def find(self, choice: Choice, progress: Callable[[int, int | None], object] = lambda *_: None) -> list[Known]:
        """Return the messages of this id that are known, as far as they are meant.

        Raises:
            TransientError: No broker answers.
            FatalError: The changelog may not be read, or holds what this version does not know.
        """
        self.knowledge = Knowledge(self._message_id, choice)
        for message in self._reader.scan(self._reader.starts([(self._state, self.owner)], None), progress):
            self.knowledge.add([message])
        return self.knowledge.known

    def ask(self, config: Mapping[str, Any], known: Known, note: str, now_ms: int) -> Forget:
        """Write the control record, and return it when the brokers have it.

        Raises:
            TransientError: They did not take it in time; asking again is safe.
            FatalError: The topic may not be written.
        """
        forget = Forget(
            known.request_id(self.owner), known.account, known.carrier, known.message_id, known.chain, now_ms, note
        )
        heard = Heard()
        failures: list[KafkaError] = []
        own = {"acks": "all", "enable.idempotence": True, "message.timeout.ms": int(_DELIVERED_WITHIN_S * 1000)}
        producer = Producer({**config, **own, "error_cb": heard}, logger=silent_logger())
        try:
            producer.produce(
                self._rekeyed,
                encode_forget(forget),
                known.message_id.encode(),
                self.owner,
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
                headers=[(CONTROL, FORGET)],
            )
            undelivered = producer.flush(_DELIVERED_WITHIN_S + 5)
        except KafkaException as exception:
            failures.append(error_of(exception))
            undelivered = 0
        if failures and is_denied(failures[0]):
            raise FatalError(f"not permitted to write {self._rekeyed}: grant Write on it", ExitCode.NOT_PERMITTED)
        if failures or undelivered:
            why = heard.last or (describe(failures[0]) if failures else "no answer")
            raise TransientError(f"the request was not taken by the brokers ({why}); ask again, that is safe")
        return forget

    def wait(self, forget: Forget, within_s: float, on_wait: Callable[[float], object] = lambda _: None) -> Forgotten:
        """Wait until a request has been carried out, and return what it dropped.

        Raises:
            TransientError: It was not, in time; it stays in the topic and will be.
            FatalError: The changelog may not be read.
        """
        began_at = time.monotonic()
        knowledge = self.knowledge
        self._reader.follow({(self._state, self.owner): knowledge.next_offset})
        while forget.request not in knowledge.audits:
            waited_s = time.monotonic() - began_at
            if waited_s > within_s:
                raise TransientError(
                    f"no worker has carried out request {forget.request} within {within_s:.0f} s. It stays in "
                    f"{self._rekeyed}[{self.owner}] and will be, as soon as a worker gets there; ask again to go on "
                    "waiting, that is safe"
                )
            on_wait(waited_s)
            knowledge.add(self._reader.records())
        return knowledge.audits[forget.request].forgotten
