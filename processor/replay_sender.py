"""The transactional producer of a replay: what it sends is there wholly or not at all, and only the last starter sends.

Its transactional id is one for the dead-letter topic. A second replay that starts fences the first and ends what that
left open; whatever the first had sent is committed and marked before the second reads the marks. After any trouble the
producer is given up, and whoever uses it has to start it and to read the marks again: in between another replay may
have come and gone. So a request that comes late cannot end another transaction either.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from confluent_kafka import KafkaException, Producer

from processor.bounded import Bounded
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import Kind, classify, describe, error_of, fatal, is_denied, is_fenced, is_record_refused
from processor.producing import close, produce
from processor.publisher import DoubtfulConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import KafkaError

    from processor.replay_plan import Outgoing

_CALL_S: Final = 5.0
"""Longest single blocking call: they do not see signals."""


class LettersRefusedError(TransientError):
    """A topic refuses something of this transaction for good; which record it is can only be found by halving."""


class ReplaySender:
    """Sends records, some in each transaction."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        make_producer: Callable[..., Producer] = Producer,
        on_wait: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Keep what is needed; `start` connects.

        Args:
            config: librdkafka's, with a transactional.id.
            make_producer: Makes the client, so that tests can bring their own.
            on_wait: Gets what the brokers are waited for, whenever a call was not answered in time.
        """
        self._config = dict(config)
        self._make_producer = make_producer
        self._on_wait = on_wait
        self._producer: Producer | None = None
        self._doubt = DoubtfulConnection()
        self._in_transaction = False
        self._bounded = Bounded()

    @property
    def doubted(self) -> bool:
        """Whether a connection failed since `start`: the next transaction needs another start."""
        return self._doubt.doubted

    def start(self, within_s: float = 60.0) -> None:
        """Make a producer, fence every other one, and end what was left open: what is committed by now, is.

        Raises:
            TransientError: No coordinator answered.
            FatalError: The transactional id may not be used.
        """
        self.close()
        logger = logging.Logger("librdkafka.replay")  # noqa: LOG001  # private: only the doubt looks at it
        logger.addHandler(self._doubt)
        self._producer = self._make_producer({**self._config, "error_cb": self._on_error}, logger=logger)
        deadline = time.monotonic() + within_s
        while True:
            try:
                self._producer.init_transactions(_CALL_S)
            except KafkaException as exception:
                error = error_of(exception)
                if classify(error) is not Kind.RETRY:
                    raise self._fatal("starting the transactional producer", error) from exception
                if time.monotonic() > deadline:
                    raise TransientError(f"no transaction coordinator answers ({describe(error)})") from exception
                self._on_wait("to name a transaction coordinator")
            else:
                self._producer.poll(0)
                self._doubt.doubted = False
                return

    def send(self, records: Sequence[Outgoing]) -> None:
        """Send records in one transaction.

        Raises:
            LettersRefusedError: Nothing was sent; the same records would be refused again.
            TransientError: Nothing was sent.
            FatalError: An access is denied, another replay has begun, or the outcome is unknown.
        """
        producer = self._producer
        assert producer is not None  # noqa: S101  # it was started
        try:
            producer.begin_transaction()
            self._in_transaction = True
            for record in records:
                produce(producer, record.topic, record.key, record.value, record.headers, record.partition)
            self._commit(producer)
        except KafkaException as exception:
            self._give_up(exception)
        producer.poll(0)

    def _commit(self, producer: Producer) -> None:
        """Ask for the commit until it is answered: it delivers what was produced, and then the outcome is unknown."""
        while True:
            try:
                producer.commit_transaction(_CALL_S)
            except KafkaException as exception:
                if classify(error_of(exception)) is not Kind.RETRY:
                    raise
                # A first request to end it may still be on its way.
                self._doubt.doubted = True
                self._on_wait("to commit a transaction")
            else:
                self._in_transaction = False
                return

    def _give_up(self, cause: KafkaException) -> NoReturn:
        """Say what became of the transaction, and leave its end to the next start."""
        error = error_of(cause)
        refused = is_record_refused(error)
        if not refused and classify(error) is Kind.FATAL:
            self._in_transaction = False
            raise self._fatal("replaying", error) from cause
        self.close()
        if is_denied(error):
            raise self._fatal("replaying", error) from cause
        raise (LettersRefusedError if refused else TransientError)(describe(error)) from cause

    def _fatal(self, doing: str, error: KafkaError) -> FatalError:
        if is_fenced(error):
            return FatalError(
                "another replay of the same dead letters has begun and goes on with what is left; run this one again "
                "when that has ended",
                ExitCode.UNKNOWN_OUTCOME,
            )
        if is_denied(error):
            return FatalError(
                f"not permitted while {doing} ({describe(error)}): a replay needs Write on the topics that the letters "
                f"came from and on the dead-letter topic, and on the transactional id "
                f"{self._config.get('transactional.id')}",
                ExitCode.NOT_PERMITTED,
            )
        return fatal(doing, error)

    def _on_error(self, _: KafkaError) -> None:
        """Take what the client reports between calls; the next transactional call says what it means."""
        self._doubt.doubted = True

    def close(self) -> None:
        """Close the client; what is open is aborted, or left to the next start where that cannot be done in time."""
        producer, self._producer = self._producer, None
        aborts, self._in_transaction = self._in_transaction, False
        if producer is not None:
            self._bounded.call(lambda: _end(producer, aborts=aborts), _CALL_S)
        self._bounded.close()


def _end(producer: Producer, *, aborts: bool) -> None:
    if aborts:
        with suppress(KafkaException):
            producer.abort_transaction(_CALL_S / 2)
    close(producer)
